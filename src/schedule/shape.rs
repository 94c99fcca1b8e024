//! The shapes a rate can follow, as weights between the start and the end of a phase.
use serde::{Deserialize, Serialize};

/// How a phase goes from its first rate to its last.
///
/// Formulas: `reference/schedules.md` §2.3; `r` is the progress through the phase in `0..=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Holds the first rate.
    Constant,
    /// `1 − r` (Megatron-LM, OLMo, Hugging Face): straight to the last rate.
    Linear,
    /// `½(1 + cos πr)` (Megatron-LM, GPT-NeoX since September 2023; Loshchilov & Hutter 2016, arXiv:1608.03983).
    Cosine,
    /// `1 − √r` (Hägele et al. 2024, arXiv:2405.18392; Megatron-LM's `minus_sqrt`).
    OneMinusSqrt,
}

impl Shape {
    /// The weight of the first rate at progress `r` in `0..=1`; the last rate weighs `1 − at(r)`.
    pub fn at(self, r: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - r,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * r).cos()),
            Self::OneMinusSqrt => 1.0 - r.sqrt(),
        }
    }

    /// The rate at progress `r` of a phase from `from` to `to`, never outside of the two.
    pub fn rate(self, r: f64, from: f64, to: f64) -> f64 {
        let weight = self.at(r);
        if weight == 1.0 {
            return from; // `to + (from - to)` may miss `from` by a rounding.
        }
        (to + (from - to) * weight).clamp(from.min(to), from.max(to))
    }
}

/// Which update of a warmup of `W` steps gets which share of the way; `s` counts steps from 0.
///
/// `reference/schedules.md` §2.5 lists who uses which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmupConvention {
    /// `s/W`: the first update has the start rate (0 by default) and update `W` the peak.
    /// Megatron-LM, Hugging Face, classic GPT-NeoX (Pythia).
    #[default]
    ZeroBased,
    /// `(s+1)/W`: no update is lost on a rate of 0, update `W−1` already has the peak. torchtitan, llm.c.
    OneBased,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 4] = [Shape::Constant, Shape::Linear, Shape::Cosine, Shape::OneMinusSqrt];

    #[test]
    fn shapes_start_at_the_first_rate_and_end_at_the_last() {
        for shape in ALL {
            assert_eq!(shape.rate(0.0, 3e-4, 1e-5), 3e-4, "{shape:?}");
            let end = if shape == Shape::Constant { 3e-4 } else { 1e-5 };
            assert_eq!(shape.rate(1.0, 3e-4, 1e-5), end, "{shape:?}");
        }
    }

    #[test]
    fn shapes_fall_monotonically() {
        for shape in ALL {
            for i in 0..1000 {
                assert!(shape.at(i as f64 / 1000.0) >= shape.at((i + 1) as f64 / 1000.0), "{shape:?} at {i}");
            }
        }
    }
}
