//! GPT-NeoX, written once over the operations of [`crate::ops`].
//!
//! Sizes are named by one letter everywhere: `B` batch, `T` time, `C` channels (hidden size), `H` heads,
//! `D` head size, `F` feed-forward (intermediate) size, `V` vocabulary as stored, `L` layers.
mod acts;
mod backward;
mod forward;
pub(crate) mod init;
mod params;
mod precision;
mod sizes;
mod trained;
mod workspace;

use crate::ops::{AdamParam, Heads};
use trained::Trained;

pub use acts::{GradActs, LayerActs, Purpose, Rebuild, Recompute};
pub use forward::Pass;
pub use init::{Init, draw_initial, initial_weights, initialize};
pub use params::{Layer, Param, ParamTable};
pub use precision::Precision;
pub use sizes::{ModelConfig, PRESETS, TokenIds, preset};
pub use workspace::Workspace;

/// A model without its weights: what to compute, and where the parameters lie.
#[derive(Clone, Debug)]
pub struct Model {
    /// Sizes and constants of the model.
    pub config: ModelConfig,
    /// Places of the parameters.
    pub table: ParamTable,
    /// Shape of the interleaved queries, keys and values.
    pub heads: Heads,
    trained: Trained,
}

impl Model {
    /// Lays out the parameters of a validated configuration.
    pub fn new(config: ModelConfig) -> Self {
        let table = ParamTable::new(&config);
        Self { heads: config.heads(), trained: Trained::all(&table), table, config }
    }

    /// From now on no product is computed for the gradients of frozen tensors alone.
    pub fn freeze(&mut self, params: &[AdamParam]) {
        self.trained = Trained::of(params);
    }

    /// With or without a moving average of the weights.
    pub fn with_average(mut self, average: bool) -> Self {
        self.table.average = average;
        self
    }

    /// In this precision; until it is said, f32.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.table.precision = precision;
        self
    }

    /// With gradients of biases that are always, or not always, summed by kernels of their own.
    pub fn with_separate_bias_gradients(mut self, separate: bool) -> Self {
        self.table.separate_bias_gradients = separate;
        self
    }
}
