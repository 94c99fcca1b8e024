//! Measurements. Each is one [`Record`]: where and how it was made, every sample, and figures derived from them;
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

pub use ceilings::Ceilings;
pub use checkpoint::Checkpoints;
pub use data::Reading;
pub use fit::{check_fits, largest_micro, memory_available};
pub use kernels::Kernels;
pub use machine::{Load, Machine, peak_resident, reset_peak_resident, resident_above, since_process_start};
pub use record::{Record, Summary, time_s};
pub use train::{StepTimes, measure};
pub use trainer::{Job, Tokens, Trainer};
pub use workload::{Workload, precision_class};
