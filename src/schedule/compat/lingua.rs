//! lingua: `lingua/optim.py`, by `optim.scheduler`, with `optim`'s arguments. Update `i` uses step `i`; `n_steps` is the
//! run's length.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after, at};
use crate::schedule::{Curve, RunSize};

/// Without a warmup.
pub(super) fn constant(args: &Args, _: &RunSize) -> Result<Pieces> {
    Ok(Pieces::default().hold(0, args.rate_or("lr", LR)?))
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    let Peak { lr, low, warmup } = Peak::read(args, run)?;
    let fall = Piece::new(Curve::Linear, warmup, run.steps as f64 - warmup, lr, low);
    Ok(Pieces::ramp(warmup, 0.0, lr).then(at(warmup), fall))
}

pub(super) fn inv_sqrt(args: &Args, run: &RunSize) -> Result<Pieces> {
    let Peak { lr, low, warmup } = Peak::read(args, run)?;
    if warmup == 0.0 {
        return Err(args.refused("warmup", "is 0; lingua divides 0 by 0 then, give at least 1"));
    }
    let curve = Curve::InvPower { timescale: warmup, exponent: args.positive_or("exp_factor", 0.5)? };
    Ok(Pieces::ramp(warmup, 0.0, lr).then_above(at(warmup), Piece::new(curve, warmup, 1.0, lr, 0.0), low))
}

/// After each `cycle_length` of the run the sign changes: the cosine falls from the peak again instead of rising. It counts
/// from the end of the warmup, the sign from the beginning of the run.
pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    let Peak { lr, low, warmup } = Peak::read(args, run)?;
    let steps = run.steps as f64;
    let cycle = args.positive_or("cycle_length", 1.0)?;
    let curve = Curve::Cosine { theta: args.positive_or("cosine_theta", 1.0)?, cycles: 0.5 / cycle };
    let period = at_least_a_step(args, steps * cycle)?;
    let mut pieces = Pieces::ramp(warmup, 0.0, lr);
    let (mut number, mut begin) = (0, 0);
    while begin < run.steps {
        let (from, to) = if number % 2 == 0 { (lr, low) } else { (low, lr) };
        pieces = pieces.then(begin.max(at(warmup)), Piece::new(curve, warmup, steps - warmup, from, to));
        number += 1;
        begin = begin_of(number as f64, period, run.steps);
    }
    Ok(pieces)
}

/// The first step of `steps` at which Python's `step // period` is `number`, or `steps`. It does not round the quotient up,
/// as a division does.
fn begin_of(number: f64, period: f64, steps: u64) -> u64 {
    let passed = |step: u64| ((step as f64 - step as f64 % period) / period).round();
    let near = at(number * period).saturating_sub(1);
    (near..steps).find(|step| passed(*step) >= number).unwrap_or(steps)
}

/// The decay of each cycle is `decay_fraction` of all steps up to its end.
pub(super) fn wsd(args: &Args, run: &RunSize) -> Result<Pieces> {
    let Peak { lr, low, warmup } = Peak::read(args, run)?;
    let cycle = args.positive_or("cycle_length", 1.0)?;
    let share = args.share_or("decay_fraction", 0.1)?;
    if low == 0.0 {
        return Err(args.refused("lr_min_ratio", "or lr is 0; lingua:wsd divides by it, give more"));
    }
    if share >= cycle {
        let what = format!("is {share}, cycle_length is {cycle}; lingua wants less than that");
        return Err(args.refused("decay_fraction", what));
    }
    let period = at_least_a_step(args, run.steps as f64 * cycle)?.trunc();
    let (mut pieces, mut begin) = (Pieces::ramp(warmup, 0.0, lr), 0.0);
    while begin < run.steps as f64 {
        let end = begin + period;
        let decay = (end * share).trunc();
        pieces = pieces.hold(at(begin.max(warmup)), lr);
        if decay > 0.0 {
            let fall = Piece::new(Curve::Harmonic, end - decay, decay, lr, low);
            pieces = pieces.then(after(end - decay).max(at(begin)), fall);
        }
        begin = end;
    }
    Ok(pieces)
}

/// The default of `lr`.
const LR: f64 = 3e-4;

/// What all but the constant begin with.
struct Peak {
    lr: f64,
    /// `lr_min_ratio` of it.
    low: f64,
    /// Steps, which the run has.
    warmup: f64,
}

impl Peak {
    fn read(args: &Args, run: &RunSize) -> Result<Self> {
        let (lr, warmup) = (args.rate_or("lr", LR)?, args.count_or("warmup", 2000.0)?);
        if warmup >= run.steps as f64 {
            let what = format!(
                "is {warmup}, the run has {} steps; a warmup must fit in (2000 by default)",
                run.steps
            );
            return Err(args.refused("warmup", what));
        }
        Ok(Self { lr, low: lr * args.share_or("lr_min_ratio", 0.1)?, warmup })
    }
}

fn at_least_a_step(args: &Args, period: f64) -> Result<f64> {
    if period < 1.0 {
        return Err(args.refused("cycle_length", format!("makes cycles of {period} steps; give at least 1")));
    }
    Ok(period)
}
