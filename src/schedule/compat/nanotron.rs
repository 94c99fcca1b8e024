//! nanotron: `src/nanotron/helpers.py`, `lr_scheduler_builder`, by `lr_decay_style`. Update `i` uses step `i`.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after, at};
use crate::schedule::{Curve, RunSize};

pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    build(args, run, Curve::Cosine { theta: 1.0, cycles: 0.5 })
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    build(args, run, Curve::Linear)
}

pub(super) fn one_minus_sqrt(args: &Args, run: &RunSize) -> Result<Pieces> {
    build(args, run, Curve::OneMinusSqrt)
}

/// The default of `lr_decay_steps` takes both the warmup and the starting step from the run, as nanotron does: with
/// both given, `min_decay_lr` is reached that much earlier.
fn build(args: &Args, run: &RunSize, curve: Curve) -> Result<Pieces> {
    let (lr, warmup) = (args.rate("learning_rate")?, args.count_or("lr_warmup_steps", 0.0)?);
    let low = args.low_rate_or("min_decay_lr", lr, lr, "learning_rate")?;
    let straight = args.required_choice("lr_warmup_style", &["linear", "constant"])? == "linear";
    let starting = args.count_or_none("lr_decay_starting_step")?;
    let begin = starting.unwrap_or(warmup);
    let rest = run.steps as f64 - warmup - starting.unwrap_or(0.0);
    let decay = args.count_or_none("lr_decay_steps")?.unwrap_or(rest);
    if decay < 0.0 {
        let what =
            "is missing, and the run is shorter than lr_warmup_steps and lr_decay_starting_step together";
        return Err(args.refused("lr_decay_steps", what));
    }
    if warmup == 0.0 && decay == 0.0 {
        return Ok(Pieces::default().hold(0, lr));
    }
    let pieces = match straight {
        true if warmup == 0.0 => Pieces::default().hold(0, 0.0), // its step 0 belongs to the warmup all the same
        true => Pieces::ramp(warmup, 0.0, lr),
        false => Pieces::default().hold(0, lr),
    };
    let behind = after(warmup);
    let mut pieces = pieces.hold(behind, lr);
    if decay > 0.0 {
        pieces = pieces.then(behind.max(at(begin)), Piece::new(curve, begin, decay, lr, low));
    }
    Ok(pieces.hold(behind.max(at(begin + decay)), low))
}
