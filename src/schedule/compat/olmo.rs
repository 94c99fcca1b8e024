//! OLMo-core: `src/olmo_core/optim/scheduler.py`, by registered name, with `units = "steps"`.
//!
//! Its trainer counts a step before it asks for the rate: update `i` uses step `i + 1`. Steps are OLMo-core's here.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after, at, half_cosine};
use crate::schedule::{Curve, RunSize};

/// A length given as itself, under its deprecated name, or as a share of `of`.
fn length(
    args: &Args,
    [name, deprecated, fraction]: [&'static str; 3],
    of: f64,
    default: Option<f64>,
) -> Result<f64> {
    let steps = args.count_or_none(name)?.or(args.count_or_none(deprecated)?);
    match (steps, args.share_or_none(fraction)?) {
        (Some(_), Some(_)) => Err(args.refused(name, format!("and {fraction} are both given; remove one"))),
        (Some(steps), None) => Ok(steps),
        (None, share) => match share.or(default) {
            Some(share) => Ok((of * share).round_ties_even()),
            None => {
                Err(args.refused(name, format!("and {fraction} are missing; the style requires one of them")))
            }
        },
    }
}

/// The warmup, which it divides by and must not be 0 where `least` is 1.
fn warmup(args: &Args, of: f64, least: f64) -> Result<f64> {
    let steps = length(args, ["warmup", "warmup_steps", "warmup_fraction"], of, None)?;
    if steps < least || steps > of {
        return Err(args.refused("warmup", format!("is {steps} steps; it must be {least} to {of}")));
    }
    Ok(steps)
}

/// The decay at the end and the rate that it ends at.
fn decay(args: &Args, of: f64, default: Option<f64>, top: f64) -> Result<(f64, f64)> {
    let steps = length(args, ["decay", "decay_steps", "decay_fraction"], of, default)?;
    if steps < 1.0 || steps > of {
        return Err(args.refused(
            "decay",
            format!("is {steps} steps; it must be 1 to {of}, since OLMo-core divides by it"),
        ));
    }
    Ok((steps, args.low_rate_or("decay_min_lr", 0.0, top, "the rate where it starts")?))
}

fn ramp(args: &Args, steps: f64, lr: f64) -> Result<Pieces> {
    Ok(Pieces::ramp(steps, args.low_rate_or("warmup_min_lr", 0.0, lr, "lr")?, lr))
}

pub(super) fn constant(args: &Args, _: &RunSize) -> Result<Pieces> {
    Ok(Pieces::default().hold(0, args.rate("lr")?))
}

pub(super) fn constant_with_warmup(args: &Args, run: &RunSize) -> Result<Pieces> {
    let lr = args.rate("lr")?;
    let steps = warmup(args, run.steps as f64, 0.0)?;
    Ok(ramp(args, steps, lr)?.hold(after(steps), lr).counted_from_one())
}

pub(super) fn wsd(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, total) = (args.rate("lr")?, run.steps as f64);
    let steps = warmup(args, total, 0.0)?;
    let (decay, low) = decay(args, total, Some(0.1), lr)?;
    let fall = Piece::new(Curve::Linear, total - decay, decay, lr, low);
    Ok(ramp(args, steps, lr)?
        .hold(after(steps), lr)
        .then(at(total - decay).max(after(steps)), fall)
        .counted_from_one())
}

pub(super) fn power_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, total) = (args.rate("lr")?, run.steps as f64);
    let steps = warmup(args, total, 1.0)?;
    let exponent = if args.has("b") { args.negative("b")? } else { 0.51 };
    let power = Piece::new(Curve::InvPower { timescale: steps, exponent }, steps, steps, lr, 0.0);
    let pieces = ramp(args, steps, lr)?.then(after(steps), power);
    let begin = total - length(args, ["decay", "decay_steps", "decay_fraction"], total, Some(0.1))?;
    if begin < steps {
        return Err(args.refused("decay", format!("begins at step {begin}, inside of the warmup of {steps}")));
    }
    let top = lr * (begin / steps).powf(-exponent);
    let (decay, low) = decay(args, total, Some(0.1), top)?;
    let fall = Piece::new(Curve::Linear, begin, decay, top, low);
    Ok(pieces.then(at(begin), fall).counted_from_one())
}

/// What the four schedules with `alpha_f` have in common.
struct Whole {
    lr: f64,
    end: f64,
    warmup: f64,
    horizon: f64,
}

impl Whole {
    fn read(args: &Args, run: &RunSize) -> Result<Self> {
        let lr = args.rate("lr")?;
        let horizon = args.some_or_none("t_max")?.unwrap_or(run.steps as f64);
        let warmup = warmup(args, horizon, 0.0)?;
        if warmup == horizon {
            return Err(
                args.refused("warmup", format!("is {warmup} steps, all of t_max; leave some for the decay"))
            );
        }
        Ok(Self { lr, end: lr * args.share_or("alpha_f", 0.1)?, warmup, horizon })
    }

    fn decay(&self) -> f64 {
        self.horizon - self.warmup
    }
}

pub(super) fn linear_with_warmup(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Whole::read(args, run)?;
    let fall = Piece::new(Curve::Ramp, it.warmup, it.decay(), it.lr, it.end);
    Ok(ramp(args, it.warmup, it.lr)?.then(at(it.warmup), fall).counted_from_one())
}

pub(super) fn inv_sqrt_with_warmup(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, share) = (args.rate("lr")?, args.share_or("alpha_f", 0.1)?);
    let steps = warmup(args, run.steps as f64, 1.0)?;
    let fall = Piece::new(Curve::InvPower { timescale: steps, exponent: 0.5 }, steps, steps, lr, lr * share);
    Ok(ramp(args, steps, lr)?.then(at(steps), fall).counted_from_one())
}

pub(super) fn cos_with_warmup(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Whole::read(args, run)?;
    let fall = Piece::half_cosine(it.warmup, it.decay(), it.lr, it.end);
    Ok(ramp(args, it.warmup, it.lr)?.then(at(it.warmup), fall).counted_from_one())
}

pub(super) fn half_cos_with_warmup(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Whole::read(args, run)?;
    let middle = it.end + (it.lr - it.end) / 2.0;
    let fall = Piece::half_cosine(it.warmup - it.decay(), 2.0 * it.decay(), it.lr, it.end);
    Ok(ramp(args, it.warmup, middle)?.then(at(it.warmup), fall).counted_from_one())
}

pub(super) fn cos_with_warmup_and_linear_decay(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Whole::read(args, run)?;
    let total = run.steps as f64;
    let length = length(args, ["decay", "decay_steps", "decay_fraction"], total, Some(0.1))?;
    let begin = total - length;
    if begin < it.warmup {
        return Err(
            args.refused("decay", format!("begins at step {begin}, inside of the warmup of {}", it.warmup))
        );
    }
    let r = ((begin - it.warmup) / it.decay()).min(1.0);
    let top = it.end + (it.lr - it.end) * half_cosine(r);
    let (decay, low) = decay(args, total, Some(0.1), top)?;
    Ok(ramp(args, it.warmup, it.lr)?
        .then(at(it.warmup), Piece::half_cosine(it.warmup, it.decay(), it.lr, it.end))
        .then(at(begin), Piece::new(Curve::Linear, begin, decay, top, low))
        .counted_from_one())
}

pub(super) fn wsds(args: &Args, _: &RunSize) -> Result<Pieces> {
    let lr = args.rate("lr")?;
    let periods = args.numbers("period_lengths")?;
    let periods = periods.ok_or_else(|| {
        args.refused("period_lengths", "is missing; the style requires it: a list of steps")
    })?;
    let peaks = args.numbers("period_lr_multipliers")?.unwrap_or(vec![1.0; periods.len()]);
    if peaks.len() != periods.len() {
        let what =
            format!("has {} entries, period_lengths has {}; give one for each", peaks.len(), periods.len());
        return Err(args.refused("period_lr_multipliers", what));
    }
    let steps = warmup(args, periods[0], 0.0)?;
    let mut pieces = ramp(args, steps, lr * peaks[0])?;
    let (mut begin, mut end) = (steps, 0.0);
    for (length, peak) in periods.iter().zip(peaks.iter().map(|factor| lr * factor)) {
        end += length;
        let (decay, low) = decay(args, *length, None, peak)?;
        if begin > end - decay {
            return Err(args.refused(
                "decay",
                format!("is {decay} steps; with the warmup it is longer than a period of {length}"),
            ));
        }
        // The last step of a period is still its own.
        let start = if pieces.phases.is_empty() || begin == steps { at(begin) } else { after(begin) };
        pieces = pieces
            .hold(start, peak)
            .then(at(end - decay), Piece::new(Curve::Linear, end - decay, decay, peak, low));
        begin = end;
    }
    Ok(pieces.counted_from_one())
}

/// A range test: up from `lr_min` to `lr` by equal factors.
pub(super) fn exponential(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, low) = (args.positive("lr")?, args.positive_or("lr_min", 1e-9)?);
    Ok(Pieces::default()
        .then(0, Piece::new(Curve::Geometric, 0.0, run.steps as f64, low, lr))
        .counted_from_one())
}
