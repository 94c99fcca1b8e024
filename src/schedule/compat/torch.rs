//! PyTorch: `torch/optim/lr_scheduler.py`, one call of `scheduler.step()` per update.
//!
//! Update `i` uses epoch `i`. Most of torch's schedulers compute each rate from the one before; these are the closed
//! forms, which they approximate to some 1e-13.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after, at};
use crate::schedule::{Curve, RunSize};

/// Restarts that are worth a phase each.
const RESTARTS_MAX: usize = 10_000;

/// What [`rate_only`] is to refuse besides.
const TORCH_MOMENTUM: [&str; 2] = ["base_momentum", "max_momentum"];

pub(super) fn step_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, every, gamma) = (args.rate("lr")?, args.some("step_size")?, args.positive_or("gamma", 0.1)?);
    Ok(Pieces::default().then(0, Piece::exponential(gamma, 0.0, every, lr, run.steps)).in_stairs(every))
}

pub(super) fn multi_step_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (lr, gamma) = (args.rate("lr")?, args.positive_or("gamma", 0.1)?);
    let list = milestones(args)?;
    let pieces = Pieces::default().hold(0, lr);
    Ok(list
        .iter()
        .zip(1..)
        .fold(pieces, |pieces, (step, passed)| pieces.hold(at(*step), lr * gamma.powi(passed))))
}

/// Where a MultiStepLR multiplies, in order; a step may come up several times.
pub(super) fn milestones(args: &Args) -> Result<Vec<f64>> {
    let list = args.numbers_from_0("milestones")?;
    let list =
        list.ok_or_else(|| args.refused("milestones", "is missing; the style requires it: a list of steps"))?;
    if let Some(wrong) = list.windows(2).find(|pair| pair[1] < pair[0]) {
        return Err(args.refused(
            "milestones",
            format!("goes from {} down to {}; list them in order", wrong[0], wrong[1]),
        ));
    }
    Ok(list)
}

pub(super) fn constant_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, factor) = (args.rate("lr")?, args.share_or("factor", 1.0 / 3.0)?);
    let steps = args.some_or_none("total_iters")?.unwrap_or(5.0);
    if factor == 0.0 && steps < run.steps as f64 {
        let what = format!(
            "is 0, which torch divides by when total_iters are over: {steps}, of {} steps here",
            run.steps
        );
        return Err(args.refused("factor", what));
    }
    Ok(Pieces::default().hold(0, lr * factor).hold(at(steps), lr))
}

pub(super) fn linear_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (lr, start) = (args.rate("lr")?, args.share_or("start_factor", 1.0 / 3.0)?);
    let end = args.share_or("end_factor", 1.0)?;
    let steps = args.some_or_none("total_iters")?.unwrap_or(5.0);
    if start == 0.0 {
        return Err(args.refused("start_factor", "is 0; torch wants it above 0, since it divides by it"));
    }
    Ok(Pieces::default().then(0, Piece::new(Curve::Ramp, 0.0, steps, lr * start, lr * end)))
}

pub(super) fn exponential_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, gamma) = (args.rate("lr")?, args.positive("gamma")?);
    Ok(Pieces::default().then(0, Piece::exponential(gamma, 0.0, 1.0, lr, run.steps)))
}

pub(super) fn polynomial_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (lr, power) = (args.rate("lr")?, args.positive_or("power", 1.0)?);
    let steps = args.some_or_none("total_iters")?.unwrap_or(5.0);
    Ok(Pieces::default().then(0, Piece::new(Curve::Poly { power }, 0.0, steps, lr, 0.0)))
}

/// Rises again behind `T_max`.
pub(super) fn cosine_annealing_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, period) = (args.rate("lr")?, args.some("T_max")?);
    let low = args.low_rate_or("eta_min", 0.0, lr, "lr")?;
    Ok(Pieces::default().then(0, Piece::cosine(0.5, 0.0, period, lr, low, run.steps)))
}

pub(super) fn cosine_annealing_warm_restarts(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, mut period) = (args.rate("lr")?, args.some("T_0")?);
    let low = args.low_rate_or("eta_min", 0.0, lr, "lr")?;
    let times = args.some_or_none("T_mult")?.unwrap_or(1.0);
    let (mut pieces, mut start) = (Pieces::default(), 0.0);
    while start < run.steps as f64 {
        if pieces.phases.len() == RESTARTS_MAX {
            let what = format!(
                "is {period}; a run of {} steps would restart more than {RESTARTS_MAX} times",
                run.steps
            );
            return Err(args.refused("T_0", what));
        }
        pieces = pieces.then(at(start), Piece::half_cosine(start, period, lr, low));
        start += period;
        period *= times;
    }
    Ok(pieces)
}

pub(super) fn cyclic_lr(args: &Args, _: &RunSize) -> Result<Pieces> {
    rate_only(args, &TORCH_MOMENTUM)?;
    let top = args.rate("max_lr")?;
    let base = args.rate("base_lr")?;
    let up = args.some_or_none("step_size_up")?.unwrap_or(2000.0);
    let down = args.some_or_none("step_size_down")?.unwrap_or(up);
    let gamma = args.positive_or("gamma", 1.0)?;
    let (per_cycle, per_step) = match args.choice("mode", &["triangular", "triangular2", "exp_range"])? {
        "triangular" => (1.0, 1.0),
        "triangular2" => (0.5, 1.0),
        _ => (1.0, gamma),
    };
    if per_step > 1.0 || base > top {
        return Err(args.refused(
            "max_lr",
            "must be above base_lr and gamma at most 1, so that no rate is above max_lr",
        ));
    }
    let curve = Curve::Cyclic { up, down, per_cycle, per_step };
    Ok(Pieces::default().then(0, Piece::new(curve, 0.0, up + down, base, top)))
}

pub(super) fn one_cycle_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    rate_only(args, &TORCH_MOMENTUM)?;
    let total = one_cycle_steps(args)?;
    if total < run.steps as f64 {
        let what =
            format!("makes {total} steps, the run has {}; torch refuses to go on behind them", run.steps);
        let name = if args.has("total_steps") { "total_steps" } else { "epochs" };
        return Err(args.refused(name, what));
    }
    OneCycle {
        total,
        share: args.share_or("pct_start", 0.3)?,
        top: args.rate("max_lr")?,
        divisor: args.positive_or("div_factor", 25.0)?,
        final_divisor: args.positive_or("final_div_factor", 1e4)?,
        three_phases: args.flag_or("three_phase", false)?,
        straight: args.choice("anneal_strategy", &["cos", "linear"])? == "linear",
    }
    .pieces()
    .ok_or_else(|| {
        args.refused("pct_start", "makes a rise of exactly one step, which torch divides by 0 for")
    })
}

/// Either way to give them; torch goes by `total_steps` where both are given.
fn one_cycle_steps(args: &Args) -> Result<f64> {
    let (epochs, each) = (args.some_or_none("epochs")?, args.some_or_none("steps_per_epoch")?);
    match (args.some_or_none("total_steps")?, epochs, each) {
        (Some(total), None, None) => Ok(total),
        (None, Some(epochs), Some(each)) => Ok(epochs * each),
        (Some(_), ..) => Err(args.refused(
            "total_steps",
            "and epochs or steps_per_epoch are both given; torch goes by total_steps then, so remove the others",
        )),
        (None, ..) => Err(args.refused(
            "total_steps",
            "is missing, and so is one of epochs and steps_per_epoch; the style requires it or those two: the run's length",
        )),
    }
}

/// torch's `OneCycleLR`; epfml runs its cosine through it.
pub(super) struct OneCycle {
    pub total: f64,
    pub share: f64,
    pub top: f64,
    pub divisor: f64,
    pub final_divisor: f64,
    pub three_phases: bool,
    pub straight: bool,
}

impl OneCycle {
    /// The ends of its phases need not be whole steps. `None` where the first phase has no length.
    pub fn pieces(&self) -> Option<Pieces> {
        let curve = if self.straight { Curve::Ramp } else { Curve::Cosine { theta: 1.0, cycles: 0.5 } };
        let start = self.top / self.divisor;
        let low = start / self.final_divisor;
        let rise = self.share * self.total - 1.0;
        let mut bends = vec![(0.0, start), (rise, self.top)];
        if self.three_phases {
            bends.push((2.0 * self.share * self.total - 2.0, start));
        }
        bends.push((self.total - 1.0, low));
        if rise == 0.0 {
            return None;
        }
        let mut pieces = Pieces { warmup: rise.max(0.0), ..Pieces::default() };
        for pair in bends.windows(2) {
            let [(from_step, from), (to_step, to)] = [pair[0], pair[1]];
            if to_step > from_step {
                let begin = if pieces.phases.is_empty() { 0 } else { after(from_step) };
                pieces = pieces.then(begin, Piece::new(curve, from_step, to_step - from_step, from, to));
            }
        }
        Some(pieces)
    }
}

/// The frameworks' cycles move the momentum as well unless told not to; a schedule of rates does not. `momentum` are the
/// arguments that say how.
pub(super) fn rate_only(args: &Args, momentum: &[&'static str]) -> Result<()> {
    if args.flag_or("cycle_momentum", true)? {
        let default = if args.has("cycle_momentum") { "" } else { " by default" };
        let what = format!("is true{default}; a schedule sets the rate only, so say cycle_momentum = false");
        return Err(args.refused("cycle_momentum", what));
    }
    match momentum.iter().find(|name| args.has(name)) {
        Some(name) => {
            Err(args.refused(name, "moves the momentum; a schedule sets the rate only, so remove it"))
        }
        None => Ok(()),
    }
}
