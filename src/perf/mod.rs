//! What hardware can do at most, and what that says about a run before it is started.
pub mod gpus;
