//! The end of a step: how it changes the weights, and what it reports.
use super::Matrix;
use serde::{Deserialize, Serialize};

/// AdamW without its learning rate, which `schedule/` owns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamSettings {
    /// β₁ and β₂, the decays of the two moments.
    pub betas: [f64; 2],
    /// ε, added after the square root.
    pub eps: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip: f64,
}

impl AdamSettings {
    /// The factor on all gradients for their global norm, as `torch.nn.utils.clip_grad_norm_` computes it.
    pub fn clip_factor(&self, norm: f64) -> f64 {
        if self.clip > 0.0 { (self.clip / (norm + 1e-6)).min(1.0) } else { 1.0 }
    }
}

/// How one step changes the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// β, ε and clipping.
    pub adam: AdamSettings,
    /// Learning rate before group multipliers.
    pub lr: f64,
    /// Factors on the decay of tensors, and of those whose decay follows the rate.
    pub decay_scale: [f64; 2],
    /// Key of random numbers.
    pub seed: u64,
    /// Attempted steps before this one: part of the counter of random numbers.
    pub step: u64,
}

impl Update {
    /// With every decay as it is given, and seed 0.
    pub fn new(adam: AdamSettings, lr: f64, step: u64) -> Self {
        Self { adam, lr, decay_scale: [1.0; 2], seed: 0, step }
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Loss of each row of each micro-batch, in order.
    pub losses: Vec<f32>,
    /// Global norm of the gradients before clipping.
    pub norm: f64,
    /// Sum of the absolute values of the gradients before clipping.
    pub norm_l1: f64,
    /// False where the norm is not finite: weights and moments are as they were.
    pub applied: bool,
}

/// A tensor's part in the update: where it lies, and its group's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamParam {
    /// Place in the flat buffers.
    pub place: Matrix,
    /// Multiplies the learning rate; 0: frozen.
    pub lr_mult: f64,
    /// Decoupled decay, times the learning rate.
    pub weight_decay: f64,
    /// Which of [`Update::decay_scale`] is on the decay.
    pub decay_follows_rate: bool,
}

impl AdamParam {
    /// A frozen tensor keeps its weights and moments, and its gradient is no part of the global norm, as where
    /// PyTorch's `requires_grad` is false.
    pub fn is_frozen(&self) -> bool {
        self.lr_mult == 0.0
    }

    /// The decay at a step.
    pub fn decay(&self, scale: [f64; 2]) -> f64 {
        self.weight_decay * scale[usize::from(self.decay_follows_rate)]
    }
}

/// What one update needs beside the flat buffers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate before group multipliers.
    pub lr: f64,
    /// Factors on the decay of tensors, and of those whose decay follows the rate.
    pub decay_scale: [f64; 2],
    /// β₁ and β₂, the decays of the two moments.
    pub betas: [f64; 2],
    /// ε, added after the square root.
    pub eps: f64,
    /// Factor on every gradient (clipping).
    pub grad_scale: f64,
    /// Number of this update, from 1: the exponent of the bias corrections.
    pub applied: u64,
}
