// Curves of several runs over a common x, by uPlot: hover shows values, a drag zooms, a double click shows all again.
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#8c564b", "#17becf", "#bcbd22"];
const color = (i) => COLORS[i % COLORS.length];
const UNITS = {
  step: { name: "step", of: (points) => points.step },
  tokens: { name: "tokens", of: (points) => points.tokens },
  time: { name: "hours", of: (points) => points.time && points.time.map((s) => s / 3600) },
  flops: { name: "FLOPs", of: (points, run) => run.flops && points.tokens.map((t) => t * run.flops) },
};
// `zoom` is the part of x that was asked for, none where it is everything; `shown` what all charts show.
const view = { x: "tokens", log: false, smooth: 0, bands: false, zoom: null, shown: { min: 0, max: 1 } };
const charts = [];

// Exponential moving average without the bias of its beginning.
function smoothed(values, weight) {
  if (!weight) return values;
  let [sum, norm] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Curves {
  constructor(parent, title, { smooth = false, height = 300, points = false } = {}) {
    this.card = element("div", undefined, parent);
    this.card.className = "card";
    element("h3", title, this.card);
    // `lines`: a name, the points, the run they are of, and which of their columns is shown. `off`: names of those that a click on
    // the legend hid.
    Object.assign(this, { title, lines: [], smooth, height, points, plot: null, off: new Set() });
    charts.push(this);
  }

  // What is drawn: a curve for each run, or for runs that differ in seeds alone their mean between the lowest and the highest.
  curves() {
    const all = this.lines.map(({ name, points, run, column, color }) => {
      const xs = UNITS[view.x].of(points, run) || [];
      const ys = xs.length ? points[column] : [];
      return { name, color, group: run.group, xs, ys: this.smooth ? smoothed(ys, view.smooth) : ys };
    });
    if (!view.bands) return all;
    const groups = grouped(all, (curve) => curve.group ?? curve.name);
    return [...groups].flatMap(([name, of], color) => {
      const { xs } = of[0];
      if (of.length < 2 || of.some((curve) => curve.xs.length !== xs.length)) return of.map((curve) => ({ ...curve, color }));
      const at = (choose) => xs.map((_, i) => choose(of.map((curve) => curve.ys[i])));
      const mean = (values) => values.reduce((sum, y) => sum + y, 0) / values.length;
      const edge = { color, xs, thin: true };
      return [
        { ...edge, name: `${name}, highest`, ys: at((ys) => Math.max(...ys)) },
        { ...edge, name: `${name}, lowest`, ys: at((ys) => Math.min(...ys)), band: true },
        { name, color, xs, ys: at(mean) },
      ];
    });
  }

  options(width, curves) {
    const [ink, edge] = [css("--ink"), css("--edge")];
    const axis = { stroke: ink, grid: { stroke: edge, width: 1 }, ticks: { stroke: edge, width: 1 } };
    const short = (u, splits) => splits.map((x) => (x === null ? null : compact(x)));
    const zoomed = (u, key) => {
      const { min, max } = u.scales.x;
      if (key !== "x" || (min === view.shown.min && max === view.shown.max)) return;
      view.zoom = { min, max };
      frame();
    };
    return {
      width,
      height: this.height,
      cursor: { sync: { key: "runs" }, focus: { prox: 24 }, bind: { dblclick: () => showAll } },
      scales: { x: { time: false }, y: view.log ? { distr: 3, range: (u, low, high) => [low / 1.02, high * 1.02] } : {} },
      axes: [{ ...axis, values: short, label: UNITS[view.x].name, labelSize: 20 }, { ...axis, values: short, size: 64 }],
      hooks: { setScale: [zoomed] },
      // Between a lowest and the highest before it.
      bands: curves.flatMap((curve, i) => (curve.band ? [{ series: [i, i + 1], fill: color(curve.color) + "33" }] : [])),
      series: [
        { label: UNITS[view.x].name, value: (u, x) => (x === null ? "–" : compact(x, 6)) },
        ...curves.map((curve) => ({
          label: curve.name,
          show: !this.off.has(curve.name),
          class: curve.thin ? "edge" : undefined,
          stroke: color(curve.color),
          // Lines of one pixel are drawn several times as fast, which is felt where there are many points.
          width: curve.thin ? 0.5 : curve.xs.length > 1000 ? 1 : 1.5,
          spanGaps: true,
          points: { show: this.points && !curve.thin, size: 5 },
          value: (u, y) => (y === null || y === undefined ? "–" : number(y)),
        })),
      ],
    };
  }

  draw() {
    const width = Math.max(280, this.card.clientWidth - 24);
    if (this.plot) {
      for (const { label, show } of this.plot.series.slice(1)) show ? this.off.delete(label) : this.off.add(label);
      this.plot.destroy();
    }
    const curves = this.curves();
    this.names = JSON.stringify(curves.map((curve) => curve.name));
    this.plot = new uPlot(this.options(width, curves), joined(curves), this.card);
  }

  // Draws other points of the same curves, under a hovering mouse too.
  refresh() {
    const curves = this.curves();
    if (JSON.stringify(curves.map((curve) => curve.name)) === this.names) this.plot.setData(joined(curves), false);
    else this.draw();
  }

  resize() {
    if (this.plot) this.plot.setSize({ width: Math.max(280, this.card.clientWidth - 24), height: this.height });
  }
}

function joined(curves) {
  return curves.length ? uPlot.join(curves.map((curve) => [curve.xs, curve.ys])) : [[]];
}

// All charts show the same part of x, after `draw` or `refresh` of any of them.
function frame() {
  const ends = charts.flatMap(({ plot }) => (plot.data[0].length ? [plot.data[0][0], plot.data[0].at(-1)] : []));
  const all = ends.length ? { min: Math.min(...ends), max: Math.max(...ends) } : { min: 0, max: 1 };
  if (all.min === all.max) all.max++;
  view.shown = view.zoom || all;
  for (const chart of charts) chart.plot.setScale("x", { ...view.shown });
}

function showAll() {
  view.zoom = null;
  frame();
}

function compact(x, digits = 3) {
  const size = Math.abs(x);
  for (const [limit, unit] of [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (size >= limit) return +(x / limit).toPrecision(digits) + unit;
  }
  return size > 0 && size < 1e-3 ? x.toExponential(1) : String(+x.toPrecision(digits));
}
