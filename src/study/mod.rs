//! `rewarm study`: many runs that differ in named settings, from one file, and one table of what became of them.
//!
//! ```text
//! study.toml ──► file ──► plan (a run per combination and seed) ──► work (each taken by its lock) ──► findings, table
//! ```
mod file;
mod findings;
mod keep;
mod label;
mod plan;
mod record;
mod table;
mod work;

pub use file::Study;
pub use findings::Findings;
pub use keep::keep;
pub use plan::StudyPlan;
pub use work::{Doing, work};
