//! Where the time of a training step goes: every operation of the vocabulary timed where it is computed, with what
//! it must move and compute at least.
mod log;
mod nvtx;
mod ops;
mod page;
mod picture;
mod step;
mod table;
mod trace;

pub use log::Log;
pub use page::page;
pub use step::{Call, Step};
pub use table::{Row, Table};
pub use trace::trace;

use crate::Result;
use crate::bench::{Trainer, Workload};
use crate::ops::Backend;
use crate::train::finish_step;
use ops::Profiled;
use std::ops::Range;
use std::time::Instant;

/// What was noted of each profiled step.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The steps in order.
    pub steps: Vec<Step>,
    /// Host seconds of each step, profiled.
    pub profiled_s: Vec<f64>,
    /// Of the plain step before each, which tells what profiling costs.
    pub plain_s: Vec<f64>,
}

/// Trains, and profiles these steps; a plain one comes before each.
pub fn run(workload: &Workload, steps: Range<usize>) -> Result<Profile> {
    let mut trainer = Trainer::open(workload)?;
    trainer.steps(steps.start, &mut |_| ())?;
    let mut log = Log::new(&trainer.job.model);
    let mut profile = Profile { steps: Vec::new(), profiled_s: Vec::new(), plain_s: Vec::new() };
    for _ in steps {
        let started = Instant::now();
        trainer.steps(1, &mut |_| ())?;
        profile.plain_s.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let step = step(&mut trainer, &mut log)?;
        profile.profiled_s.push(started.elapsed().as_secs_f64());
        profile.steps.push(step);
    }
    Ok(profile)
}

fn step(trainer: &mut Trainer, log: &mut Log) -> Result<Step> {
    let Trainer { job, ops } = trainer;
    observe(&mut **ops, log, &mut |ops| {
        let issued = job.issue(ops)?;
        finish_step(ops, issued).map(|_| ())
    })
}

/// What `work` does, operation by operation.
pub fn observe(
    ops: &mut dyn Backend,
    log: &mut Log,
    work: &mut dyn FnMut(&mut dyn Backend) -> Result<()>,
) -> Result<Step> {
    ops.set_profiling(true);
    let first = ops.mark();
    let result = work(&mut Profiled { inner: ops, log });
    let last = ops.mark();
    ops.set_profiling(false);
    result?;
    log.take(ops.timeline()?, [first, last])
}

#[cfg(test)]
mod tests;
