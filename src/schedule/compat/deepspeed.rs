//! DeepSpeed: `deepspeed/runtime/lr_schedules.py` of 0.19.8, the `params` of `"scheduler"`; `lr` is the optimizer's.
//!
//! The engine calls `scheduler.step()` behind each update, which makes `last_batch_iteration` 0: update 0 has the rate
//! that the scheduler starts with (before #6597 of October 2024 the optimizer's own), update `i` behind it that of
//! `last_batch_iteration = i − 1`. The two that count `last_batch_iteration + 1` have update `i` at their step `i`.
//! In fp16 it does not step behind a skipped update: `schedule.counter = "applied"`.
use super::args::Args;
use super::torch::rate_only;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

pub(super) fn warmup_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    fresh(args)?;
    if args.has("lr") && args.has("warmup_max_lr") {
        return Err(args.refused(
            "lr",
            "and warmup_max_lr are both given; DeepSpeed goes by warmup_max_lr then, so remove lr",
        ));
    }
    let high = args.rate_or_none("warmup_max_lr")?.or(args.rate_or_none("lr")?);
    let high = high.ok_or_else(|| {
        args.refused(
            "warmup_max_lr",
            "and lr, the optimizer's, are missing; one of them is the rate behind the warmup",
        )
    })?;
    let low = args.rate_or("warmup_min_lr", 0.0)?;
    let pieces = warmup(args, low, high)?;
    let steps = at(pieces.warmup);
    Ok(begin_at(low, pieces.hold(steps, high)))
}

pub(super) fn warmup_decay_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    fresh(args)?;
    let (low, high) = (args.rate_or("warmup_min_lr", 0.0)?, args.rate_or("warmup_max_lr", 0.001)?);
    let pieces = warmup(args, low, high)?;
    let (steps, total) = (pieces.warmup, total_steps(args, pieces.warmup)?);
    let length = (total - steps).max(1.0);
    let fall = Piece::new(Curve::Linear, total - length, length, high, low);
    Ok(begin_at(low, pieces.then(at(steps), fall)))
}

/// The cosine has moved by one step where it begins.
pub(super) fn warmup_cosine_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    fresh(args)?;
    let lr = args.rate("lr")?;
    let low = lr * args.share_or("cos_min_ratio", 0.0001)?;
    let pieces = warmup(args, lr * args.share_or("warmup_min_ratio", 0.0)?, lr)?;
    let (steps, total) = (pieces.warmup, total_steps(args, pieces.warmup)?);
    let fall = Piece::half_cosine(steps - 1.0, (total - steps).max(1.0), lr, low);
    Ok(begin_at(0.0, pieces.then(at(steps), fall)))
}

pub(super) fn lr_range_test(args: &Args, run: &RunSize) -> Result<Pieces> {
    fresh(args)?;
    let low = args.rate_or("lr_range_test_min_lr", 1e-3)?;
    let size = args.some_or_none("lr_range_test_step_size")?.unwrap_or(2000.0);
    let per_size = args.rate_or("lr_range_test_step_rate", 1.0)?;
    let length = run.steps as f64;
    let high = low * (1.0 + per_size * length / size);
    let pieces = Pieces::default().then(0, Piece::new(Curve::Ramp, 0.0, length, low, high));
    Ok(if args.flag_or("lr_range_test_staircase", false)? { pieces.in_stairs(size) } else { pieces })
}

pub(super) fn one_cycle(args: &Args, _: &RunSize) -> Result<Pieces> {
    fresh(args)?;
    rate_only(args, &["cycle_min_mom", "cycle_max_mom", "decay_mom_rate"])?;
    let (low, high) = (args.rate("cycle_min_lr")?, args.rate("cycle_max_lr")?);
    if low > high {
        let what = format!("is {low}, cycle_max_lr is {high}; a cycle goes up first");
        return Err(args.refused("cycle_min_lr", what));
    }
    let first = args.some_or_none("cycle_first_step_size")?.unwrap_or(2000.0);
    let second = args.count_or("cycle_second_step_size", first)?;
    let first_stairs = args.count_or("cycle_first_stair_count", 0.0)?;
    let second_stairs = args.count_or("cycle_second_stair_count", first_stairs)?;
    let mut pieces = Pieces::default();
    pieces = in_stairs_of(pieces, 0, 0.5, Piece::new(Curve::Ramp, 0.0, first, low, high), first_stairs);
    pieces.warmup = first;
    if second > 0.0 {
        let fall = Piece::new(Curve::Linear, first, second, high, low);
        pieces = in_stairs_of(pieces, at(first), second - 0.5, fall, second_stairs);
    }
    // Behind the cycle, low/(1 + decay_lr_rate·n/decay_step_size).
    let (rate, steps) = (args.rate_or("decay_lr_rate", 0.0)?, args.count_or("decay_step_size", 0.0)?);
    let end = first + second;
    if rate == 0.0 || steps == 0.0 {
        return Ok(pieces.hold(at(end), low));
    }
    let curve = Curve::InvPower { timescale: steps / rate, exponent: 1.0 };
    Ok(pieces.then(at(end), Piece::new(curve, end, 1.0, low, 0.0)))
}

/// `piece`, of `length` whole steps, in `count` stairs; 0: none. Step `n` is `⌊(n·count + shift)/length⌋` stairs from its
/// beginning: a rise comes to a stair late (shift ½), a fall early (`length − ½`), so that the height is rounded
/// down both times. The ½ is no more than a guard against rounding, since all the rest is whole.
fn in_stairs_of(pieces: Pieces, start: u64, shift: f64, piece: Piece, count: f64) -> Pieces {
    if count == 0.0 {
        return pieces.then(start, piece);
    }
    let (origin, stair) = (piece.origin - shift / count, piece.length / count);
    pieces.then(start, Piece { origin, ..piece }).in_stairs(stair)
}

/// The warmup that three of them begin with, from `low` to `high`.
fn warmup(args: &Args, low: f64, high: f64) -> Result<Pieces> {
    let steps = args.some_or_none("warmup_num_steps")?.unwrap_or(1000.0).max(2.0);
    let curve =
        if args.choice("warmup_type", &["log", "linear"])? == "log" { Curve::Log } else { Curve::Ramp };
    Ok(Pieces::rise(steps, Piece::new(curve, 0.0, steps, low, high)))
}

fn total_steps(args: &Args, warmup: f64) -> Result<f64> {
    let total = args.some("total_num_steps")?;
    if total < warmup {
        let what = format!("is {total}, the warmup takes {warmup} steps (warmup_num_steps) and must fit in");
        return Err(args.refused("total_num_steps", what));
    }
    Ok(total)
}

/// Update 0 has `first`, update `i` behind it the rate of `last_batch_iteration = i − 1`.
fn begin_at(first: f64, counted: Pieces) -> Pieces {
    let warmup = counted.warmup + 1.0;
    Pieces { warmup, ..Pieces::default().hold(0, first).append(1, counted) }
}

fn fresh(args: &Args) -> Result<()> {
    if args.has("last_batch_iteration") {
        let what =
            "is where DeepSpeed's scheduler resumes; a run of rewarm knows its step itself, so remove it";
        return Err(args.refused("last_batch_iteration", what));
    }
    Ok(())
}
