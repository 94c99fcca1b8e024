//! What the optimizer does beside its kernel: parameter groups.
mod groups;

pub use groups::{GroupRule, assign, decay_by_depth};
