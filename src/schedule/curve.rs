//! The formulas a rate can follow, in steps: what every shape, warmup and framework's schedule is made of.
use std::f64::consts::{PI, TAU};

/// How the rate goes from `from` to `to`; `n` is the number of steps since the start (not always whole),
/// `r = n / length` the progress. Formulas without `r` never end: they approach `to`, and the phase cuts them off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    /// `from` all along.
    Constant,
    /// `from + (to − from)·r`: what warmups use.
    Ramp,
    /// `to + (from − to)·(1 − r)`: what decays use; the same line with other roundings.
    Linear,
    /// `to + (from − to)·(1 − r)^power`.
    Poly {
        /// The exponent; 1 is linear.
        power: f64,
    },
    /// `from + (to − from)·r^power`.
    Rise {
        /// The exponent; 1 is linear.
        power: f64,
    },
    /// `to + (from − to)·½(1 + cos(2π·cycles·r^theta))`.
    Cosine {
        /// 1: the plain cosine.
        theta: f64,
        /// Number of whole waves; ½ goes down once.
        cycles: f64,
    },
    /// `to + (from − to)·(½(1 + cos πr))^power`.
    CosinePower {
        /// 1: the plain cosine.
        power: f64,
    },
    /// `to + (from − to)·½(1 + cos(π·(cycles·r mod 1)))`, and `to` from `r = 1` on.
    CosineRestarts {
        /// How often it goes down.
        cycles: f64,
    },
    /// `to + (from − to)·(2·(1 − r) − ½(1 + cos πr))`.
    MirrorCosine,
    /// `to + (from − to)·(1 − √r)`.
    OneMinusSqrt,
    /// `1 / (r/to + (1 − r)/from)`; both must be positive.
    Harmonic,
    /// `from·(to/from)^r`; both must be positive.
    Geometric,
    /// `to + (from − to)·e^(−rate·n)`.
    Exp {
        /// The exponent of one step.
        rate: f64,
    },
    /// `to + (from − to)·(e^(−rate·r) − e^(−rate)) / (1 − e^(−rate))`: an exponential that arrives.
    ExpTo {
        /// Over the whole length.
        rate: f64,
    },
    /// `to + (from − to)·(1 + n/timescale)^(−exponent)`.
    InvPower {
        /// Steps after which the base is 2.
        timescale: f64,
        /// ½: the inverse square root.
        exponent: f64,
    },
    /// `from + (to − from)·f(r)/f(1)` with `f(r) = 1/√(1 + steepness·r) − 1`: an inverse square root that arrives.
    InvSqrtTo {
        /// Over the whole length.
        steepness: f64,
    },
    /// `from + (to − from)·ln(n + 1)/ln(length)`.
    Log,
    /// Up to `to` and back to `from`, again and again, each cycle `c = 0, 1, …` lower than the one before.
    Cyclic {
        /// Steps of the rise.
        up: f64,
        /// Steps of the fall.
        down: f64,
        /// The height of cycle `c` is `per_cycle^c`.
        per_cycle: f64,
        /// The height after `n` steps is `per_step^n`.
        per_step: f64,
    },
}

impl Curve {
    /// The rate after `n` of `length` steps. Between `from` and `to` for every `n` of at least 0.
    pub fn rate(self, n: f64, length: f64, from: f64, to: f64) -> f64 {
        let n = n.max(0.0);
        let r = (n / length).clamp(0.0, 1.0);
        // Both ends are met exactly: the rounding of a difference may miss them.
        let down = |share: f64| if share == 1.0 { from } else { to + (from - to) * share };
        let up = |share: f64| if share == 1.0 { to } else { from + (to - from) * share };
        let rate = match self {
            Self::Constant => from,
            Self::Ramp => up(r),
            Self::Linear => down(1.0 - r),
            Self::Poly { power } => down((1.0 - r).powf(power)),
            Self::Rise { power } => up(r.powf(power)),
            Self::Cosine { theta, cycles } => {
                let r = if theta == 1.0 { r } else { r.powf(theta) };
                down(0.5 * (1.0 + (TAU * cycles * r).cos()))
            }
            Self::CosinePower { power } => down((0.5 * (1.0 + (PI * r).cos())).powf(power)),
            Self::CosineRestarts { .. } if r >= 1.0 => to,
            Self::CosineRestarts { cycles } => down(0.5 * (1.0 + (PI * ((cycles * r) % 1.0)).cos())),
            Self::MirrorCosine => down(2.0 * (1.0 - r) - 0.5 * (1.0 + (PI * r).cos())),
            Self::OneMinusSqrt => down(1.0 - r.sqrt()),
            Self::Harmonic => 1.0 / (r / to + (1.0 - r) / from),
            Self::Geometric => from * (to / from).powf(r),
            Self::Exp { rate } => down((-rate * n).exp()),
            Self::ExpTo { rate } => down(((-rate * r).exp() - (-rate).exp()) / (1.0 - (-rate).exp())),
            Self::InvPower { timescale, exponent: 0.5 } => down(1.0 / (1.0 + n / timescale).sqrt()),
            Self::InvPower { timescale, exponent } => down((1.0 + n / timescale).powf(-exponent)),
            Self::InvSqrtTo { steepness } => {
                let fall = |r: f64| 1.0 / (1.0 + steepness * r).sqrt() - 1.0;
                up(fall(r) / fall(1.0))
            }
            Self::Log => up(if length < 2.0 { 1.0 } else { (n + 1.0).ln() / length.ln() }),
            Self::Cyclic { up: rise, down: fall, per_cycle, per_step } => {
                let cycle = (n / (rise + fall)).floor();
                let within = n - cycle * (rise + fall);
                let height = if within <= rise { within / rise } else { (rise + fall - within) / fall };
                let power = |base: f64, n: f64| if base == 1.0 { 1.0 } else { base.powf(n) };
                up(height.clamp(0.0, 1.0) * power(per_cycle, cycle) * power(per_step, n))
            }
        };
        rate.clamp(from.min(to), from.max(to))
    }

    /// Whether it is a decay by its nature, and a rise by it a mistake.
    pub(super) fn only_falls(self) -> bool {
        matches!(
            self,
            Self::CosineRestarts { .. }
                | Self::MirrorCosine
                | Self::OneMinusSqrt
                | Self::Harmonic
                | Self::Exp { .. }
                | Self::ExpTo { .. }
                | Self::InvPower { .. }
                | Self::InvSqrtTo { .. }
        )
    }
}
