//! Schedules that look at the loss: `ReduceLROnPlateau` of torch, which Hugging Face's `reduce_lr_on_plateau` is,
//! `GreedyLR` of `transformers/optimization.py`, and `optax/contrib/_reduce_on_plateau.py`.
//!
//! Each call of their `step` is fed the training loss of an update, and moves the rates behind it. optax scales the very
//! update whose loss it was fed; here the rate of an update is set before its loss is known, and the scale comes one
//! update later. `window`, which torch has not, is the number of updates whose mean loss makes one call.
use super::args::Args;
use super::parts::Part;
use crate::Result;
use crate::schedule::pieces::Pieces;
use crate::schedule::{Better, Feedback, GreedyRule, PlateauRule, RunSize};

/// The base rate all along, times the factor of `rule`.
fn moved(lr: f64, rule: Feedback) -> Pieces {
    Pieces { feedback: Some(rule), ..Pieces::default().hold(0, lr) }
}

pub(super) fn torch_reduce_lr_on_plateau(args: &Args, _: &RunSize) -> Result<Pieces> {
    plateau(args, args.positive("lr")?)
}

/// Without a warmup: `get_scheduler` leaves `num_warmup_steps` aside.
pub(super) fn hf_reduce_lr_on_plateau(args: &Args, _: &RunSize) -> Result<Pieces> {
    plateau(args, args.positive("learning_rate")?)
}

fn plateau(args: &Args, lr: f64) -> Result<Pieces> {
    let min_lr = args.rate_or("min_lr", 0.0)?;
    let rule = PlateauRule {
        factor: args.reduction_or("factor", 0.1)?,
        patience: whole(args.count_or("patience", 10.0)?),
        cooldown: whole(args.count_or("cooldown", 0.0)?),
        better: better(args, 1e-4, &["rel", "abs"])?,
        window: whole(args.some_or_none("window")?.unwrap_or(1.0)),
        lowest: min_lr / lr,
        floor: min_lr.min(lr),
        eps: args.rate_or("eps", 1e-8)? / lr,
    };
    Ok(moved(lr, Feedback::Plateau(rule)))
}

pub(super) fn hf_greedy(args: &Args, _: &RunSize) -> Result<Pieces> {
    let lr = args.positive("learning_rate")?;
    let (min_lr, max_lr) = (args.rate_or("min_lr", 1e-3)?, args.rate_or("max_lr", 1.0)?);
    if max_lr < min_lr {
        return Err(args.refused(
            "max_lr",
            format!("is {max_lr}, min_lr is {min_lr} (0.001 unless given); it must not be below"),
        ));
    }
    let window = whole(args.some_or_none("window_size")?.unwrap_or(50.0));
    let _ = args.flag_or("verbose", false)?; // it prints
    let rule = GreedyRule {
        factor: args.reduction_or("factor", 0.95)?,
        patience: whole(args.count_or("patience", 10.0)?),
        cooldown: whole(args.count_or("cooldown", 0.0)?),
        warmup: whole(args.count_or("warmup", 0.0)?),
        better: better(args, 1e-6, &["abs", "rel"])?,
        window: if args.flag_or("smooth", false)? { window } else { 1 },
        lowest: min_lr / lr,
        floor: min_lr.min(lr),
        highest: max_lr / lr,
        eps: args.rate_or("eps", 1e-8)? / lr,
        reset_after: whole(args.count_or("reset_start", 500.0)?),
    };
    Ok(moved(lr, Feedback::Greedy(rule)))
}

/// `learning_rate` is that of the optimizer before it in `optax.chain`: a number, or a schedule with its `style`.
pub(super) fn optax_reduce_on_plateau(args: &Args, run: &RunSize) -> Result<Pieces> {
    let base = match args.table_or_none("learning_rate") {
        Some(schedule) => Part::read(schedule)?.build(run.steps, run)?,
        None => Pieces::default().hold(0, args.rate("learning_rate")?),
    };
    let better =
        Better { rises: false, relative: args.share_or("rtol", 1e-4)?, absolute: args.rate_or("atol", 0.0)? };
    if better.relative == 0.0 && better.absolute == 0.0 {
        return Err(args.refused("rtol", "and atol are both 0; optax requires one of them above 0"));
    }
    let rule = PlateauRule {
        factor: args.reduction_or("factor", 0.1)?,
        // It reduces at the last observation that it bears, torch behind it; at 0 it would at every improvement.
        patience: whole(args.some_or_none("patience")?.unwrap_or(10.0)) - 1,
        cooldown: whole(args.count_or("cooldown", 0.0)?),
        better,
        window: whole(args.some_or_none("accumulation_size")?.unwrap_or(1.0)),
        lowest: args.share_or("min_scale", 0.0)?,
        floor: 0.0,
        eps: 0.0,
    };
    Ok(Pieces { warmup: 0.0, feedback: Some(Feedback::Plateau(rule)), ..base })
}

/// `mode`, `threshold` and `threshold_mode`, of which the first is the default.
fn better(args: &Args, threshold: f64, modes: &[&'static str; 2]) -> Result<Better> {
    let threshold = args.rate_or("threshold", threshold)?;
    let rises = args.choice("mode", &["min", "max"])? == "max";
    Ok(match args.choice("threshold_mode", modes)? {
        "rel" => Better { rises, relative: threshold, absolute: 0.0 },
        _ => Better { rises, relative: 0.0, absolute: threshold },
    })
}

/// No run has more updates than that.
fn whole(count: f64) -> u32 {
    count as u32
}
