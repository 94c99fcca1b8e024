//! What presets are made of. The stretch of a preset is all that the warmup leaves of the run, down to `min_lr`.
use super::arguments::Argument;
use super::entry::{NAME_OR_TABLE, Named};
use super::shapes::{decay, timescale};
use crate::schedule::kind::Kind;
use crate::schedule::leg::{Leg, Stretch, round};
use crate::schedule::{Better, Curve, Feedback, GreedyRule, Length, PlateauRule, Rate};
use crate::{Error, Result};

/// More periods than anybody means.
const PERIODS_MAX: usize = 1_000_000;

pub(super) const PLAIN_COSINE: Curve = Curve::Cosine { theta: 1.0, cycles: 0.5 };

/// A shape that decays.
const DECAY: Kind = Kind::Read(|value, at| decay(value, at).map(|shape| shape.to_value()), NAME_OR_TABLE);
pub(super) const ANNEAL_SHAPE: Argument = Argument::new("anneal_shape", DECAY);
pub(super) const DECAY_SHAPE: Argument = Argument::new("decay_shape", DECAY);

type Legs = Result<Vec<Leg>>;

impl Stretch<'_> {
    /// Its last `length` steps by the shape that the argument names.
    fn decay(&self, length: f64, args: &Named, argument: &str) -> Legs {
        decay(&args.get(argument)?, &args.key(argument))?.down(&Self { length, ..*self })
    }

    /// A line over its last `length` steps.
    fn line(&self, length: f64) -> Leg {
        Self { length, ..*self }.leg(Curve::Linear)
    }
}

pub(super) fn straight_to_0(_: &Named, s: &Stretch) -> Legs {
    Stretch { to: 0.0, ..*s }.along(Curve::Linear)
}

pub(super) fn d2z(args: &Named, s: &Stretch) -> Legs {
    if s.min_lr > 0.0 {
        return Err(Error::refused(format!(
            "schedule.min_lr is {} and schedule.name is \"d2z\", which decays to zero; remove min_lr, or take \"linear\"",
            s.min_lr
        )));
    }
    straight_to_0(args, s)
}

pub(super) fn cosine_legacy_neox(_: &Named, s: &Stretch) -> Legs {
    let cosine = Stretch { length: (s.length - s.before).max(0.0), to: 0.0, ..*s }.leg(PLAIN_COSINE);
    Ok(vec![Leg { of: Some((0.0, s.total())), ..cosine }])
}

pub(super) fn half_cosine(_: &Named, s: &Stretch) -> Legs {
    Ok(vec![Leg { from: Some(s.lr), of: Some((s.length, 2.0 * s.length)), ..s.leg(PLAIN_COSINE) }])
}

pub(super) fn cosine_constant(args: &Named, s: &Stretch) -> Legs {
    let length = s.leave(s.steps(args.get("hold")?), "schedule.hold")?;
    Stretch { length, ..*s }.along(PLAIN_COSINE)
}

pub(super) fn one_cycle(args: &Named, s: &Stretch) -> Legs {
    let (divisor, final_divisor): (f64, f64) = (args.get("divisor")?, args.get("final_divisor")?);
    Stretch { to: (s.lr / divisor / final_divisor).max(s.min_lr), ..*s }.along(PLAIN_COSINE)
}

pub(super) fn lr_range_test(args: &Named, s: &Stretch) -> Legs {
    let straight = args.get::<String>("spacing")? == "linear";
    let curve = if straight { Curve::Ramp } else { Curve::Geometric };
    let stairs = args.find("every")?.map_or(0.0, |every| s.steps(every));
    Ok(vec![Leg { stairs, ..Stretch { to: s.lr, key: "schedule.lr", ..*s }.leg(curve) }])
}

pub(super) fn wsd(args: &Named, s: &Stretch) -> Legs {
    let decay = s.steps(args.get("decay")?);
    let mut legs = vec![Leg::hold(s.leave(decay, "schedule.decay")?, None)];
    legs.extend(s.decay(decay, args, "decay_shape")?);
    Ok(legs)
}

pub(super) fn moderate_decay(args: &Named, s: &Stretch) -> Legs {
    let length = s.steps(args.get("decay")?);
    let hold = Leg::hold(s.leave(length, "schedule.decay")?, None);
    Ok(vec![hold, Stretch { length, ..*s }.leg(Curve::OneMinusSqrt)])
}

pub(super) fn wsd_s(args: &Named, s: &Stretch) -> Legs {
    let periods: u32 = args.get("periods")?;
    let period = s.length / f64::from(periods);
    let decay = match args.get("decay")? {
        Length::Percent(percent) => percent * period / 100.0,
        other => s.steps(other),
    };
    if decay > period {
        return Err(Error::refused(format!(
            "schedule.decay takes {} steps, and a period has {}; shorten it, or lower schedule.periods",
            round(decay),
            round(period)
        )));
    }
    let mut legs = vec![Leg::hold(period - decay, Some(s.lr))];
    legs.extend(s.decay(decay, args, "decay_shape")?);
    Ok(std::iter::repeat_n(legs, periods as usize).flatten().collect())
}

/// Period `i` has `period·period_factor^i` steps and the peak `lr·peak_factor^i`; the last one is cut off by the end.
pub(super) fn sgdr(args: &Named, s: &Stretch) -> Legs {
    let mut period = s.steps(args.get("period")?);
    let (longer, lower): (f64, f64) = (args.get("period_factor")?, args.get("peak_factor")?);
    if period < 1.0 {
        return Err(Error::refused(format!("schedule.period is {period} of a step; give at least one step")));
    }
    let (mut left, mut peak, mut legs) = (s.length, s.lr, Vec::new());
    while left > 0.0 {
        if legs.len() == PERIODS_MAX {
            return Err(Error::refused(format!(
                "schedule.period makes more than {PERIODS_MAX} periods; make it longer"
            )));
        }
        let to = s.min_lr.min(peak);
        let cosine = Stretch { length: period.min(left), from: Some(peak), to, ..*s }.leg(PLAIN_COSINE);
        legs.push(Leg { of: (period > left).then_some((0.0, period)), ..cosine });
        left -= period;
        period *= longer;
        peak *= lower;
    }
    Ok(legs)
}

/// Milestones are counted from the start of the run.
pub(super) fn multistep(args: &Named, s: &Stretch) -> Legs {
    let gamma: f64 = args.get("gamma")?;
    let (mut legs, mut at, mut rate) = (Vec::new(), s.before, s.lr);
    for (i, milestone) in args.get::<Vec<Length>>("milestones")?.into_iter().enumerate() {
        let next = s.steps(milestone);
        if next < at || next > s.total() {
            return Err(Error::refused(format!(
                "schedule.milestones[{i}] is {milestone} (step {next}); milestones must increase between the end of the warmup (step {}) and the end of the run (step {})",
                s.before, s.run.steps
            )));
        }
        legs.push(Leg::hold(next - at, Some(rate)));
        (at, rate) = (next, rate * gamma);
    }
    legs.push(Leg::hold(s.total() - at, Some(rate)));
    Ok(legs)
}

/// `cooldown_by` to the constant rate, which is held until the annealing.
pub(super) fn infinite(args: &Named, s: &Stretch, cooldown_by: Curve) -> Legs {
    let (cooldown, anneal) = (s.steps(args.get("cooldown")?), s.steps(args.get("anneal")?));
    let hold = s.leave(cooldown + anneal, "schedule.cooldown and schedule.anneal together")?;
    let constant = args.get::<Rate>("constant_lr")?.value(0.0, s.lr);
    if !(s.min_lr..=s.lr).contains(&constant) {
        return Err(Error::refused(format!(
            "schedule.constant_lr is {constant}; it must lie between schedule.min_lr = {} and schedule.lr = {}",
            s.min_lr, s.lr
        )));
    }
    let mut legs =
        Stretch { length: cooldown, to: constant, key: "schedule.constant_lr", ..*s }.along(cooldown_by)?;
    legs.push(Leg::hold(hold, Some(constant)));
    if anneal > 0.0 {
        legs.extend(s.decay(anneal, args, "anneal_shape")?);
    }
    Ok(legs)
}

/// An inverse power, then a line to `min_lr` from wherever it is.
pub(super) fn inv_power_then_linear(args: &Named, s: &Stretch, exponent: f64) -> Legs {
    let decay = s.steps(args.get("decay")?);
    let fall = Stretch { length: s.leave(decay, "schedule.decay")?, to: 0.0, ..*s };
    let timescale = timescale(args, s)?;
    Ok(vec![fall.leg(Curve::InvPower { timescale, exponent }), s.line(decay)])
}

pub(super) fn top_of_power_tokens(args: &Named, s: &Stretch) -> Result<f64> {
    let (scale, exponent): (f64, f64) = (args.get("scale")?, args.get("exponent")?);
    let tokens = round(s.before).max(1) as f64 * s.run.tokens_per_step as f64;
    Ok((scale * tokens.powf(-exponent)).min(s.lr))
}

/// `min(lr, scale·tokens^(−exponent))` is `lr` up to the token at which the two are equal; from there it is an
/// inverse power whose timescale is the number of steps until then.
pub(super) fn power_tokens(args: &Named, s: &Stretch) -> Legs {
    let (scale, exponent): (f64, f64) = (args.get("scale")?, args.get("exponent")?);
    let decay = s.steps(args.get("decay")?);
    let first = s.leave(decay, "schedule.decay")?;
    let before = round(s.before) as f64;
    let meet = (scale / s.lr).powf(1.0 / exponent) / s.run.tokens_per_step as f64;
    let hold = (meet.ceil() - before).clamp(0.0, first.floor());
    let fall = Stretch { length: first - hold, from: Some(s.lr), to: 0.0, key: "schedule.scale", ..*s }
        .leg(Curve::InvPower { timescale: meet, exponent });
    Ok(vec![
        Leg::hold(hold, Some(s.lr)),
        Leg { of: Some((before + hold - meet, first)), ..fall },
        s.line(decay),
    ])
}

pub(super) fn plateau(args: &Named, s: &Stretch) -> Result<Option<Feedback>> {
    Ok(Some(Feedback::Plateau(PlateauRule {
        factor: args.get("factor")?,
        patience: args.get("patience")?,
        cooldown: args.get("pause")?,
        better: Better { relative: args.get("threshold")?, ..Better::default() },
        window: args.get("window")?,
        lowest: s.min_lr / s.lr,
        floor: s.min_lr,
        eps: args.get::<f64>("eps")? / s.lr,
    })))
}

pub(super) fn greedy(args: &Named, s: &Stretch) -> Result<Option<Feedback>> {
    Ok(Some(Feedback::Greedy(GreedyRule {
        factor: args.get("factor")?,
        patience: args.get("patience")?,
        cooldown: args.get("pause")?,
        warmup: args.get("pause_up")?,
        better: Better { absolute: args.get("threshold")?, ..Better::default() },
        window: args.get("window")?,
        lowest: s.min_lr / s.lr,
        floor: s.min_lr,
        highest: args.get("ceiling")?,
        eps: args.get::<f64>("eps")? / s.lr,
        reset_after: args.get("reset_after")?,
    })))
}
