//! The shapes that a configuration can name, with their arguments. Formulas: [`super::Curve`].
use super::{Length, Rate};
use serde::{Deserialize, Serialize};

/// How a phase goes from its first rate to its last; written `shape = "poly", power = 2`.
///
/// Each is also the name of a whole schedule: a warmup, then this shape down to `min_lr` until the end of the run.
/// `r` is the progress through the phase in `0..=1`, `n` the number of steps since its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Shape {
    /// Holds the first rate.
    Constant,
    /// `1 − r` (Megatron-LM, OLMo, Hugging Face): straight to the last rate.
    Linear,
    /// `(1 − r)^power` (Hugging Face, metaseq, optax, torch, composer).
    Poly {
        /// 1: linear.
        #[serde(default = "two")]
        power: f64,
    },
    /// `½(1 + cos(2π·cycles·r^theta))` (Loshchilov & Hutter 2016, arXiv:1608.03983; theta: lingua; cycles: Hugging Face).
    Cosine {
        /// Bends the progress.
        #[serde(default = "one")]
        theta: f64,
        /// ½: down once.
        #[serde(default = "half")]
        cycles: f64,
    },
    /// `½(1 + cos(π·(cycles·r mod 1)))` (Hugging Face's `cosine_with_restarts`).
    CosineRestarts {
        /// How often it goes down.
        #[serde(default = "three")]
        cycles: f64,
    },
    /// `2(1 − r) − ½(1 + cos πr)` (epfml).
    MirrorCosine,
    /// `1 − √r` (Hägele et al. 2024, arXiv:2405.18392; Megatron-LM's `minus_sqrt`).
    OneMinusSqrt,
    /// `1 − r²` (epfml).
    Square,
    /// `1/(r/to + (1 − r)/from)` (WSD-S, arXiv:2410.05192; forgather's `rsqrt` annealing).
    Harmonic,
    /// `e^(−rate·r)` towards `to`, which is 0 unless given (GPT-NeoX's `exponential`).
    Exp {
        /// Over the phase; 0.693 halves the rate.
        #[serde(default = "halving")]
        rate: f64,
    },
    /// `from·(to/from)^r` (infinite schedules' annealing, arXiv:2503.02844).
    ExpTo,
    /// `½^(n/half_life)` towards `to`, which is 0 unless given (MiniCPM, arXiv:2404.06395).
    ExpHalflife {
        /// Halves the rate.
        half_life: Length,
    },
    /// `gamma^n` towards `to`, which is 0 unless given; with `every`, `gamma^⌊n/every⌋` (torch's `ExponentialLR`,
    /// `StepLR`).
    ExpGamma {
        /// Factor per step, or per `every`.
        gamma: f64,
        /// Length of a stair.
        every: Option<Length>,
    },
    /// `(e^(−rate·r) − e^(−rate)) / (1 − e^(−rate))` (lm-engine's `exponential`).
    ExpAffine {
        /// Over the phase.
        #[serde(default = "one")]
        rate: f64,
    },
    /// `2·½^r − 1` (Megatron-LM's `exponential` WSD decay).
    Exp2,
    /// `1/√(1 + n/timescale)` towards `to`, which is 0 unless given: `√(W/s)` of Megatron-LM and Hugging Face where
    /// the timescale is the warmup's length W, as it is unless given.
    InvSqrt {
        /// Steps after which the rate is `1/√2`.
        timescale: Option<Length>,
    },
    /// `f(r)/f(1)` of the way, `f(r) = 1/√(1 + steepness·r) − 1` (GPT-NeoX's `infinite_inv_sqrt` cooldown).
    InvSqrtTo {
        /// The rate has fallen by `1/√2` after `1/steepness` of the phase, were it to fall to 0.
        #[serde(default = "ten")]
        steepness: f64,
    },
    /// `(1 + n/timescale)^(−exponent)` towards `to`, which is 0 unless given (OLMo-core's `power_lr`, lingua).
    InvPower {
        /// As of `inv_sqrt`.
        timescale: Option<Length>,
        /// ½: the inverse square root.
        #[serde(default = "power_law")]
        exponent: f64,
    },
    /// Up from `from` to `to` and back, again and again (torch's `CyclicLR`).
    Cyclic {
        /// Length of the way up.
        rise: Length,
        /// Length of the way down; by default as `rise`.
        fall: Option<Length>,
        /// Each cycle is this much lower than the one before; ½: `triangular2`.
        #[serde(default = "one")]
        per_cycle: f64,
        /// Factor of the height per step: `exp_range`.
        #[serde(default = "one")]
        per_step: f64,
    },
    /// Through given points; before the first and after the last the rate is held.
    Table {
        /// Lengths since the start of the phase, increasing.
        x: Vec<Length>,
        /// The rates there.
        y: Vec<Rate>,
        /// What is between them.
        #[serde(default)]
        interpolation: Interpolation,
    },
}

impl Shape {
    /// Whether it comes nearer to `to` without ever being there: `to` is 0 unless given, and `min_lr` cuts it off.
    pub(super) fn approaches(&self) -> bool {
        matches!(
            self,
            Self::Exp { .. }
                | Self::ExpHalflife { .. }
                | Self::ExpGamma { .. }
                | Self::InvSqrt { .. }
                | Self::InvPower { .. }
        )
    }

    /// Whether a part of it can be followed: whether it is a function of the progress alone.
    pub(super) fn has_parts(&self) -> bool {
        !self.approaches() && !matches!(self, Self::Constant | Self::Cyclic { .. } | Self::Table { .. })
    }
}

/// What is between the points of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Straight lines (optax's `piecewise_interpolate_schedule`).
    #[default]
    Linear,
    /// The rate of the last point (optax's `piecewise_constant_schedule`).
    Hold,
}

// Defaults of arguments.
fn half() -> f64 {
    0.5
}
fn one() -> f64 {
    1.0
}
fn two() -> f64 {
    2.0
}
fn three() -> f64 {
    3.0
}
fn ten() -> f64 {
    10.0
}
/// GPT-NeoX's digits of ln 2.
fn halving() -> f64 {
    0.693
}
/// OLMo-core's and lm-engine's.
fn power_law() -> f64 {
    0.51
}
