//! Reports: `metrics.jsonl` to series, series to charts (SVG), charts to one HTML file without anything outside it; and the page
//! of several runs ([`Story`]), whose charts the browser draws, written or [served](Server).
mod braille;
mod cells;
mod chart;
mod document;
mod head;
mod kept;
mod log;
mod origin;
mod page;
mod rates;
mod series;
mod serve;
mod story;
mod told;

pub use braille::braille;
pub use cells::Cells;
pub use chart::Chart;
pub use log::{GapPoint, RunLog};
pub use origin::origin;
pub use page::{Page, escape};
pub use rates::{rate_chart, schedule_series};
pub use series::{Line, Series};
pub use serve::{Live, Server};
pub use story::Story;
pub use told::Told;
