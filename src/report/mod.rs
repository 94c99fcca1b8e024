//! Reports: `metrics.jsonl` to series, series to charts (SVG), charts to one HTML file without anything outside it.
mod chart;
mod log;
mod page;
mod series;

pub use chart::Chart;
pub use log::{EvalPoint, RunLog, StepPoint};
pub use page::{Page, escape};
pub use series::{Line, Series, moving_average};
