// What was forgotten against what was learned, a point for each run, or for those that differ in seeds alone; the line joins
// those that none beats in both. A run from scratch is no point among runs that started from a model: it had nothing to forget.
function scatter(parent) {
  const card = element("div", undefined, parent);
  card.className = "card";
  element("h3", "Forgetting against learning", card);
  const bar = element("div", undefined, card);
  bar.className = "bar";
  bar.style.position = "static";
  const choice = (text) => element("select", undefined, element("label", text, bar));
  const [old, fresh] = [choice("old"), choice("new")];
  // What was chosen stays where more sets come.
  const offer = (select, wanted, other) => {
    if (setNames.length === select.options.length) return;
    const chosen = select.value || setNames.find((name) => runs.some((run) => run.roles[name] === wanted)) || other;
    select.replaceChildren();
    for (const name of setNames) element("option", name, select).value = name;
    select.value = chosen;
  };
  const room = element("div", undefined, card);
  const draw = () => {
    card.hidden = setNames.length < 2;
    if (card.hidden) return;
    offer(old, "retain", setNames[0]);
    offer(fresh, "learn", setNames[1]);
    const points = [];
    for (const run of runs) {
      const [a, b] = [run.sets[old.value], run.sets[fresh.value]];
      const [name, group, continued] = [run.name, run.group, run.continued];
      if (a && b) points.push({ name, group, continued, x: b.loss[0] - last(b.loss), y: last(a.loss) - a.loss[0] });
    }
    const mean = (list, key) => list.reduce((sum, point) => sum + point[key], 0) / list.length;
    const groups = grouped(points, (point) => (view.bands && point.group) || point.name);
    const all = [...groups].map(([name, of], i) => ({ name, i, continued: of[0].continued, x: mean(of, "x"), y: mean(of, "y") }));
    const continued = all.filter((point) => point.continued);
    room.replaceChildren(drawn(continued.length ? continued : all));
  };
  for (const select of [old, fresh]) select.addEventListener("change", draw);
  return draw;
}

const last = (list) => list[list.length - 1];

// Least forgotten for what was learned: no other run learned as much and forgot less.
function front(points) {
  const best = points.filter((p) => !points.some((q) => q !== p && q.x >= p.x && q.y <= p.y && (q.x > p.x || q.y < p.y)));
  return best.sort((a, b) => a.x - b.x);
}

function drawn(points) {
  const [width, height, edge] = [720, 380, 56];
  const svg = (tag, attributes, parent, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  };
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img" });
  const span = (values) => {
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const room = (high - low || 1) * 0.08;
    return [low - room, high + room];
  };
  const [xs, ys] = [span(points.map((p) => p.x)), span(points.map((p) => p.y))];
  const X = (x) => edge + ((x - xs[0]) / (xs[1] - xs[0])) * (width - edge - 16);
  const Y = (y) => height - edge - ((y - ys[0]) / (ys[1] - ys[0])) * (height - edge - 16);
  for (let i = 0; i <= 4; i++) {
    const [x, y] = [xs[0] + ((xs[1] - xs[0]) * i) / 4, ys[0] + ((ys[1] - ys[0]) * i) / 4];
    svg("line", { class: "axis", x1: X(x), x2: X(x), y1: 8, y2: height - edge }, root);
    svg("line", { class: "axis", x1: edge, x2: width - 8, y1: Y(y), y2: Y(y) }, root);
    svg("text", { x: X(x), y: height - edge + 18, "text-anchor": "middle" }, root, x.toFixed(3));
    svg("text", { x: edge - 6, y: Y(y) + 4, "text-anchor": "end" }, root, y.toFixed(3));
  }
  svg("text", { x: width / 2, y: height - 12, "text-anchor": "middle" }, root, "learned: loss of the new set before − after");
  const turned = `rotate(-90 14 ${height / 2})`;
  svg("text", { x: 14, y: height / 2, "text-anchor": "middle", transform: turned }, root, "forgotten: loss of the old set after − before");
  const best = front(points);
  const path = best.map((p) => `${X(p.x)},${Y(p.y)}`).join(" ");
  svg("polyline", { points: path, fill: "none", stroke: css("--pale"), "stroke-dasharray": "5 4" }, root);
  for (const p of points) {
    const mark = svg("circle", { cx: X(p.x), cy: Y(p.y), r: 5, fill: color(p.i) }, root);
    svg("title", {}, mark, `${p.name}: learned ${number(p.x)}, forgotten ${number(p.y)}`);
    const near = X(p.x) > width * 0.7;
    svg("text", { x: X(p.x) + (near ? -9 : 9), y: Y(p.y) + 4, "text-anchor": near ? "end" : "start" }, root, p.name);
  }
  return root;
}
