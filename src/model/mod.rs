//! GPT-NeoX, written once over the operations of [`crate::ops`].
//!
//! Sizes are named by one letter everywhere: `B` batch, `T` time, `C` channels (hidden size), `H` heads,
//! `D` head size, `F` feed-forward (intermediate) size, `V` vocabulary as stored, `L` layers.
mod params;
mod sizes;

pub use params::{Layer, Matrix, Norm, Param, ParamTable, Vector};
pub use sizes::{Gelu, ModelConfig, PRESETS, preset};
