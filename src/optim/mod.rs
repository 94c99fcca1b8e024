//! What the optimizer does beside its kernel: parameter groups and clipping.
mod groups;

pub use groups::{GroupRule, assign, decay_by_depth};
use serde::{Deserialize, Serialize};

/// AdamW without its learning rate, which `schedule/` owns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamSettings {
    /// β₁, β₂.
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
