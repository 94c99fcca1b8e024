//! A schedule for people: selected steps as a table, CSV or JSON, and a curve in one line.
use super::Schedule;
use std::fmt::Write;

/// The rate of one step.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Point {
    /// Attempted step, from 0.
    pub step: u64,
    /// Tokens consumed before it, where it is known how many a step has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Its learning rate.
    pub lr: f64,
}

/// Rows of a table when the caller names no interval.
const DEFAULT_ROWS: u64 = 20;
/// A schedule with more phases (a table, a cycle) is shown at intervals only.
const JOINS_MAX: usize = 40;

/// Every `every`-th step (default: about 20 of them), the first step of each phase and the last step of the run.
pub fn points(schedule: &Schedule, every: Option<u64>, tokens_per_step: Option<u64>) -> Vec<Point> {
    let every = every.unwrap_or(schedule.total.div_ceil(DEFAULT_ROWS)).max(1);
    let mut steps: Vec<u64> =
        (0..schedule.total).step_by(usize::try_from(every).unwrap_or(usize::MAX)).collect();
    let joins = schedule.joins();
    if joins.len() <= JOINS_MAX {
        steps.extend(joins.into_iter().filter(|&step| step < schedule.total));
    }
    steps.extend(schedule.total.checked_sub(1));
    steps.sort_unstable();
    steps.dedup();
    let tokens = |step| tokens_per_step.map(|tokens| tokens.saturating_mul(step));
    steps.into_iter().map(|step| Point { step, tokens: tokens(step), lr: schedule.lr(step) }).collect()
}

/// Aligned columns, `step`, `tokens` where they are known, and `lr`, with a header.
pub fn table(points: &[Point]) -> String {
    let step_width = points.last().map_or(0, |p| p.step.to_string().len()).max("step".len());
    let tokens_width = points.last().and_then(|p| p.tokens).map(|t| t.to_string().len().max("tokens".len()));
    let row = |step: &str, tokens: &str, lr: &str| match tokens_width {
        Some(width) => format!("{step:>step_width$}  {tokens:>width$}  {lr}\n"),
        None => format!("{step:>step_width$}  {lr}\n"),
    };
    let mut out = row("step", "tokens", "lr");
    for point in points {
        let tokens = point.tokens.map_or(String::new(), |tokens| tokens.to_string());
        out += &row(&point.step.to_string(), &tokens, &format!("{:.6e}", point.lr));
    }
    out
}

/// `step,lr` lines with a header, `step,tokens,lr` where tokens are known; rates in the shortest form that reads back
/// to the same f64.
pub fn csv(points: &[Point]) -> String {
    let with_tokens = points.iter().any(|point| point.tokens.is_some());
    let mut out = String::from(if with_tokens { "step,tokens,lr\n" } else { "step,lr\n" });
    for point in points {
        let tokens = point.tokens.map_or(String::new(), |tokens| format!("{tokens},"));
        let _ = writeln!(out, "{},{tokens}{:e}", point.step, point.lr); // writing to a String cannot fail
    }
    out
}

/// `{"total_steps", "warmup_steps", "peak", "points": [{"step", "tokens", "lr"}]}`.
pub fn json(schedule: &Schedule, points: &[Point]) -> serde_json::Value {
    serde_json::json!({
        "total_steps": schedule.total,
        "warmup_steps": schedule.warmup_steps,
        "peak": schedule.peak(),
        "points": points,
    })
}

/// The curve over the whole run in one line of `columns` characters.
pub fn sparkline(schedule: &Schedule, columns: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = schedule.total.saturating_sub(1) as f64;
    let rate = |column| schedule.lr((last * column as f64 / (columns - 1) as f64).round() as u64);
    let peak = (0..columns).map(rate).fold(f64::MIN_POSITIVE, f64::max);
    (0..columns).map(|column| LEVELS[(rate(column) / peak * 7.0).round() as usize]).collect()
}
