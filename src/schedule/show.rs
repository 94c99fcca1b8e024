//! A schedule for people: selected steps as a table, CSV or JSON, and a curve in one line.
use super::{Quantities, Schedule, Varying};
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
    /// What else is scheduled.
    #[serde(flatten)]
    pub scheduled: Varying,
}

/// Rows of a table when the caller names no interval.
const DEFAULT_ROWS: u64 = 20;
/// A schedule with more phases (a table, a cycle) is shown at intervals only.
const JOINS_MAX: usize = 40;

/// Every `every`-th step (default: about 20 of them), the first step of each phase and the last step of the run.
/// `seq_len` is known or not.
pub fn points(
    schedule: &Schedule,
    quantities: &Quantities,
    every: Option<u64>,
    seq_len: Option<u64>,
) -> Vec<Point> {
    let (total, batch) = (quantities.steps, &quantities.batch);
    let every = every.unwrap_or(total.div_ceil(DEFAULT_ROWS)).max(1);
    let mut steps: Vec<u64> = (0..total).step_by(usize::try_from(every).unwrap_or(usize::MAX)).collect();
    let joins = schedule.joins();
    if joins.len() <= JOINS_MAX {
        let joins = joins.into_iter().map(|join| batch.steps_for(join.saturating_mul(batch.full())));
        steps.extend(joins.filter(|&step| step < total));
    }
    steps.extend(total.checked_sub(1));
    steps.sort_unstable();
    steps.dedup();
    let point = |step| {
        let at = batch.full_steps_before(step);
        let settings = quantities.settings(step, at, schedule.at(at), schedule.peak());
        let tokens = seq_len.map(|tokens| tokens.saturating_mul(batch.samples_before(step)));
        Point { step, tokens, lr: settings.lr, scheduled: quantities.varying(&settings) }
    };
    steps.into_iter().map(point).collect()
}

/// What is known of a point, by column.
fn cells(point: &Point, number: fn(f64) -> String) -> Vec<(&'static str, String)> {
    let scheduled = &point.scheduled;
    let mut cells = vec![("step", point.step.to_string())];
    cells.extend(point.tokens.map(|tokens| ("tokens", tokens.to_string())));
    cells.push(("lr", number(point.lr)));
    cells.extend(scheduled.sequences.map(|n| ("sequences", n.to_string())));
    let numbers =
        [("weight_decay", scheduled.weight_decay), ("beta1", scheduled.beta1), ("beta2", scheduled.beta2)];
    cells.extend(numbers.into_iter().filter_map(|(name, x)| Some((name, number(x?)))));
    cells
}

/// Aligned columns, `step`, `tokens` where they are known, `lr` and what else is scheduled, with a header.
pub fn table(points: &[Point]) -> String {
    let rows: Vec<_> = points.iter().map(|point| cells(point, |x| format!("{x:.6e}"))).collect();
    let Some(header) = rows.first() else { return String::new() };
    let width = |i: usize| rows.iter().map(|row| row[i].1.len()).fold(header[i].0.len(), usize::max);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::new();
    let names: Vec<_> = header.iter().map(|(name, _)| (*name, (*name).to_owned())).collect();
    for row in [&names].into_iter().chain(&rows) {
        let line = row.iter().zip(&widths).map(|((name, cell), width)| match *name {
            "step" | "tokens" => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        });
        let line = line.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end()); // writing to a String cannot fail
    }
    out
}

/// The same columns separated by commas; rates in the shortest form that reads back to the same f64.
pub fn csv(points: &[Point]) -> String {
    let rows: Vec<_> = points.iter().map(|point| cells(point, |x| format!("{x:e}"))).collect();
    let Some(header) = rows.first() else { return String::new() };
    let join = |cells: Vec<&str>| cells.join(",") + "\n";
    let mut out = join(header.iter().map(|(name, _)| *name).collect());
    rows.iter().for_each(|row| out += &join(row.iter().map(|(_, cell)| &cell[..]).collect()));
    out
}

/// `{"total_steps", "warmup_steps", "peak", "points": [{"step", "tokens", "lr", …}]}`.
pub fn json(schedule: &Schedule, quantities: &Quantities, points: &[Point]) -> serde_json::Value {
    serde_json::json!({
        "total_steps": quantities.steps,
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
