//! Schedules put together from phases: ours from a [`super::leg::Course`], another framework's in its own counter.
use super::{Counter, Curve, Feedback, Phase, Schedule};
use std::f64::consts::PI;

/// Phases in the order in which they were added.
#[derive(Default)]
pub(super) struct Pieces {
    pub phases: Vec<Phase>,
    /// Steps of the rise.
    pub warmup: f64,
    /// What moves the rates besides.
    pub feedback: Option<Feedback>,
}

/// A curve and where it lies, in steps that need not be whole.
pub(super) struct Piece {
    pub curve: Curve,
    pub origin: f64,
    pub length: f64,
    pub from: f64,
    pub to: f64,
}

impl Pieces {
    /// A line from `from` at step 0 to `to` at step `steps`; nothing when there are none.
    pub fn ramp(steps: f64, from: f64, to: f64) -> Self {
        Self::rise(steps, Piece::new(Curve::Ramp, 0.0, steps, from, to))
    }

    /// `piece` as a warmup of `steps`; nothing when there are none.
    pub fn rise(steps: f64, piece: Piece) -> Self {
        let pieces = Self { warmup: steps, ..Self::default() };
        if steps > 0.0 { pieces.then(0, piece) } else { pieces }
    }

    /// `piece` from the step `start` on, but never before the piece that was added last.
    pub fn then(self, start: u64, piece: Piece) -> Self {
        self.then_above(start, piece, 0.0)
    }

    /// [`Pieces::then`], with no rate below `floor`.
    pub fn then_above(mut self, start: u64, piece: Piece, floor: f64) -> Self {
        let start = self.phases.last().map_or(0, |last: &Phase| last.start.max(start));
        let Piece { curve, origin, length, from, to } = piece;
        self.phases.push(Phase { start, curve, origin, length, stairs: 0.0, from, to, floor });
        self
    }

    /// `rate` from the step `start` on.
    pub fn hold(self, start: u64, rate: f64) -> Self {
        self.then(start, Piece::constant(rate))
    }

    /// The piece that was added last moves at every `steps`-th step only.
    pub fn in_stairs(mut self, steps: f64) -> Self {
        self.phases.last_mut().expect("a piece was added").stairs = steps;
        self
    }

    /// The rate of step `step`.
    pub fn rate(&self, step: u64) -> f64 {
        let after = self.phases.partition_point(|phase| phase.start <= step);
        self.phases[after - 1].rate(step as f64) // the first phase starts at 0
    }

    /// Without what starts at the step `end` or later.
    pub fn until(mut self, end: u64) -> Self {
        self.phases.retain(|phase| phase.start < end);
        self.warmup = self.warmup.min(end as f64);
        self
    }

    /// `next` from the step `start` on, with a counter of its own.
    pub fn append(self, start: u64, next: Self) -> Self {
        let mut pieces = self.until(start);
        let moved =
            |phase: Phase| Phase { start: phase.start + start, origin: phase.origin + start as f64, ..phase };
        pieces.phases.extend(next.phases.into_iter().map(moved));
        pieces
    }

    /// The schedule of a run of `total` steps.
    pub fn schedule(self, total: u64, counter: Counter) -> Schedule {
        let warmup_steps = at(self.warmup).min(total);
        Schedule { feedback: self.feedback, ..Schedule::new(self.phases, warmup_steps, total, counter) }
    }

    /// The phases of a framework that counts the first update as 1.
    pub fn counted_from_one(mut self) -> Self {
        for phase in &mut self.phases {
            phase.start = phase.start.saturating_sub(1);
            phase.origin -= 1.0;
        }
        self
    }
}

impl Piece {
    /// `curve` over `length` steps from `origin`.
    pub fn new(curve: Curve, origin: f64, length: f64, from: f64, to: f64) -> Self {
        Self { curve, origin, length, from, to }
    }

    /// `rate` at every step.
    pub fn constant(rate: f64) -> Self {
        Self::new(Curve::Constant, 0.0, 1.0, rate, rate)
    }

    /// `cycles` cosine periods over `length` steps; frameworks that do not stop at the end go on until the step
    /// `until`.
    pub fn cosine(cycles: f64, origin: f64, length: f64, from: f64, to: f64, until: u64) -> Self {
        let times = ((until as f64 - origin) / length).ceil().max(1.0);
        let curve = Curve::Cosine { theta: 1.0, cycles: cycles * times };
        Self { curve, origin, length: length * times, from, to }
    }

    /// Half a cosine, which ends.
    pub fn half_cosine(origin: f64, length: f64, from: f64, to: f64) -> Self {
        Self::new(Curve::Cosine { theta: 1.0, cycles: 0.5 }, origin, length, from, to)
    }

    /// `from·factor^(n/length)`, going on until the step `until`.
    pub fn exponential(factor: f64, origin: f64, length: f64, from: f64, until: u64) -> Self {
        if factor <= 1.0 {
            let curve = Curve::Exp { rate: -factor.ln() / length };
            return Self { curve, origin, length, from, to: 0.0 };
        }
        if from == 0.0 {
            return Self { curve: Curve::Constant, origin, length, from, to: from };
        }
        let all = (until as f64 - origin).max(length);
        Self { curve: Curve::Geometric, origin, length: all, from, to: from * factor.powf(all / length) }
    }
}

/// The first whole step behind a bound that still belongs to what comes before it.
pub(super) fn after(bound: f64) -> u64 {
    (bound.floor() + 1.0).max(0.0) as u64
}

/// The first whole step that is not before a bound.
pub(super) fn at(bound: f64) -> u64 {
    bound.ceil().max(0.0) as u64
}

/// ½(1 + cos πr).
pub(super) fn half_cosine(r: f64) -> f64 {
    0.5 * (1.0 + (PI * r).cos())
}
