//! How steps are counted.
use serde::{Deserialize, Serialize};
use strum::VariantNames;

/// Which update of a warmup of `W` steps gets which share of the way; `s` counts steps from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum WarmupConvention {
    /// `s/W`: the first update has the start rate (0 by default) and update `W` the peak.
    /// Megatron-LM, Hugging Face, classic GPT-NeoX (Pythia).
    #[default]
    ZeroBased,
    /// `(s+1)/W`: no update is lost on a rate of 0, update `W−1` already has the peak. torchtitan, llm.c.
    OneBased,
    /// `max(1, s)/W`: updates 0 and 1 have the same rate. GPT-NeoX since May 2026 (#1379).
    FloorOne,
    /// `s/(W−1)`: the first update has the start rate, update `W−1` the peak. Hugging Face's `warmup_lr_rate`.
    Inclusive,
}

/// What the schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Counter {
    /// Steps, whether their update was made or not.
    #[default]
    Attempted,
    /// Updates that were made: a skipped step repeats its rate, as in DeepSpeed's and NeoX's fp16 training.
    Applied,
}

impl Counter {
    /// What is counted behind so many attempted steps, or samples of them, of which `skipped` updated nothing.
    pub fn count(self, attempted: u64, skipped: u64) -> u64 {
        match self {
            Self::Attempted => attempted,
            Self::Applied => attempted - skipped,
        }
    }
}
