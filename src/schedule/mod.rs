//! Learning rates: the only place where a rate is computed.
//!
//! A schedule is a warmup, then phases `(length, shape, from, to)`, then the last rate held. The named presets
//! ([`Plan`]) compile to that list. [`Schedule::lr`] is a pure function of the step, in f64, so a schedule has
//! no state to save and resumes exactly. Conventions and golden vectors: `reference/schedules.md`.
mod compile;
mod config;
mod shape;
pub mod show;
#[cfg(test)]
mod tests;
mod units;

pub use config::{PhaseConfig, Plan, RawSchedule, ScheduleConfig};
pub use shape::{Shape, WarmupConvention};
pub(crate) use units::Scalar;
pub use units::{Length, Rate, TokenCount};

/// A schedule in steps: what a [`ScheduleConfig`] means for a run of known length.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Steps `0..warmup.steps`.
    pub warmup: Warmup,
    /// In order, without gaps: each starts where the one before ends.
    pub phases: Vec<Phase>,
    /// No rate after the warmup is below this one.
    pub min_lr: f64,
    /// Steps of the run; a rate exists beyond it too (the last one, held).
    pub total: u64,
}

/// The rise to the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// How many steps; 0 for none.
    pub steps: u64,
    /// Rate to start from.
    pub from: f64,
    /// Rate to reach.
    pub to: f64,
    /// Which step gets which share.
    pub convention: WarmupConvention,
}

/// One stretch of a schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// First step.
    pub start: u64,
    /// How many steps; progress is `(step − start) / steps`.
    pub steps: u64,
    /// How the rate moves.
    pub shape: Shape,
    /// Rate at the first step.
    pub from: f64,
    /// Rate at `start + steps`, the first step after the phase; ignored by [`Shape::Constant`].
    pub to: f64,
}

impl Warmup {
    /// The rate at `step < steps`.
    fn at(&self, step: u64) -> f64 {
        let done = match self.convention {
            WarmupConvention::ZeroBased => step,
            WarmupConvention::OneBased => step + 1,
        };
        if done == self.steps {
            return self.to; // `from + (to - from)` may miss `to` by a rounding.
        }
        let rate = self.from + (self.to - self.from) * (done as f64 / self.steps as f64);
        rate.clamp(self.from.min(self.to), self.from.max(self.to))
    }
}

impl Phase {
    /// The first step after the phase.
    pub fn end(&self) -> u64 {
        self.start + self.steps
    }

    /// The rate that a phase without a `from` of its own continues from.
    pub fn last(&self) -> f64 {
        self.shape.rate(1.0, self.from, self.to)
    }
}

impl Schedule {
    /// The rate of attempted step `step`, counted from 0. Finite, at least 0 and at most [`Schedule::peak`].
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup.steps {
            return self.warmup.at(step);
        }
        let rate = match self.phases.iter().find(|phase| step < phase.end()) {
            Some(phase) => {
                let r = (step - phase.start) as f64 / phase.steps as f64;
                phase.shape.rate(r, phase.from, phase.to)
            }
            None => self.phases.last().map_or(self.warmup.to, Phase::last),
        };
        rate.max(self.min_lr)
    }

    /// An upper bound of every rate, reached where a phase or the warmup starts or ends.
    pub fn peak(&self) -> f64 {
        let ends = self.phases.iter().flat_map(|p| [p.from, p.last()]);
        let start = if self.warmup.steps > 0 { self.warmup.from } else { 0.0 };
        ends.fold(self.min_lr.max(start).max(self.warmup.to), f64::max)
    }

    /// Steps at which a phase starts, and the first step after the last one.
    pub fn joins(&self) -> Vec<u64> {
        let mut steps: Vec<u64> = self.phases.iter().map(|p| p.start).collect();
        steps.extend(self.phases.last().map(Phase::end));
        steps.dedup();
        steps
    }
}
