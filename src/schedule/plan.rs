//! What can follow a warmup.
use super::{Length, Named, PhaseConfig, Rate, Shape, WarmupShape};
use serde::{Deserialize, Serialize};
use toml::Table;

/// What follows the warmup.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// One shape from `lr` to `min_lr` at the end of the run.
    Shape(Shape),
    /// Several, put together for a purpose.
    Preset(Preset),
    /// A list of phases.
    Phases(Vec<PhaseConfig>),
    /// Another framework's schedule ([`super::compat`]) and its arguments.
    Style(String, Table),
}

/// The named schedules that are more than one shape; `name = "wsd", decay = "20%"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Preset {
    /// Straight towards 0, cut off at `min_lr` (GPT-NeoX's `linear`).
    LinearClamped,
    /// Straight to 0 (Bergsma et al. 2025, arXiv:2502.15938).
    D2z,
    /// `max(min_lr, ½·lr·(1 + cos(π·(s − W)/T)))` until `s = T − W`: GPT-NeoX before August 2023 (#1008), which Pythia and
    /// Gupta et al. 2023 ran. It reaches a tenth at 80.5 % of the run where W is 1 % of it.
    CosineLegacyNeox,
    /// The second half of a cosine whose peak is `lr` (OLMo-core's `HalfCosWithWarmup`).
    HalfCosine,
    /// A cosine that ends `hold` before the run does.
    CosineConstant {
        /// Length of the hold at the end.
        #[serde(default = "fifth")]
        hold: Length,
    },
    /// Cosines of growing length that restart at the peak (Loshchilov & Hutter 2016, arXiv:1608.03983).
    Sgdr {
        /// Length of the first period.
        #[serde(default = "tenth")]
        period: Length,
        /// Each period is so many times as long as the one before.
        #[serde(default = "two")]
        period_factor: f64,
        /// Each peak is so many times the one before.
        #[serde(default = "one")]
        peak_factor: f64,
    },
    /// `lr·gamma^k` after `k` milestones (torch's `MultiStepLR`; the defaults are DeepSeek's).
    Multistep {
        /// Increasing lengths since the start of the run.
        #[serde(default = "deepseek")]
        milestones: Vec<Length>,
        /// Factor at each.
        #[serde(default = "sqrt_of_a_tenth")]
        gamma: f64,
    },
    /// The warmup is a cosine up from `lr/divisor` over 30 % of the run; then a cosine down to
    /// `lr/(divisor·final_divisor)` (Smith & Topin 2017, arXiv:1708.07120; torch's `OneCycleLR`).
    OneCycle {
        /// Of the first rate.
        #[serde(default = "twenty_five")]
        divisor: f64,
        /// Of the last rate, further.
        #[serde(default = "ten_thousand")]
        final_divisor: f64,
    },
    /// From `min_lr` up to `lr` over the run, without a warmup, to find the highest stable rate (DeepSpeed's
    /// `LRRangeTest`, OLMo-core's `ExponentialScheduler`).
    LrRangeTest {
        /// Straight up, or by equal factors.
        #[serde(default)]
        spacing: Spacing,
        /// Length of a stair; without one the rate moves at every step.
        every: Option<Length>,
    },
    /// Warmup, stable, decay: `lr`, then down to `min_lr` over the last `decay` of the run
    /// (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024, arXiv:2405.18392).
    Wsd {
        /// Length of the decay.
        #[serde(default = "tenth")]
        decay: Length,
        /// Shape of the decay.
        #[serde(default = "linear")]
        decay_shape: Named<Shape>,
    },
    /// WSD again and again, each time from `lr` (Wen et al. 2024, arXiv:2410.05192; OLMo-core's `WSDS`).
    WsdS {
        /// How often; all periods are equally long.
        #[serde(default = "four")]
        periods: u32,
        /// Length of each decay; a percentage is one of its period.
        #[serde(default = "tenth")]
        decay: Length,
        /// Shape of the decays.
        #[serde(default = "harmonic")]
        decay_shape: Named<Shape>,
    },
    /// [`Preset::Wsd`] by `1 − √r` to a third of the peak, for data sorted by quality (arXiv:2511.18903).
    ModerateDecay {
        /// Length of the decay.
        #[serde(default = "fifth")]
        decay: Length,
    },
    /// Warmup, cosine cooldown to a constant rate that further tasks continue from, annealing at the very end
    /// (Ibrahim et al. 2024, arXiv:2403.08763; Singh et al. 2025, arXiv:2503.02844).
    InfiniteCosine(Infinite),
    /// With a cooldown by [`Shape::InvSqrtTo`].
    InfiniteInvSqrt {
        /// As of `inv_sqrt_to`.
        #[serde(default = "ten")]
        steepness: f64,
        /// The rest.
        #[serde(flatten)]
        infinite: Infinite,
    },
    /// With a linear cooldown.
    InfiniteLinear(Infinite),
    /// [`Shape::InvSqrt`], then a linear cooldown to `min_lr` at the end (llm-foundry, Levanter).
    InvSqrtCooldown {
        /// As of `inv_sqrt`.
        timescale: Option<Length>,
        /// Length of the cooldown.
        #[serde(default = "tenth")]
        decay: Length,
    },
    /// [`Shape::InvPower`], then linear to `min_lr` over the last `decay` of the run (OLMo-core's `power_lr`).
    Power {
        /// As of `inv_power`.
        timescale: Option<Length>,
        /// As of `inv_power`.
        #[serde(default = "power_law")]
        exponent: f64,
        /// Length of the linear decay at the end.
        #[serde(default = "tenth")]
        decay: Length,
    },
    /// `min(lr, scale·tokens^(−exponent))`, the warmup up to its value, then linear to `min_lr` over the last `decay`
    /// (Shen et al. 2024, arXiv:2408.13359; lm-engine's `power`).
    PowerTokens {
        /// Rate at one token.
        scale: f64,
        /// How fast it falls.
        #[serde(default = "power_law")]
        exponent: f64,
        /// Length of the linear decay at the end.
        #[serde(default = "tenth")]
        decay: Length,
    },
    /// `lr` times a factor that falls when the loss has stopped falling (torch's `ReduceLROnPlateau`, optax's
    /// `reduce_on_plateau`); checkpoints carry its state.
    Plateau(super::Plateau),
    /// `lr` times a factor that rises while the loss falls and falls when it does not (arXiv:2512.14527; Hugging
    /// Face's `greedy`); checkpoints carry its state.
    Greedy(super::Greedy),
}

/// The arguments that all infinite schedules have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Infinite {
    /// The constant rate; by default 1.65e-4 of 3e-4, as in Ibrahim et al. 2024.
    pub constant_lr: Rate,
    /// Length of the cooldown.
    pub cooldown: Length,
    /// Length of the annealing at the end; 0 leaves the run open.
    pub anneal: Length,
    /// Shape of the annealing.
    pub anneal_shape: Named<Shape>,
}

impl Default for Infinite {
    fn default() -> Self {
        Self {
            constant_lr: Rate::OfPeak(55.0),
            cooldown: Length::Percent(60.0),
            anneal: Length::Percent(10.0),
            anneal_shape: Named(Shape::ExpTo),
        }
    }
}

/// How the rates of a range test are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Equal differences.
    #[default]
    Linear,
    /// Equal factors.
    Log,
}

impl Plan {
    /// The default of `min_lr`: a tenth of the peak, as Pythia's, where a schedule goes to it.
    pub(super) fn min_lr(&self, lr: f64) -> f64 {
        match self {
            Self::Phases(_) | Self::Style(..) | Self::Shape(Shape::Constant | Shape::Table { .. }) => 0.0,
            Self::Shape(shape) if shape.approaches() => 0.0,
            Self::Preset(Preset::D2z | Preset::Multistep { .. } | Preset::OneCycle { .. }) => 0.0,
            Self::Preset(Preset::ModerateDecay { .. }) => lr / 3.0,
            Self::Preset(Preset::LrRangeTest { .. }) => lr / 1000.0,
            Self::Shape(_) | Self::Preset(_) => lr / 10.0,
        }
    }

    /// The default warmup: 1 % of the run from 0, as Pythia's, where a schedule has no rise of its own.
    pub(super) fn warmup(&self) -> (Length, Rate, WarmupShape) {
        match self {
            Self::Shape(Shape::Cyclic { .. }) | Self::Preset(Preset::LrRangeTest { .. }) => {
                (Length::Steps(0), Rate::Value(0.0), WarmupShape::Linear)
            }
            Self::Preset(Preset::OneCycle { divisor, .. }) => {
                (Length::Percent(30.0), Rate::OfPeak(100.0 / divisor), WarmupShape::Cosine)
            }
            _ => (Length::Percent(1.0), Rate::Value(0.0), WarmupShape::Linear),
        }
    }
}

// Defaults of arguments.
fn one() -> f64 {
    1.0
}
fn two() -> f64 {
    2.0
}
fn four() -> u32 {
    4
}
fn ten() -> f64 {
    10.0
}
fn twenty_five() -> f64 {
    25.0
}
fn ten_thousand() -> f64 {
    1e4
}
/// OLMo-core's and lm-engine's.
fn power_law() -> f64 {
    0.51
}
fn tenth() -> Length {
    Length::Percent(10.0)
}
fn fifth() -> Length {
    Length::Percent(20.0)
}
fn deepseek() -> Vec<Length> {
    vec![Length::Percent(80.0), Length::Percent(90.0)]
}
fn sqrt_of_a_tenth() -> f64 {
    0.316
}
fn linear() -> Named<Shape> {
    Named(Shape::Linear)
}
fn harmonic() -> Named<Shape> {
    Named(Shape::Harmonic)
}
