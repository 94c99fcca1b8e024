//! optax: `optax/schedules/_schedule.py`. Update `i` uses count `i`.
use super::args::Args;
use super::parts::{Part, boundaries, in_sequence};
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

pub(super) fn constant_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    Ok(Pieces::default().hold(0, args.rate("value")?))
}

pub(super) fn linear_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    transition(args, 1.0)
}

pub(super) fn polynomial_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    transition(args, args.positive("power")?)
}

fn transition(args: &Args, power: f64) -> Result<Pieces> {
    let (from, to) = (args.rate("init_value")?, args.rate("end_value")?);
    let (steps, begin) = (args.count("transition_steps")?, args.count_or("transition_begin", 0.0)?);
    if steps == 0.0 {
        return Ok(Pieces::default().hold(0, from)); // "the entire annealing process is disabled"
    }
    Ok(Pieces::default().then(0, Piece::new(Curve::Poly { power }, begin, steps, from, to)))
}

pub(super) fn piecewise_constant_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let mut rate = args.rate("init_value")?;
    let mut pieces = Pieces::default().hold(0, rate);
    for (step, factor) in args.factors("boundaries_and_scales")? {
        rate *= factor;
        pieces = pieces.hold(step, rate);
    }
    Ok(pieces)
}

pub(super) fn piecewise_interpolate_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let straight = args.required_choice("interpolate_type", &["linear", "cosine"])? == "linear";
    Ok(interpolate(straight, args.rate("init_value")?, &args.factors("boundaries_and_scales")?))
}

/// From each bound to the next, to the rate times its factor.
fn interpolate(straight: bool, init: f64, factors: &[(u64, f64)]) -> Pieces {
    let curve = if straight { Curve::Ramp } else { Curve::Cosine { theta: 1.0, cycles: 0.5 } };
    let (mut pieces, mut begin, mut rate) = (Pieces::default(), 0, init);
    for (end, factor) in factors {
        let next = rate * factor;
        if *end > begin {
            pieces = pieces.then(begin, Piece::new(curve, begin as f64, (end - begin) as f64, rate, next));
        }
        (begin, rate) = (*end, next);
    }
    pieces.hold(begin, rate)
}

pub(super) fn linear_onecycle_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (total, peak) = (args.some("transition_steps")?, args.rate("peak_value")?);
    let (share, last) = (args.share_or("pct_start", 0.3)?, args.share_or("pct_final", 0.85)?);
    let (divisor, final_divisor) =
        (args.positive_or("div_factor", 25.0)?, args.positive_or("final_div_factor", 1e4)?);
    let bounds = [
        ((share * total) as u64, divisor),
        ((last * total) as u64, 1.0 / divisor),
        (total as u64, 1.0 / final_divisor),
    ];
    if !bounds.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(args.refused("pct_final", "and pct_start must cut transition_steps into three parts"));
    }
    Ok(interpolate(true, peak / divisor, &bounds))
}

pub(super) fn cosine_onecycle_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (total, peak) = (args.some("transition_steps")?, args.rate("peak_value")?);
    let share = args.share_or("pct_start", 0.3)?;
    let (divisor, final_divisor) =
        (args.positive_or("div_factor", 25.0)?, args.positive_or("final_div_factor", 1e4)?);
    let bounds = [((share * total) as u64, divisor), (total as u64, 1.0 / (divisor * final_divisor))];
    if bounds[0].0 == bounds[1].0 {
        return Err(args.refused("pct_start", "leaves nothing of transition_steps for the way down"));
    }
    Ok(interpolate(false, peak / divisor, &bounds))
}

pub(super) fn exponential_decay(args: &Args, run: &RunSize) -> Result<Pieces> {
    exponential(args, Pieces::default(), 0.0, args.rate("init_value")?, run)
}

/// `exponential_decay` from `rate`, as of the step `start`.
fn exponential(args: &Args, before: Pieces, start: f64, rate: f64, run: &RunSize) -> Result<Pieces> {
    let (steps, factor) = (args.some("transition_steps")?, args.positive("decay_rate")?);
    let begin = start + args.count_or("transition_begin", 0.0)?;
    let (end, stairs) = (args.rate_or_none("end_value")?, args.flag_or("staircase", false)?);
    let mut piece = Piece::exponential(factor, begin, steps, rate, run.steps);
    let mut floor = 0.0;
    match end {
        Some(end) if factor < 1.0 => floor = end,
        Some(end) if end <= rate || rate == 0.0 => return Ok(before.hold(at(start), end.min(rate))),
        Some(end) => (piece.to, piece.length) = (end, steps * (end / rate).ln() / factor.ln()),
        None => {}
    }
    let pieces = before.then_above(at(start), piece, floor);
    Ok(if stairs { pieces.in_stairs(steps) } else { pieces })
}

pub(super) fn cosine_decay_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (top, alpha) = (args.rate("init_value")?, args.share_or("alpha", 0.0)?);
    let steps = args.some("decay_steps")?;
    let power = args.positive_or("exponent", 1.0)?;
    Ok(Pieces::default().then(0, Piece::new(Curve::CosinePower { power }, 0.0, steps, top, top * alpha)))
}

pub(super) fn warmup_constant_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (from, peak) = (args.rate("init_value")?, args.rate("peak_value")?);
    let steps = args.some("warmup_steps")?;
    Ok(Pieces::ramp(steps, from, peak).hold(at(steps), peak))
}

pub(super) fn warmup_exponential_decay_schedule(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (from, peak) = (args.rate("init_value")?, args.rate("peak_value")?);
    let warmup = args.count("warmup_steps")?;
    exponential(args, Pieces::ramp(warmup, from, peak), warmup, peak, run)
}

pub(super) fn warmup_cosine_decay_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    Ok(cycle(args, Pieces::default(), 0.0)?.0)
}

pub(super) fn sgdr_schedule(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (mut pieces, mut start) = (Pieces::default(), 0.0);
    for one in args.tables("cosine_kwargs")? {
        (pieces, start) = cycle(&one, pieces, start)?;
        one.finish()?;
    }
    Ok(pieces)
}

pub(super) fn join_schedules(args: &Args, run: &RunSize) -> Result<Pieces> {
    let parts = Part::list(args, "schedules")?;
    in_sequence(&parts, &boundaries(args, "boundaries", &parts)?, run)
}

/// A warmup and a cosine behind it, as of the step `start`; and where they end.
fn cycle(args: &Args, before: Pieces, start: f64) -> Result<(Pieces, f64)> {
    let (from, peak) = (args.rate("init_value")?, args.rate("peak_value")?);
    let (warmup, total) = (args.count("warmup_steps")?, args.some("decay_steps")?);
    let end = args.low_rate_or("end_value", 0.0, peak, "peak_value")?;
    let power = args.positive_or("exponent", 1.0)?;
    if warmup >= total {
        let what = format!("is {total}, warmup_steps is {warmup}; the warmup is a part of decay_steps");
        return Err(args.refused("decay_steps", what));
    }
    let mut pieces = before;
    if warmup > 0.0 {
        pieces.warmup = if start == 0.0 { warmup } else { pieces.warmup };
        pieces = pieces.then(at(start), Piece::new(Curve::Ramp, start, warmup, from, peak));
    }
    let top = start + warmup;
    let fall = Piece::new(Curve::CosinePower { power }, top, total - warmup, peak, end);
    Ok((pieces.then(at(top), fall), start + total))
}
