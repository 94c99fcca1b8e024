//! PyTorch's schedulers of schedulers: `torch/optim/lr_scheduler.py`.
//!
//! At a milestone `SequentialLR` sets the rate that its next scheduler begins with, whatever it was before, and lets that
//! one count from 0. `ChainedScheduler` hands the rate from one scheduler to the next at every step: most of them
//! multiply it, a cosine draws it towards its lowest rate, and the others set it anew.
use super::args::Args;
use super::parts::{Part, boundaries, in_sequence};
use super::torch::milestones;
use crate::Result;
use crate::schedule::RunSize;
use crate::schedule::pieces::{Pieces, at};
use std::f64::consts::PI;

/// A chain has no formula: its rates are kept one by one, in some 100 bytes each.
const CHANGES_MAX: usize = 1_000_000;
/// What a rate below 0 may be by rounding alone, in shares of the rate that the chain starts from.
const ROUNDING: f64 = 1e-12;
/// These set the optimizer's rate when they are made.
const SET_OPTIMIZER: [&str; 2] = ["torch:CyclicLR", "torch:OneCycleLR"];
/// These are not put into lists of their kind.
const LISTS: [&str; 2] = ["torch:SequentialLR", "torch:ChainedScheduler"];

pub(super) fn sequential_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (mut parts, lr) = schedulers(args)?;
    let mut others = parts.iter_mut().filter(|part| !SET_OPTIMIZER.contains(&part.style.name));
    others.try_for_each(|part| part.args.share("lr", lr))?;
    in_sequence(&parts, &boundaries(args, "milestones", &parts)?, run)
}

pub(super) fn chained_scheduler(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (parts, lr) = schedulers(args)?;
    let links = parts.into_iter().map(|part| Link::new(part, lr, run)).collect::<Result<Vec<_>>>()?;
    let (mut pieces, mut rate) = (Pieces::default(), lr);
    for step in 0..run.steps {
        rate = links.iter().fold(rate, |rate, link| link.step(rate, step));
        if rate > -ROUNDING * lr {
            rate = rate.max(0.0) + 0.0; // -0 is 0
        }
        if rate < 0.0 {
            let what = format!(
                "lead to a rate of {rate:e} at step {step}, in torch too: CosineAnnealingLR with eta_min is not made for a chain; take SequentialLR"
            );
            return Err(args.refused("schedulers", what));
        }
        if pieces.phases.last().is_none_or(|phase| phase.from != rate) {
            pieces = pieces.hold(step, rate);
        }
        if pieces.phases.len() > CHANGES_MAX {
            let what = format!("change the rate more than {CHANGES_MAX} times; chain them for a shorter run");
            return Err(args.refused("schedulers", what));
        }
    }
    Ok(pieces)
}

/// The entries, and the rate that those start from which do not bring their own: the optimizer's.
fn schedulers(args: &Args) -> Result<(Vec<Part>, f64)> {
    let parts = Part::list(args, "schedulers")?;
    if let Some(list) = parts.iter().find(|part| LISTS.contains(&part.style.name)) {
        return Err(list.refused("which is a list itself; give its entries here"));
    }
    if let Some(later) = parts[1..].iter().find(|part| part.style.name == "torch:OneCycleLR") {
        return Err(later.refused("which overwrites the rate that torch starts the schedulers before it from; only the first can be one"));
    }
    let first = &parts[0].args;
    let lr = match parts[0].style.name {
        "torch:CyclicLR" => first.rate("base_lr")?,
        "torch:OneCycleLR" => first.rate("max_lr")? / first.positive_or("div_factor", 25.0)?,
        _ => args.rate("lr")?,
    };
    Ok((parts, lr))
}

/// What a scheduler of a chain does to the rate at a step.
enum Link {
    /// Sets it.
    Sets { first: f64, then: Pieces },
    /// Multiplies it by what its own rate, which starts at 1, is multiplied by.
    Multiplies(Pieces),
    /// Multiplies it by the factor at every such step; its own rate would fall below all numbers in a long run.
    Every(u64, f64),
    /// Multiplies it by the factor at each of these steps.
    At(Vec<u64>, f64),
    /// `CosineAnnealingLR` from `lr` to `low` and back, each in `period` steps.
    Cosine { lr: f64, low: f64, period: f64 },
}

impl Link {
    fn new(mut part: Part, lr: f64, run: &RunSize) -> Result<Self> {
        match part.style.name {
            // CyclicLR learns its own `base_lr` after it has set the first rate.
            "torch:CyclicLR" | "torch:OneCycleLR" => {
                Ok(Self::Sets { first: lr, then: part.build(run.steps, run)? })
            }
            "torch:CosineAnnealingWarmRestarts" => {
                part.args.share("lr", lr)?;
                Ok(Self::Sets { first: lr, then: part.build(run.steps, run)? })
            }
            "torch:CosineAnnealingLR" => {
                part.args.share("lr", lr)?;
                part.build(run.steps, run)?; // for its refusals
                Ok(Self::Cosine {
                    lr,
                    low: part.args.rate_or("eta_min", 0.0)?,
                    period: part.args.some("T_max")?,
                })
            }
            name => {
                part.args.share("lr", 1.0)?;
                let pieces = part.build(run.steps, run)?;
                Ok(match name {
                    "torch:ExponentialLR" => Self::Every(1, part.args.positive("gamma")?),
                    "torch:StepLR" => {
                        Self::Every(part.args.some("step_size")? as u64, part.args.positive_or("gamma", 0.1)?)
                    }
                    "torch:MultiStepLR" => {
                        let steps = milestones(&part.args)?.into_iter().map(at).collect();
                        Self::At(steps, part.args.positive_or("gamma", 0.1)?)
                    }
                    _ => Self::Multiplies(pieces),
                })
            }
        }
    }

    fn step(&self, rate: f64, step: u64) -> f64 {
        let before = step.checked_sub(1);
        match (self, before) {
            (Self::Sets { first, .. }, None) => *first,
            (Self::Sets { then, .. }, Some(_)) => then.rate(step),
            (Self::Multiplies(pieces), None) => rate * pieces.rate(0),
            (Self::Multiplies(pieces), Some(before)) => match pieces.rate(before) {
                0.0 => rate,
                own => rate * (pieces.rate(step) / own),
            },
            (Self::Every(..), None) => rate,
            (Self::Every(steps, factor), _) => {
                if step.is_multiple_of(*steps) {
                    rate * factor
                } else {
                    rate
                }
            }
            (Self::At(steps, factor), _) => {
                steps.iter().filter(|at| **at == step).fold(rate, |rate, _| rate * factor)
            }
            (Self::Cosine { .. }, None) => rate,
            (Self::Cosine { lr, low, period }, Some(before)) => {
                let share = |step: u64| 1.0 + (PI * step as f64 / period).cos();
                if before as f64 % (2.0 * period) == *period {
                    return rate + (lr - low) * (1.0 - (PI / period).cos()) / 2.0; // up again
                }
                share(step) / share(before) * (rate - low) + low
            }
        }
    }
}
