//! Two drawings: a step as nested bars, and operations under the roofline.
use super::{Row, Step, Table};
use crate::report::escape;
use std::fmt::Write;

const WIDTH: f64 = 1600.0;
const FONT: &str = "font-family=\"system-ui, sans-serif\" fill=\"#1f2937\"";
/// Mean width of a letter of a wide proportional font, in heights.
const LETTER: f64 = 0.6;
/// Okabe and Ito's colours, which everybody can tell apart.
const COLORS: [&str; 7] = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];

/// How the names of each kind of operation begin, what it is called, and its colour; the last is everything else.
const KINDS: [(&str, &str, &str); 7] = [
    ("linear_bwd", "products, backward", COLORS[4]),
    ("linear", "products, forward", COLORS[0]),
    ("attention", "attention", COLORS[5]),
    ("layernorm", "norms", COLORS[2]),
    ("cross_entropy", "loss", COLORS[6]),
    ("update", "update", COLORS[1]),
    ("", "others", COLORS[3]),
];

/// The same colour for the same kind of operation everywhere.
fn color(name: &str) -> &'static str {
    KINDS.iter().find(|(kind, ..)| name.starts_with(kind)).map_or(COLORS[3], |kind| kind.2)
}

fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, size: u32, text: &str) {
    let text = escape(text);
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" {FONT}>{text}</text>"
    );
}

/// What the colours mean, from `left` on; the rightmost pixel comes back.
fn legend(svg: &mut String, left: f64, y: f64) -> f64 {
    let mut x = left;
    for (_, name, fill) in KINDS {
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"18\" height=\"18\" fill=\"{fill}\"/>",
            y - 15.0
        );
        text(svg, [x + 26.0, y], "start", 22, name);
        x += 26.0 + LETTER * 22.0 * name.len() as f64 + 26.0;
    }
    x
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
    let fits = width > 0.55 * 18.0 * name.chars().count() as f64 + 10.0;
    let name = escape(name);
    let _ = write!(
        svg,
        "<g><title>{name}: {ms:.3} ms</title><rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{HEIGHT}\" \
         fill=\"{fill}\" stroke=\"#fff\" stroke-width=\"0.5\"/>"
    );
    if fits {
        // Letters on a colour do not follow a page's ink.
        let ink = match fill {
            "#e5e7eb" | "#d1d5db" => FONT,
            "#0072b2" => "font-family=\"system-ui, sans-serif\" style=\"fill:#fff\"",
            _ => "font-family=\"system-ui, sans-serif\" style=\"fill:#111827\"",
        };
        let _ =
            write!(svg, "<text x=\"{:.2}\" y=\"{}\" font-size=\"18\" {ink}>{name}</text>", x + 5.0, y + 23.0);
    }
    svg.push_str("</g>");
}

/// Phases, blocks and operations of one step over time.
pub fn timeline(step: &Step) -> String {
    let mut svg = String::new();
    bar(&mut svg, step.seconds, [0.0, step.seconds], 0, "step", "#e5e7eb");
    for phase in step.calls.chunk_by(|a, b| a.phase == b.phase) {
        let time = [phase[0].time[0], phase[phase.len() - 1].time[1]];
        bar(&mut svg, step.seconds, time, 1, phase[0].phase.as_ref(), "#d1d5db");
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
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let anchor = ["start", "middle", "middle", "middle", "end"][quarter as usize];
        let _ = write!(
            svg,
            "<line x1=\"{0:.1}\" y1=\"164\" x2=\"{0:.1}\" y2=\"176\" stroke=\"#6b7280\" stroke-width=\"2\"/>",
            (share * WIDTH).clamp(1.0, WIDTH - 1.0)
        );
        text(&mut svg, [share * WIDTH, 200.0], anchor, 22, &format!("{:.3} ms", share * step.seconds * 1e3));
    }
    legend(&mut svg, 4.0, 246.0);
    document(260.0, &svg)
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

/// A row of the table in the drawing.
struct Circle<'a> {
    row: &'a Row,
    center: [f64; 2],
    radius: f64,
}

/// FLOPs per second over FLOPs per byte (Williams et al. 2009): each operation as a circle whose area is its share of the
/// step. Names stand in a column of their own beside it, in the order of the circles' heights, each with a line to its
/// circle: most circles of a step lie together. Operations that compute nothing or have no rate are left out.
pub fn roofline(table: &Table) -> String {
    const PITCH: f64 = 25.0;
    const LONGEST: usize = 25;
    // What took no time that the clock can tell has no rate either.
    let has_rate = |r: &&Row| r.gflop_per_s > 0.0 && r.gflop_per_s.is_finite();
    let rows: Vec<_> =
        table.rows.iter().filter(|r| r.flops > 0.0 && r.bytes > 0.0).filter(has_rate).collect();
    let [left, right, top, names] = [120.0, WIDTH - 480.0, 70.0, WIDTH - 420.0];
    let bottom = (top + PITCH * rows.len() as f64).max(700.0);
    let (copy, matmul) = (table.ceilings.copy_bytes_per_s / 1e9, table.ceilings.matmul_flops_per_s / 1e9);
    let ridge = matmul / copy;
    let x = Axis::around(rows.iter().map(|r| r.flops / r.bytes).chain([ridge]), left, right);
    let y = Axis::around(rows.iter().map(|r| r.gflop_per_s).chain([matmul]), bottom, top);
    let mut svg = String::new();
    axes(&mut svg, x, y);
    let mut roof = |[x1, y1, x2, y2]: [f64; 4]| {
        line(&mut svg, [x1, y1, x2, y2], "stroke=\"#d55e00\" stroke-width=\"4\"")
    };
    // Where the slope enters the picture, at the left or from below.
    let begin = 10f64.powf(x.low).max(10f64.powf(y.low) / copy);
    roof([x.at(begin), y.at(begin * copy), x.at(ridge), y.at(matmul)]);
    roof([x.at(ridge), y.at(matmul), right, y.at(matmul)]);
    let mut circles: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let center = [x.at(row.flops / row.bytes), y.at(row.gflop_per_s)];
            Circle { row, center, radius: 4.0 + 60.0 * row.share.sqrt() }
        })
        .collect();
    circles.iter().for_each(|circle| draw_circle(&mut svg, circle));
    circles.sort_by(|a, b| a.center[1].total_cmp(&b.center[1]).then(b.center[0].total_cmp(&a.center[0])));
    let heights = spread(circles.iter().map(|circle| circle.center[1]), PITCH, [top, bottom]);
    for (Circle { row, center: [cx, cy], .. }, height) in circles.iter().zip(heights) {
        line(&mut svg, [*cx, *cy, names - 6.0, height - 6.0], "stroke=\"#6b7280\" stroke-width=\"0.8\"");
        // A longer one is whole in the circle's tooltip.
        let name: String = match row.name.chars().count() {
            ..=LONGEST => row.name.clone(),
            _ => row.name.chars().take(LONGEST - 1).chain(['…']).collect(),
        };
        text(&mut svg, [names, height], "start", 20, &format!("{name}  {:.1} %", row.share * 1e2));
    }
    legend(&mut svg, left, 30.0);
    document(bottom + 80.0, &svg)
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], style: &str) {
    let _ = write!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
}

/// Decades with their lines and numbers, and the units.
fn axes(svg: &mut String, x: Axis, y: Axis) {
    let [left, right, bottom, top] = [x.from, x.to, y.from, y.to];
    let grid = "stroke=\"#e5e7eb\" stroke-width=\"2\"";
    x.decades().for_each(|v| line(svg, [x.at(v), top, x.at(v), bottom], grid));
    y.decades().for_each(|v| line(svg, [left, y.at(v), right, y.at(v)], grid));
    x.decades().for_each(|v| text(svg, [x.at(v), bottom + 30.0], "middle", 22, &decade(v)));
    y.decades().for_each(|v| text(svg, [left - 12.0, y.at(v) + 7.0], "end", 22, &decade(v)));
    text(svg, [f64::midpoint(left, right), bottom + 66.0], "middle", 24, "FLOP per byte");
    text(svg, [6.0, top - 24.0], "start", 24, "GFLOP/s");
}

/// `0.001` to `100000` in full, others as `1e-9`: names of neighbouring decades do not touch.
fn decade(value: f64) -> String {
    if (1e-3..=1e5).contains(&value) { value.to_string() } else { format!("{value:e}") }
}

fn draw_circle(svg: &mut String, Circle { row, center: [cx, cy], radius }: &Circle<'_>) {
    let (name, fill) = (escape(&row.name), color(&row.name));
    let _ = write!(
        svg,
        "<g><title>{name}: {:.1} GFLOP/s, {:.1} % of the roofline, {:.1} % of the step</title><circle cx=\"{cx:.1}\" \
         cy=\"{cy:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" fill-opacity=\"0.6\" stroke=\"#1f2937\"/></g>",
        row.gflop_per_s,
        row.share_of_roofline * 1e2,
        row.share * 1e2
    );
}

/// Heights at least `pitch` apart, in the order of those wanted and near them, between the ends.
fn spread(wanted: impl Iterator<Item = f64>, pitch: f64, [top, bottom]: [f64; 2]) -> Vec<f64> {
    let mut heights: Vec<f64> = wanted.collect();
    let mut free = top;
    for height in &mut heights {
        *height = height.max(free);
        free = *height + pitch;
    }
    let mut free = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(free);
        free = *height - pitch;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Ceilings;

    fn table(rows: impl IntoIterator<Item = (String, f64, f64)>) -> Table {
        let ceilings = Ceilings { copy_bytes_per_s: 3e10, matmul_flops_per_s: 1.1e11 };
        let rows = rows.into_iter().map(|(name, flops, gflop_per_s)| Row {
            name,
            calls_per_step: 4.0,
            total_s: 0.03,
            share: 0.1,
            mean_s: 0.01,
            bytes: 1e7,
            flops,
            gb_per_s: 1.0,
            gflop_per_s,
            share_of_roofline: 0.9,
        });
        Table {
            steps: 5,
            step_s: 0.3,
            rows: rows.collect(),
            launches: Vec::new(),
            gaps_share: 0.0,
            gaps_s: 0.0,
            ceilings,
            plain_and_profiled_s: [0.3; 2],
        }
    }

    /// Left, top, right, bottom of every text, by the mean width of a letter, and the height of the drawing.
    fn texts(svg: &str) -> (Vec<[f64; 4]>, f64) {
        let attribute = |tag: &str, name: &str| {
            let value = tag.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            value.unwrap_or_else(|| panic!("{name} in {tag}")).to_owned()
        };
        let of = |part: &str| {
            let (tag, text) = part.split_once('>').unwrap();
            let number = |name: &str| attribute(tag, name).parse::<f64>().unwrap();
            let (x, y, size) = (number(" x"), number(" y"), number("font-size"));
            let width = text.split('<').next().unwrap().chars().count() as f64 * LETTER * size;
            let from = match attribute(tag, "text-anchor").as_str() {
                "middle" => x - width / 2.0,
                "end" => x - width,
                _ => x,
            };
            [from, y - 0.8 * size, from + width, y + 0.2 * size]
        };
        let height = attribute(svg, "viewBox").split(' ').nth(3).unwrap().parse().unwrap();
        (svg.split("<text ").skip(1).map(|part| of(&format!(" {part}"))).collect(), height)
    }

    #[test]
    fn names_in_the_roofline_neither_overlap_nor_leave_it() {
        let crowd = |n: usize| {
            table((0..n).map(|i| (format!("linear_bwd_weight number {i}"), 7e8 + i as f64, 100.0)))
        };
        let long = table([("linear_bwd_weight of a very long name".into(), 1e8, 10.0)]);
        let scattered =
            table((0..20).map(|i| ("attention".into(), 10f64.powi(i % 9), 10f64.powi(i % 5 - 1))));
        let broken =
            table([("a".into(), 1e8, f64::NAN), ("b".into(), 1e8, f64::INFINITY), ("c".into(), 0.0, 0.0)]);
        for table in [crowd(0), crowd(1), crowd(13), crowd(60), long, scattered, broken] {
            let svg = roofline(&table);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let (boxes, height) = texts(&svg);
            for (i, a) in boxes.iter().enumerate() {
                assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= WIDTH && a[3] <= height, "{a:?} is cut");
                for b in &boxes[..i] {
                    let apart = a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3];
                    assert!(apart, "{a:?} lies over {b:?} of {} rows", table.rows.len());
                }
            }
        }
    }
}
