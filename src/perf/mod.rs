//! What hardware can do at most, and what that says about a run before it is started.
pub mod evaluations;
pub mod gpus;
pub mod ledger;
pub mod plan;
pub mod processor;
pub mod roofline;
