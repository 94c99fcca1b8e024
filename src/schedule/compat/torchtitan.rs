//! torchtitan: `torchtitan/components/optimizer/lr_scheduler.py`, by `decay_type`.
//!
//! Update `i` uses step `i + 1`, and one step behind the last the rate would be at its end.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    warmup_stable_decay(args, run, Curve::Linear)
}

pub(super) fn sqrt(args: &Args, run: &RunSize) -> Result<Pieces> {
    warmup_stable_decay(args, run, Curve::OneMinusSqrt)
}

pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    warmup_stable_decay(args, run, Curve::Cosine { theta: 1.0, cycles: 0.5 })
}

fn warmup_stable_decay(args: &Args, run: &RunSize, curve: Curve) -> Result<Pieces> {
    let lr = args.rate("lr")?;
    let total = args.some_or_none("total_steps")?.unwrap_or(run.steps as f64);
    if total < run.steps as f64 {
        let what =
            format!("is {total}, the run has {} steps; behind total_steps there is no rate", run.steps);
        return Err(args.refused("total_steps", what));
    }
    let warmup = args.count_or("warmup_steps", 200.0)?.min(total); // as it does, with a warning
    let share = args.share_or_none("decay_ratio")?;
    let decay = share.map_or(total, |share| (total * share).round_ties_even()).min(total - warmup);
    let low = lr * args.share_or("min_lr_factor", 0.0)?;
    let pieces = Pieces::rise(warmup, Piece::new(Curve::Ramp, -1.0, warmup, 0.0, lr)).hold(at(warmup), lr);
    if decay == 0.0 {
        return Ok(pieces);
    }
    Ok(pieces.then(at(total + 1.0 - decay), Piece::new(curve, total - decay, decay, lr, low)))
}
