//! Learning rates: the only place where a rate is computed.
//!
//! A schedule is a hold and a warmup (both may be absent), then phases `(length, shape, from, to)`, then a tail. What a
//! configuration names ([`catalogue`]) compiles to a list of [`Phase`]s, each following a [`Curve`].
//! [`Schedule::lr`] is a pure function of the step, in f64, so a schedule has no state to save and resumes exactly;
//! schedules that look at the loss ([`Feedback`]) keep their small state apart from it.
mod batch;
pub mod catalogue;
pub mod compat;
mod compile;
mod config;
mod counting;
mod curve;
mod feedback;
pub(crate) mod kind;
mod leg;
mod phase;
mod pieces;
mod quantity;
pub(crate) mod range;
mod refine;
pub mod show;
#[cfg(test)]
mod tests;
mod units;
mod validate;

pub use batch::{BatchPlan, LrScaling};
pub use config::{PhaseConfig, Plan, RawPhase, RawSchedule, ScheduleConfig, Tail};
pub use counting::{Counter, WarmupConvention};
pub use curve::Curve;
pub use feedback::{Better, Feedback, FeedbackState, GreedyRule, PlateauRule};
pub use phase::Phase;
pub use quantity::{Quantities, Quantity, Settings, Varying};
pub use refine::{Optimizer, Refined};
pub(crate) use units::Scalar;
pub use units::{Length, Rate, RunSize, TokenCount};

/// A schedule in steps: what a [`ScheduleConfig`] means for a run of known length.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// In order, without gaps; the first starts at step 0 and the last one never ends.
    phases: Vec<Phase>,
    /// Where they start: apart from them, so that a search in a long table stays in the cache.
    starts: Vec<u64>,
    /// Steps before the peak: the hold and the warmup.
    pub warmup_steps: u64,
    /// Steps of the run; a rate exists beyond it too.
    pub total: u64,
    /// What [`Schedule::lr`] is to be asked for.
    pub counter: Counter,
    /// The rule of a schedule that looks at the loss; its rates come from [`Schedule::lr_after`].
    pub feedback: Option<Feedback>,
}

impl Schedule {
    /// The schedule of these phases. The first must start at 0 and each must start behind the one before; a phase that
    /// starts where the next one does is left out.
    pub fn new(mut phases: Vec<Phase>, warmup_steps: u64, total: u64, counter: Counter) -> Self {
        assert!(phases.is_sorted_by_key(|phase| phase.start), "phases are in order");
        // Of those that start together the last one stays.
        phases.reverse();
        phases.dedup_by_key(|phase| phase.start);
        phases.reverse();
        assert!(phases.first().is_some_and(|first| first.start == 0), "a rate exists from step 0 on");
        let starts = phases.iter().map(|phase| phase.start).collect();
        Self { phases, starts, warmup_steps, total, counter, feedback: None }
    }

    /// The rate of step `step`, counted from 0. Finite, at least 0 and at most [`Schedule::peak`].
    pub fn lr(&self, step: u64) -> f64 {
        self.at(step as f64)
    }

    /// As [`Schedule::lr`], between steps too.
    pub fn at(&self, step: f64) -> f64 {
        let after = self.starts.partition_point(|start| *start as f64 <= step);
        self.phases[after - 1].rate(step) // the first phase starts at 0
    }

    /// Whether a rate depends on how the steps before it went.
    pub fn looks_back(&self) -> bool {
        self.feedback.is_some() || self.counter == Counter::Applied
    }

    /// The pieces, in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// An upper bound of every rate: the highest end of a curve.
    pub fn peak(&self) -> f64 {
        self.phases.iter().map(Phase::highest).fold(0.0, f64::max)
    }

    /// The step at which the last decay from a stable rate begins: one that is constant, or falls whatever the length of the
    /// run. What was trained before it can be trained on, or be decayed, by another run.
    pub fn stable_end(&self) -> Option<u64> {
        let ends = self.starts[1..].iter().copied().chain([self.total.max(1)]);
        let pieces: Vec<(&Phase, u64)> = self.phases.iter().zip(ends).collect();
        let is_end = |pair: &&[(&Phase, u64)]| {
            let [(stable, start), (decay, end)] = pair else { return false };
            let goes_on = matches!(stable.curve, Curve::Constant | Curve::InvPower { .. });
            let before = stable.rate((start - 1) as f64);
            goes_on && *start < self.total && before > 0.0 && decay.rate(*end as f64) < before
        };
        pieces.windows(2).rev().find(is_end).map(|pair| pair[0].1)
    }

    /// Steps at which a phase starts, except for step 0.
    pub fn joins(&self) -> Vec<u64> {
        self.starts[1..].to_vec()
    }
}
