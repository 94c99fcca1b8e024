//! Schedules that look at the loss: a factor on the rate, moved by rules, with a small state that checkpoints carry.
use serde::{Deserialize, Serialize};

/// The arguments of `plateau`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plateau {
    /// On the rate, each time the loss has stopped falling.
    pub factor: f64,
    /// So many observations in a row without an improvement are borne.
    pub patience: u32,
    /// After a reduction so many observations do not count.
    pub pause: u32,
    /// An improvement is a loss below `best·(1 − threshold)`.
    pub threshold: f64,
    /// An observation is the mean training loss of so many updates.
    pub window: u32,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 10, pause: 0, threshold: 1e-4, window: 100 }
    }
}

/// The arguments of `greedy`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Greedy {
    /// On the rate when the loss does not fall; its inverse while it does.
    pub factor: f64,
    /// So many updates in a row of the same kind are waited for.
    pub patience: u32,
    /// After a reduction so many updates do not count.
    pub pause: u32,
    /// After an increase so many updates do not count.
    pub pause_up: u32,
    /// An improvement is a loss below `best − threshold`.
    pub threshold: f64,
    /// The loss is the mean of so many updates.
    pub window: u32,
    /// The highest factor.
    pub ceiling: f64,
    /// After so many reductions at the lowest rate everything begins again.
    pub reset_after: u32,
}

impl Default for Greedy {
    fn default() -> Self {
        Self {
            factor: 0.95,
            patience: 10,
            pause: 0,
            pause_up: 0,
            threshold: 1e-6,
            window: 50,
            ceiling: 1.0,
            reset_after: 500,
        }
    }
}
