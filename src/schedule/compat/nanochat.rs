//! nanochat: `scripts/base_train.py`, `get_lr_multiplier`, whose rate `lr` is that of a group. Update `i` uses step `i`.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after, at};
use crate::schedule::{Curve, RunSize};

/// nanochat has one schedule, without a name.
pub(super) fn warmdown(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, warmup) = (args.rate("lr")?, args.count_or("warmup_steps", 40.0)?);
    let steps = args.some_or_none("num_iterations")?.unwrap_or(run.steps as f64);
    if warmup > steps || steps < run.steps as f64 {
        let what = format!(
            "is {steps}; the warmup ({warmup} steps) must fit in, and the run ({} steps) ends by then",
            run.steps
        );
        return Err(args.refused("num_iterations", what));
    }
    let down = (args.share_or("warmdown_ratio", 0.65)? * steps).round_ties_even();
    let low = lr * args.share_or("final_lr_frac", 0.05)?;
    let pieces = Pieces::rise(warmup, Piece::new(Curve::Ramp, -1.0, warmup, 0.0, lr)).hold(at(warmup), lr);
    if down == 0.0 {
        return Ok(pieces);
    }
    Ok(pieces.then(after(steps - down), Piece::new(Curve::Linear, steps - down, down, lr, low)))
}
