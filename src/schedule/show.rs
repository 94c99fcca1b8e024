//! A schedule for people: selected steps as a table, CSV or JSON, and a plot of characters.
use super::Schedule;
use std::fmt::Write;

/// The rate of one step.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    /// Attempted step, from 0.
    pub step: u64,
    /// Its learning rate.
    pub lr: f64,
}

/// Rows of a table when the caller names no interval.
const DEFAULT_ROWS: u64 = 20;

/// Every `every`-th step (default: about 20 of them), the first step of each phase and the last step of the run.
pub fn points(schedule: &Schedule, every: Option<u64>) -> Vec<Point> {
    let every = every.unwrap_or(schedule.total.div_ceil(DEFAULT_ROWS)).max(1);
    let mut steps: Vec<u64> =
        (0..schedule.total).step_by(usize::try_from(every).unwrap_or(usize::MAX)).collect();
    steps.extend(schedule.joins().into_iter().filter(|&step| step < schedule.total));
    steps.extend(schedule.total.checked_sub(1));
    steps.sort_unstable();
    steps.dedup();
    steps.into_iter().map(|step| Point { step, lr: schedule.lr(step) }).collect()
}

/// Two aligned columns, `step` and `lr`, with a header.
pub fn table(points: &[Point]) -> String {
    let width = points.last().map_or(0, |p| p.step.to_string().len()).max("step".len());
    let mut out = format!("{:>width$}  lr\n", "step");
    for point in points {
        let _ = writeln!(out, "{:>width$}  {:.6e}", point.step, point.lr); // writing to a String cannot fail
    }
    out
}

/// `step,lr` lines with a header; rates in the shortest form that reads back to the same f64.
pub fn csv(points: &[Point]) -> String {
    let mut out = String::from("step,lr\n");
    for point in points {
        let _ = writeln!(out, "{},{:e}", point.step, point.lr); // writing to a String cannot fail
    }
    out
}

/// `{"total_steps", "warmup_steps", "peak", "points": [{"step", "lr"}]}`.
pub fn json(schedule: &Schedule, points: &[Point]) -> serde_json::Value {
    serde_json::json!({
        "total_steps": schedule.total,
        "warmup_steps": schedule.warmup_steps,
        "peak": schedule.peak(),
        "points": points,
    })
}

/// The curve over the whole run, `rows` lines of `columns` characters, an eighth of a line being the smallest
/// visible difference; the axis names the peak and the last step.
pub fn plot(schedule: &Schedule, columns: usize, rows: usize) -> String {
    const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (columns, rows) = (columns.max(2), rows.max(1));
    let last = schedule.total.saturating_sub(1);
    let peak = schedule.peak();
    let heights: Vec<usize> = (0..columns)
        .map(|column| {
            let step = (last as f64 * column as f64 / (columns - 1) as f64).round() as u64;
            (schedule.lr(step) / peak * (rows * 8) as f64).round() as usize
        })
        .collect();
    let mut out = String::new();
    for row in (0..rows).rev() {
        let label = if row + 1 == rows { format!("{peak:.2e}") } else { String::new() };
        let _ = write!(out, "{label:>9} ┤"); // writing to a String cannot fail
        out.extend(heights.iter().map(|height| EIGHTHS[height.saturating_sub(row * 8).min(8)]));
        out.push('\n');
    }
    let _ = writeln!(out, "{:>9} └{}", "0", "─".repeat(columns)); // as above
    let _ = writeln!(out, "{:>10} 0{last:>width$}", "", width = columns.saturating_sub(1)); // as above
    out
}
