//! Measurements. Each is one `Record`: where and how it was made, every sample, and figures derived from them;
//! `docs/benchmarks.md` says what each key means.
pub mod cases;
mod ceilings;
mod check;
mod checkpoint;
mod data;
mod fit;
mod kernels;
mod machine;
mod products;
mod record;
mod train;
mod trainer;
pub mod turns;
mod workload;

pub(crate) use ceilings::Ceilings;
pub(crate) use checkpoint::Checkpoints;
pub(crate) use data::Reading;
pub(crate) use fit::{check_fits, largest_micro, memory_available};
pub(crate) use kernels::Kernels;
pub use machine::resident_above;
pub(crate) use machine::{Load, Machine, peak_resident, reset_peak_resident, since_process_start};
pub(crate) use record::{Record, Summary, time_s};
pub(crate) use train::measure;
pub(crate) use trainer::Trainer;
pub(crate) use workload::{Workload, precision_class};
