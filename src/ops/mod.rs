//! The vocabulary of fused operations that the model is written in. An operation is a value, an [`Op`], and
//! whoever is handed one after the other computes them, or notes them, or both: [`Ops`]. A [`Backend`] has a model's
//! memory beside, and `model/` never changes when one is added.
//!
//! Every operation is defined so that a row's result depends on its own sequence only, and every gradient is
//! a sum over sequences in sample order. So neither the number of threads nor the split of a batch into
//! micro-batches can change a bit.
pub mod attention;
mod backend;
mod calls;
pub mod cost;
mod handles;
mod inputs;
mod op;
mod source;
mod state;
mod update;

pub use backend::{Backend, GemmChoices, Ops, Timeline, Work};
pub use handles::{Act, Gelu, Heads, Matrix, Norm, Shape, Sink, Source, Stat, Vector};
pub use inputs::{Documents, Inputs};
pub use op::Op;
pub use source::draw_in_order;
pub use state::{HostState, Part, State};
pub use update::{AdamParam, AdamSettings, AdamStep, Outcome, Update};
