//! The drawing of learning rates: the same for a schedule that is planned and for one that was followed.
use super::{Chart, Line, Series};
use crate::schedule::Schedule;

/// Colours that stay apart for colour-blind readers (Okabe & Ito).
const PALETTE: [(u8, u8, u8); 7] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (107, 114, 128),
];
/// Points of a curve, besides those where phases meet.
const POINTS: u64 = 800;

/// Rates over a common x, from 0 up.
pub fn rate_chart(x_label: &str, series: Vec<Series>) -> Chart {
    let most = series.iter().flat_map(|s| &s.points).map(|p| p.1).fold(0.0, f64::max);
    Chart {
        title: "Learning rate".into(),
        x_label: x_label.into(),
        y_label: "learning rate".into(),
        y_range: (most > 0.0).then_some((0.0, 1.08 * most)),
        marks: Vec::new(),
        series,
    }
}

/// The curve of a schedule, the `index`-th of a chart; a step moves `per_step` along x.
pub fn schedule_series(name: &str, index: usize, schedule: &Schedule, per_step: f64) -> Series {
    let mut steps: Vec<u64> =
        (0..schedule.total).step_by((schedule.total / POINTS).max(1) as usize).collect();
    // Both sides of a join, so that a jump is upright; a list of rates has joins everywhere.
    let joins = schedule.joins();
    if joins.len() as u64 <= POINTS {
        steps.extend(joins.into_iter().flat_map(|join| [join - 1, join]));
    }
    steps.push(schedule.total.saturating_sub(1));
    steps.retain(|&step| step < schedule.total);
    steps.sort_unstable();
    steps.dedup();
    let points = steps.into_iter().map(|step| (step as f64 * per_step, schedule.lr(step))).collect();
    let line = if (index / PALETTE.len()).is_multiple_of(2) { Line::Solid } else { Line::Dashed };
    Series::new(name, PALETTE[index % PALETTE.len()], line, points)
}
