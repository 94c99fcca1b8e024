// Puts the page together from the data in it.
const main = document.querySelector("main");
const story = JSON.parse(document.getElementById("story").textContent);
const runs = story.runs;
const setNames = [...new Set(runs.flatMap((run) => Object.keys(run.sets)))];

element("h1", story.title, main);
const bar = element("div", undefined, main);
bar.className = "bar";

function control(text, input, changed) {
  const label = element("label", text, bar);
  label.append(input);
  input.addEventListener("input", () => {
    changed(input);
    for (const chart of charts) chart.draw();
    drawScatter();
  });
  return input;
}

const axis = document.createElement("select");
for (const unit of Object.keys(UNITS)) element("option", UNITS[unit].name, axis).value = unit;
axis.value = view.x;
control("x", axis, (input) => (view.x = input.value));
const logarithmic = document.createElement("input");
logarithmic.type = "checkbox";
control("log y", logarithmic, (input) => (view.log = input.checked));
const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 0.99, step: 0.01, value: 0 });
control("smoothing", slider, (input) => (view.smooth = +input.value));
if (new Set(runs.map((run) => run.group ?? run.name)).size < runs.length) {
  const bands = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
  view.bands = true;
  control("seeds as bands", bands, (input) => (view.bands = input.checked));
}
element("button", "show all", bar).addEventListener("click", () => charts.forEach((chart) => chart.draw()));

const of = (column, points) => runs.map((run, i) => ({ name: run.name, color: i, run, column, points: points(run) }));
for (const set of setNames) {
  const lines = of("loss", (run) => run.sets[set]).filter((line) => line.points);
  new Curves(main, `${set}: loss, nats per token`, lines, { points: true });
}
new Curves(main, "Learning rate", of("lr", (run) => run.loss), { height: 180 });
new Curves(main, "Training loss, nats per token", of("loss", (run) => run.loss), { smooth: true });
new Curves(main, "Gradient norm before clipping", of("grad_norm", (run) => run.norm), { smooth: true, height: 220 });
element("p", "Drag over a chart to look closer, double click to see all of it.", main).className = "note";

const drawScatter = setNames.length > 1 ? scatter(main, runs, setNames) : () => {};

const heads = ["run", "steps", "tokens", "training loss"];
for (const set of setNames) heads.push(set, "change");
const row = (run) => {
  const end = (list) => (list.length ? last(list) : null);
  const cells = [run.name, end(run.loss.step), end(run.loss.tokens), end(run.loss.loss)];
  for (const set of setNames) {
    const points = run.sets[set];
    cells.push(points ? last(points.loss) : null, points ? last(points.loss) - points.loss[0] : null);
  }
  return cells;
};
table(main, "Runs", heads, runs.map(row));
if (story.differences.keys.length) {
  table(main, "Differences of configuration", ["run", ...story.differences.keys], story.differences.rows);
}
element("p", story.origin, main).className = "note";

for (const chart of charts) chart.draw();
new ResizeObserver(() => charts.forEach((chart) => chart.resize())).observe(main);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.draw()));
document.documentElement.dataset.charts = charts.length;
