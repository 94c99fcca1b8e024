// Puts the page together from a story, and again from the next one where it is served: what a reader chose stays.
const main = document.querySelector("main");
let [runs, setNames] = [[], []];

const heading = element("h1", "", main);
const notes = element("ul", undefined, main);
notes.className = "notes";
const bar = element("div", undefined, main);
bar.className = "bar";
const whole = element("button", "show all", bar);
whole.addEventListener("click", showAll);

function control(text, input, changed) {
  const label = element("label", text);
  label.append(input);
  whole.before(label);
  input.addEventListener("input", () => {
    changed(input);
    redraw();
  });
  return input;
}

const axis = document.createElement("select");
for (const unit of Object.keys(UNITS)) element("option", UNITS[unit].name, axis).value = unit;
axis.value = view.x;
control("x", axis, (input) => {
  view.x = input.value;
  view.zoom = null;
});
const logarithmic = document.createElement("input");
logarithmic.type = "checkbox";
control("log y", logarithmic, (input) => (view.log = input.checked));
const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 0.99, step: 0.01, value: 0 });
control("smoothing", slider, (input) => (view.smooth = +input.value));
let bands = null;

const [losses, others] = [element("div", undefined, main), element("div", undefined, main)];
element("p", "Drag over a chart to look closer, double click to see all of it.", main).className = "note";
const drawScatter = scatter(main);
const fillRuns = table(main, "Runs");
const fillDifferences = table(main, "Differences of configuration");
const made = element("p", "", main);
made.className = "note";

function redraw() {
  for (const chart of charts) chart.draw();
  frame();
  drawScatter();
}

// Shows these points of every run in the chart of this title.
function curve(parent, title, column, points, options) {
  const chart = charts.find((other) => other.title === title) || new Curves(parent, title, options);
  const lines = runs.map((run, i) => ({ name: run.name, color: i, run, column, points: points(run) }));
  chart.lines = lines.filter((line) => line.points);
}

function show(story) {
  runs = story.runs;
  setNames = [...new Set(runs.flatMap((run) => Object.keys(run.sets)))];
  heading.textContent = story.title;
  made.textContent = story.origin;
  const noted = (story.notes || []).map((text) => element("li", text));
  notes.replaceChildren(...noted);
  notes.hidden = !noted.length;
  if (!bands && new Set(runs.map((run) => run.group ?? run.name)).size < runs.length) {
    bands = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    view.bands = true;
    control("seeds as bands", bands, (input) => (view.bands = input.checked));
  }
  for (const set of setNames) curve(losses, `${set}: loss, nats per token`, "loss", (run) => run.sets[set], { points: true });
  curve(others, "Learning rate", "lr", (run) => run.loss, { height: 180 });
  curve(others, "Training loss, nats per token", "loss", (run) => run.loss, { smooth: true });
  curve(others, "Gradient norm before clipping", "grad_norm", (run) => run.norm, { smooth: true, height: 220 });
  for (const chart of charts) chart.plot ? chart.refresh() : chart.draw();
  frame();
  drawScatter();

  const heads = [["run"], ["steps"], ["tokens"], ["training loss"]];
  for (const set of setNames) heads.push([set], [`${set}: change`, "change"]);
  const row = (run) => {
    const end = (list) => (list.length ? last(list) : null);
    const cells = [run.name, end(run.loss.step), end(run.loss.tokens), end(run.loss.loss)];
    for (const set of setNames) {
      const points = run.sets[set];
      cells.push(points ? last(points.loss) : null, points ? last(points.loss) - points.loss[0] : null);
    }
    return cells;
  };
  fillRuns(heads, runs.map(row));
  const { keys, rows } = story.differences;
  fillDifferences(keys.length ? ["run", ...keys].map((key) => [key]) : [], rows);
  document.documentElement.dataset.charts = charts.length;
}

const data = document.getElementById("story");
show(JSON.parse(data.textContent));
new ResizeObserver(() => charts.forEach((chart) => chart.resize())).observe(main);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
