//! Two drawings: a step as nested bars, and operations under the roofline.
use super::{Step, Table};
use crate::report::escape;
use std::fmt::Write;

const WIDTH: f64 = 1600.0;
const FONT: &str = "font-family=\"system-ui, sans-serif\" fill=\"#1f2937\"";
/// Okabe and Ito's colours, which everybody can tell apart.
const COLORS: [&str; 7] = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];

/// The same colour for the same kind of operation everywhere.
fn color(name: &str) -> &'static str {
    let kinds = [
        ("linear_bwd", 4),
        ("linear", 0),
        ("attention", 5),
        ("layernorm", 2),
        ("cross_entropy", 6),
        ("update", 1),
    ];
    kinds.iter().find(|(kind, _)| name.starts_with(kind)).map_or(COLORS[3], |&(_, i)| COLORS[i])
}

fn document(height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\"><rect width=\"{WIDTH}\" \
         height=\"{height}\" fill=\"#fff\"/>{body}</svg>"
    )
}

/// A bar with its name where that fits, and in a tooltip.
fn bar(svg: &mut String, step_s: f64, time: [f64; 2], row: usize, name: &str, fill: &str) {
    const HEIGHT: f64 = 34.0;
    let [x, end] = time.map(|t| t / step_s * WIDTH);
    let (y, width, ms) = (row as f64 * (HEIGHT + 4.0) + 8.0, (end - x).max(0.2), (time[1] - time[0]) * 1e3);
    let name = escape(name);
    let _ = write!(
        svg,
        "<g><title>{name}: {ms:.3} ms</title><rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{HEIGHT}\" \
         fill=\"{fill}\" stroke=\"#fff\" stroke-width=\"0.5\"/>"
    );
    if width > 10.0 * name.len() as f64 {
        let _ = write!(
            svg,
            "<text x=\"{:.2}\" y=\"{}\" font-size=\"18\" {FONT}>{name}</text>",
            x + 5.0,
            y + 23.0
        );
    }
    svg.push_str("</g>");
}

/// Phases, blocks and operations of one step over time.
pub fn timeline(step: &Step) -> String {
    let mut svg = String::new();
    bar(&mut svg, step.seconds, [0.0, step.seconds], 0, "step", "#e5e7eb");
    for phase in step.calls.chunk_by(|a, b| a.phase == b.phase) {
        let time = [phase[0].time[0], phase[phase.len() - 1].time[1]];
        bar(&mut svg, step.seconds, time, 1, phase[0].phase.name(), "#d1d5db");
        for block in phase.chunk_by(|a, b| a.layer == b.layer) {
            if let Some(layer) = block[0].layer {
                let time = [block[0].time[0], block[block.len() - 1].time[1]];
                bar(&mut svg, step.seconds, time, 2, &format!("layer {layer}"), "#e5e7eb");
            }
            for call in block {
                bar(&mut svg, step.seconds, call.time, 3, &call.label(), color(call.name));
            }
        }
    }
    document(168.0, &svg)
}

/// A logarithmic axis: `low` and `high` in powers of ten, at these pixels.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Whole decades around these values.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let logs = values.filter(|v| *v > 0.0 && v.is_finite()).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low.floor(), (high + 0.05).ceil()) } else { (0.0, 1.0) };
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn at(self, value: f64) -> f64 {
        let place = (value.log10().clamp(self.low, self.high) - self.low) / (self.high - self.low);
        self.from + place * (self.to - self.from)
    }

    fn decades(self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// FLOPs per second over FLOPs per byte (Williams et al. 2009): each operation as a circle whose area is its share of the
/// step. Operations that compute nothing are left out.
pub fn roofline(table: &Table) -> String {
    let [left, right, top, bottom] = [120.0, WIDTH - 40.0, 30.0, 700.0];
    let rows: Vec<_> = table.rows.iter().filter(|r| r.flops > 0.0 && r.bytes > 0.0).collect();
    let (copy, matmul) = (table.ceilings.copy_bytes_per_s / 1e9, table.ceilings.matmul_flops_per_s / 1e9);
    let ridge = matmul / copy;
    let x = Axis::around(rows.iter().map(|r| r.flops / r.bytes).chain([ridge]), left, right);
    let y = Axis::around(rows.iter().map(|r| r.gflop_per_s).chain([matmul]), bottom, top);
    let mut svg = String::new();
    let mut line = |[x1, y1, x2, y2]: [f64; 4], style: &str| {
        let _ = write!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
    };
    let grid = "stroke=\"#e5e7eb\" stroke-width=\"2\"";
    x.decades().for_each(|v| line([x.at(v), top, x.at(v), bottom], grid));
    y.decades().for_each(|v| line([left, y.at(v), right, y.at(v)], grid));
    let roof = "stroke=\"#d55e00\" stroke-width=\"4\"";
    // Where the slope enters the picture, at the left or from below.
    let begin = 10f64.powf(x.low).max(10f64.powf(y.low) / copy);
    line([x.at(begin), y.at(begin * copy), x.at(ridge), y.at(matmul)], roof);
    line([x.at(ridge), y.at(matmul), right, y.at(matmul)], roof);
    let mut text = |x: f64, y: f64, anchor: &str, size: u32, text: &str| {
        let text = escape(text);
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" {FONT}>{text}</text>"
        );
    };
    x.decades().for_each(|v| text(x.at(v), bottom + 30.0, "middle", 22, &v.to_string()));
    y.decades().for_each(|v| text(left - 12.0, y.at(v) + 7.0, "end", 22, &v.to_string()));
    text(f64::midpoint(left, right), bottom + 66.0, "middle", 24, "FLOP per byte");
    text(left, top - 8.0, "start", 24, "GFLOP/s");
    for row in rows {
        let (cx, cy, radius) =
            (x.at(row.flops / row.bytes), y.at(row.gflop_per_s), 4.0 + 60.0 * row.share.sqrt());
        let (name, fill) = (escape(&row.name), color(&row.name));
        let _ = write!(
            svg,
            "<g><title>{name}: {:.1} GFLOP/s, {:.1} % of the roofline, {:.1} % of the step</title><circle cx=\"{cx:.1}\" \
             cy=\"{cy:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" fill-opacity=\"0.6\" stroke=\"#1f2937\"/><text \
             x=\"{:.1}\" y=\"{:.1}\" font-size=\"18\" {FONT}>{name}</text></g>",
            row.gflop_per_s,
            row.share_of_roofline * 1e2,
            row.share * 1e2,
            cx + radius + 3.0,
            cy + 6.0
        );
    }
    document(780.0, &svg)
}
