//! litgpt: `litgpt/pretrain.py`, `get_lr`, with the defaults of its `TrainArgs` there. It counts micro-batches, `A` for each
//! update, and the last of them sets the rate: update `i` uses `A·i + A − 1` of `A` times as many, or `i + 1 − 1/A`.
//! `max_tokens` are taken to be the run's, so that no micro-batch is left over.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

/// litgpt has one schedule, without a name.
pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, warmup) = (args.rate("learning_rate")?, args.count_or("lr_warmup_steps", 2000.0)?);
    let low = args.low_rate_or("min_lr", 4e-5, lr, "learning_rate")?;
    let steps = run.steps as f64;
    if warmup >= steps {
        let what = format!("is {warmup}, the run has {steps} steps; a warmup must fit in (2000 by default)");
        return Err(args.refused("lr_warmup_steps", what));
    }
    let ahead = 1.0 - 1.0 / micro_batches(args)?;
    let pieces = Pieces::rise(warmup, Piece::new(Curve::Ramp, -ahead, warmup, 0.0, lr));
    Ok(pieces.then(at(warmup), Piece::half_cosine(warmup - ahead, steps - warmup, lr, low)))
}

/// Those of an update, on one device.
fn micro_batches(args: &Args) -> Result<f64> {
    let some = |name, default| args.some_or_none(name).map(|value| value.unwrap_or(default));
    let (all, micro) = (some("global_batch_size", 512.0)?, some("micro_batch_size", 4.0)?);
    // litgpt's default of devices is all that it finds.
    let devices = args.some("devices")? * some("num_nodes", 1.0)?;
    let count = ((all / devices).floor() / micro).floor();
    if count == 0.0 {
        let what = format!("is {all}, less than a micro-batch of {micro} for each of {devices} devices");
        return Err(args.refused("global_batch_size", what));
    }
    Ok(count)
}
