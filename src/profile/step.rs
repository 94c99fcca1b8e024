//! A profiled step: its operations, with their place in the model and their times.
use crate::ops::cost::Cost;
use serde::Serialize;
use strum::AsRefStr;

/// The parts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, AsRefStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum StepPart {
    /// From the tokens to the last norm.
    Forward,
    /// Logits, loss, and the gradients of both.
    Head,
    /// From the last norm back to the embedding, what is computed again included.
    Backward,
    /// Norm, clipping and AdamW.
    Optimizer,
}

/// One operation of a step: when it ran and what it costs.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name in the vocabulary, and the weight it multiplies with.
    pub name: &'static str,
    /// `qkv`, `out`, `head`; empty where the operation has no matrix.
    pub weight: &'static str,
    /// Part of the step.
    pub phase: StepPart,
    /// Block, where it belongs to one.
    pub layer: Option<usize>,
    /// What it must move and compute at least.
    pub cost: Cost,
    /// Beginning and end, in seconds from the start of the step.
    pub time: [f64; 2],
}

impl Call {
    /// The operation and its weight, such as `linear qkv`.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.weight).trim_end().to_owned()
    }

    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.time[1] - self.time[0]
    }
}

/// A profiled step; times are in seconds from its start, on the clock of the device.
#[derive(Clone, Debug)]
pub struct Step {
    /// Seconds of the whole step.
    pub seconds: f64,
    /// Its operations in the order of their issue.
    pub calls: Vec<Call>,
    /// Kernels and products of a GPU, with beginning and end.
    pub launches: Vec<(String, [f64; 2])>,
}
