//! Training: one step, the loop around it, evaluation and metrics.
mod step;

pub use step::{Micro, StepResult, train_step};
