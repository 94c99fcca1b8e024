//! The ways up to the peak.
use super::Length;
use serde::{Deserialize, Serialize};

/// How the warmup goes from its first rate to the peak; `p` is the progress in `0..=1`, `s` the step, `W` the length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum WarmupShape {
    /// `p`.
    #[default]
    Linear,
    /// `½(1 − cos πp)` (Hugging Face's `warmup_type = "cosine"`).
    Cosine,
    /// `1 − √(1 − p)` (Hugging Face's `warmup_type = "1-sqrt"`).
    OneMinusSqrt,
    /// `1 − (1 − p)²` (IBM's fms-fsdp).
    Quadratic,
    /// `p^power`.
    Poly {
        /// 1: linear.
        power: f64,
    },
    /// `ln(s + 1)/ln W` (DeepSpeed's `WarmupLR`).
    Log,
    /// `from·(peak/from)^p`; `warmup_from` must be positive.
    Exp,
    /// `1 − e^(−s/timescale)`, then the peak.
    Saturating {
        /// Steps after which 37 % of the way are left.
        timescale: Length,
    },
    /// `warmup_from` all along, then the peak (nanotron).
    Constant,
}

/// Which update of a warmup of `W` steps gets which share of the way; `s` counts steps from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
