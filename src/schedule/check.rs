//! The ranges of arguments.
use super::{Greedy, Infinite, Length, Named, Plan, Plateau, Preset, Rate, Shape, WarmupShape};
use crate::{Error, Result};

/// Refuses what is outside of `range`, told in `rule`. `at` is where the argument is written.
fn within(at: &str, key: &str, value: f64, fits: bool, rule: &str) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::refused(format!("{at}.{key} is {value}; it must be {rule}"))) }
}

fn positive(at: &str, key: &str, value: f64) -> Result<()> {
    within(at, key, value, value.is_finite() && value > 0.0, "positive and finite")
}

/// A factor that does not raise what it is multiplied with.
fn factor(at: &str, key: &str, value: f64) -> Result<()> {
    within(at, key, value, value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

fn some_length(at: &str, key: &str, length: Option<Length>) -> Result<()> {
    match length {
        Some(Length::Steps(0) | Length::Tokens(0) | Length::Samples(0) | Length::Percent(0.0)) => {
            Err(Error::refused(format!("{at}.{key} is 0; give a length, such as 100 or \"10%\"")))
        }
        _ => Ok(()),
    }
}

impl Shape {
    /// `at` is the path of the table that has the arguments.
    pub(super) fn check(&self, at: &str) -> Result<()> {
        match self {
            Self::Poly { power } => positive(at, "power", *power),
            Self::Cosine { theta, cycles } => {
                positive(at, "theta", *theta).and_then(|()| positive(at, "cycles", *cycles))
            }
            Self::CosineRestarts { cycles } => positive(at, "cycles", *cycles),
            Self::Exp { rate } | Self::ExpAffine { rate } => positive(at, "rate", *rate),
            Self::ExpHalflife { half_life } => some_length(at, "half_life", Some(*half_life)),
            Self::ExpGamma { gamma, every } => {
                factor(at, "gamma", *gamma).and_then(|()| some_length(at, "every", *every))
            }
            Self::InvSqrt { timescale } => some_length(at, "timescale", *timescale),
            Self::InvSqrtTo { steepness } => positive(at, "steepness", *steepness),
            Self::InvPower { timescale, exponent } => {
                positive(at, "exponent", *exponent).and_then(|()| some_length(at, "timescale", *timescale))
            }
            Self::Cyclic { rise, fall, per_cycle, per_step } => {
                some_length(at, "rise", Some(*rise))?;
                some_length(at, "fall", *fall)?;
                factor(at, "per_cycle", *per_cycle)?;
                factor(at, "per_step", *per_step)
            }
            Self::Table { x, y, .. } => check_table(at, x, y),
            _ => Ok(()),
        }
    }
}

impl WarmupShape {
    /// `at` is the path of the table that has the arguments.
    pub(super) fn check(&self, at: &str) -> Result<()> {
        match self {
            Self::Poly { power } => positive(at, "power", *power),
            Self::Saturating { timescale } => some_length(at, "timescale", Some(*timescale)),
            _ => Ok(()),
        }
    }
}

/// That x increases is seen once lengths are steps.
fn check_table(at: &str, x: &[Length], y: &[Rate]) -> Result<()> {
    if x.is_empty() || x.len() != y.len() {
        return Err(Error::refused(format!(
            "{at}.x has {} points and {at}.y has {}; give a rate to each point, and at least one",
            x.len(),
            y.len()
        )));
    }
    match y
        .iter()
        .position(|rate| !matches!(rate, Rate::Value(v) | Rate::OfPeak(v) if v.is_finite() && *v >= 0.0))
    {
        Some(i) => Err(Error::refused(format!(
            "{at}.y[{i}] is {:?}; give finite rates of at least 0, or shares of the peak such as \"10%\"",
            y[i]
        ))),
        None => Ok(()),
    }
}

/// A decay is a shape with an end or a limit.
fn check_decay(at: &str, Named(shape): &Named<Shape>) -> Result<()> {
    if matches!(shape, Shape::Table { .. } | Shape::Cyclic { .. } | Shape::Constant) {
        return Err(Error::refused(format!(
            "{at} does not decay; take \"linear\", \"one_minus_sqrt\" or \"cosine\""
        )));
    }
    shape.check(at)
}

impl Plan {
    /// The ranges of what is written in `[schedule]` itself; those of a list are checked entry by entry.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Shape(shape) => shape.check("schedule"),
            Self::Preset(preset) => preset.check(),
            Self::Phases(_) | Self::Style(..) => Ok(()),
        }
    }
}

impl Preset {
    fn check(&self) -> Result<()> {
        let at = "schedule";
        match self {
            Self::Sgdr { period, period_factor, peak_factor } => {
                some_length(at, "period", Some(*period))?;
                let grows = period_factor.is_finite() && *period_factor >= 1.0;
                within(at, "period_factor", *period_factor, grows, "finite and at least 1")?;
                factor(at, "peak_factor", *peak_factor)
            }
            Self::Multistep { gamma, .. } => factor(at, "gamma", *gamma),
            Self::OneCycle { divisor, final_divisor } => {
                [("divisor", divisor), ("final_divisor", final_divisor)].into_iter().try_for_each(
                    |(key, x)| within(at, key, *x, x.is_finite() && *x >= 1.0, "finite and at least 1"),
                )
            }
            Self::LrRangeTest { every, .. } => some_length(at, "every", *every),
            Self::Wsd { decay_shape, .. } => check_decay("schedule.decay_shape", decay_shape),
            Self::WsdS { periods, decay_shape, .. } => {
                within(at, "periods", (*periods).into(), *periods > 0, "at least 1")?;
                check_decay("schedule.decay_shape", decay_shape)
            }
            Self::InfiniteCosine(infinite) | Self::InfiniteLinear(infinite) => infinite.check(),
            Self::InfiniteInvSqrt { steepness, infinite } => {
                positive(at, "steepness", *steepness).and_then(|()| infinite.check())
            }
            Self::InvSqrtCooldown { timescale, .. } => some_length(at, "timescale", *timescale),
            Self::Power { timescale, exponent, .. } => {
                positive(at, "exponent", *exponent).and_then(|()| some_length(at, "timescale", *timescale))
            }
            Self::PowerTokens { scale, exponent, .. } => {
                positive(at, "scale", *scale).and_then(|()| positive(at, "exponent", *exponent))
            }
            Self::Plateau(Plateau { factor, threshold, window, eps, .. })
            | Self::Greedy(Greedy { factor, threshold, window, eps, .. }) => {
                within(at, "factor", *factor, *factor > 0.0 && *factor < 1.0, "above 0 and below 1")?;
                for (key, value) in [("threshold", *threshold), ("eps", *eps)] {
                    within(at, key, value, value.is_finite() && value >= 0.0, "finite and at least 0")?;
                }
                within(at, "window", (*window).into(), *window > 0, "at least 1")?;
                match self {
                    Self::Greedy(Greedy { ceiling, .. }) => within(
                        at,
                        "ceiling",
                        *ceiling,
                        ceiling.is_finite() && *ceiling >= 1.0,
                        "finite and at least 1",
                    ),
                    _ => Ok(()),
                }
            }
            Self::LinearClamped
            | Self::D2z
            | Self::CosineLegacyNeox
            | Self::HalfCosine
            | Self::CosineConstant { .. }
            | Self::ModerateDecay { .. } => Ok(()),
        }
    }
}

impl Infinite {
    fn check(&self) -> Result<()> {
        if self.constant_lr == Rate::Previous {
            return Err(Error::refused(
                "schedule.constant_lr is \"previous\"; give a number, or a share of the peak such as \"55%\"",
            ));
        }
        check_decay("schedule.anneal_shape", &self.anneal_shape)
    }
}
