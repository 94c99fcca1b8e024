//! Parts of a schedule while their lengths are still fractions of steps.
use super::phase::climbed;
use super::pieces::{Piece, Pieces};
use super::{Curve, Length, RunSize};
use crate::{Error, Result};

/// Lengths may exceed the run by this much: percentages add up inexactly.
pub(super) const SLACK_STEPS: f64 = 1e-6;

/// Steps that a shape is to fill, and what it needs to know about the run that they are part of.
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    pub run: &'a RunSize,
    pub lr: f64,
    pub min_lr: f64,
    /// Steps before the peak, not rounded: the hold and the warmup.
    pub before: f64,
    /// Steps of the warmup alone.
    pub warmup: f64,
    /// Steps to fill, not rounded.
    pub length: f64,
    /// Rate at the beginning; `None`: where what comes before ended.
    pub from: Option<f64>,
    /// Rate at the end, or that it approaches.
    pub to: f64,
    /// The key that set `to`, for messages.
    pub key: &'a str,
}

impl<'a> Stretch<'a> {
    /// What `before` steps leave of the run, down to `min_lr`. There is no warmup.
    pub fn behind(before: f64, lr: f64, min_lr: f64, run: &'a RunSize) -> Self {
        let length = (run.steps as f64 - before).max(0.0);
        let (from, to, key) = (None, min_lr, "schedule.min_lr");
        Self { run, lr, min_lr, before, warmup: 0.0, length, from, to, key }
    }

    pub fn steps(&self, length: Length) -> f64 {
        length.exact_steps(self.run)
    }

    /// Steps of the run.
    pub fn total(&self) -> f64 {
        self.run.steps as f64
    }

    /// What `tail` steps at the end leave of the steps behind the warmup; refused if they are more.
    pub fn leave(&self, tail: f64, key: &str) -> Result<f64> {
        let left = self.total() - self.before - tail;
        if left < -SLACK_STEPS {
            return Err(Error::refused(format!(
                "{key} takes {} steps after a warmup of {}, the run has {}; shorten them or lengthen the run (train.steps)",
                round(tail),
                round(self.before),
                self.run.steps
            )));
        }
        Ok(left.max(0.0))
    }

    /// The whole of `curve` over all of it, alone.
    pub fn along(&self, curve: Curve) -> Result<Vec<Leg>> {
        Ok(vec![self.leg(curve)])
    }

    /// The whole of `curve` over all of it.
    pub fn leg(&self, curve: Curve) -> Leg {
        Leg { from: self.from, ..Leg::new(curve, self.length, self.to, self.key) }
    }
}

/// A curve and its length; its place in the run is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Leg {
    /// How the rate moves.
    pub curve: Curve,
    /// Steps, not rounded.
    pub length: f64,
    /// `None`: where the leg before ended.
    pub from: Option<f64>,
    /// Rate at the end; ignored by [`Curve::Constant`].
    pub to: f64,
    /// Steps of the curve that lie before the leg, and of the whole curve; `None`: the leg is the whole curve.
    pub of: Option<(f64, f64)>,
    /// As of a [`super::Phase`].
    pub stairs: f64,
    /// Whether a rise would be a mistake.
    pub falls: bool,
    /// The key that set `to`, for messages.
    pub key: String,
}

impl Leg {
    /// The whole of a curve, from where the leg before ended.
    pub fn new(curve: Curve, length: f64, to: f64, key: &str) -> Self {
        let (of, stairs, falls) = (None, 0.0, curve.only_falls());
        Self { curve, length, from: None, to, of, stairs, falls, key: key.to_owned() }
    }

    /// `rate`, or the last one.
    pub fn hold(length: f64, rate: Option<f64>) -> Self {
        Self { from: rate, ..Self::new(Curve::Constant, length, 0.0, "") }
    }

    /// Refuses what the formula cannot do between these two rates.
    pub fn check(&self, from: f64) -> Result<()> {
        let (to, key) = (self.to, &self.key);
        let needs_both = matches!(self.curve, Curve::Geometric | Curve::Harmonic);
        if needs_both && (from <= 0.0 || to <= 0.0) {
            return Err(Error::refused(format!(
                "{key} is {to}, and the phase starts at {from}; the shape needs two positive rates"
            )));
        }
        if to > from && self.falls {
            return Err(Error::refused(format!(
                "{key} is {to}, and the phase starts at {from}; the shape decays to a rate below its start, lower {key}, or rise by \"linear\" or \"cosine\""
            )));
        }
        Ok(())
    }
}

/// Puts legs behind each other. Lengths are added up unrounded and each boundary is rounded to the nearest step, so legs
/// that fill the run in percent fill it in steps.
pub(super) struct Course {
    pieces: Pieces,
    end_exact: f64,
    end: u64,
    rate: f64,
    floor: f64,
    total: u64,
}

impl Course {
    /// Through a run of `total` steps.
    pub fn new(total: u64) -> Self {
        Self { pieces: Pieces::default(), end_exact: 0.0, end: 0, rate: 0.0, floor: 0.0, total }
    }

    /// The first step behind what there is.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What there is was the warmup: from here on no rate is below `floor`, and the next leg continues from `rate`.
    pub fn warmed_up(mut self, rate: f64, floor: f64) -> Self {
        self.pieces.warmup = self.end as f64;
        Self { rate, floor, ..self }
    }

    pub fn follow(self, legs: &[Leg]) -> Result<Self> {
        legs.iter().try_fold(self, Self::then)
    }

    fn then(self, leg: &Leg) -> Result<Self> {
        let end_exact = self.end_exact + leg.length;
        let (start, end) = (self.end, round(end_exact).clamp(self.end, self.total));
        let from = leg.from.unwrap_or(self.rate);
        let to = if leg.curve == Curve::Constant { from } else { leg.to };
        leg.check(from)?;
        // A leg that is rounded away still leads to its last rate.
        let steps = (end - start) as f64;
        let whole = if steps > 0.0 { steps } else { leg.length.max(1.0) };
        let (skip, length) = leg.of.unwrap_or((0.0, whole));
        let piece = Piece::new(leg.curve, start as f64 - skip, length, from, to);
        let rate = leg.curve.rate(climbed(skip + whole, leg.stairs), length, from, to);
        let pieces = self.pieces.then_above(start, piece, self.floor).in_stairs(leg.stairs);
        Ok(Self { pieces, end_exact, end, rate, ..self })
    }

    /// Then `rate`, or the last one, for ever.
    pub fn finish(self, rate: Option<f64>) -> Pieces {
        self.pieces.then_above(self.end, Piece::constant(rate.unwrap_or(self.rate)), self.floor)
    }
}

/// To the nearest step. Lengths are far below 2^53 and not negative.
pub(super) fn round(steps: f64) -> u64 {
    steps.round() as u64
}
