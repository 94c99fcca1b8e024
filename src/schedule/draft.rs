//! Phases while their lengths are still fractions of steps.
use super::{Curve, Phase};
use crate::{Error, Result};

/// A phase to be: its length is exact, its place in the run not known.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The formula.
    pub curve: Curve,
    /// Steps, not rounded.
    pub length: f64,
    /// `None`: where the phase before ended.
    pub from: Option<f64>,
    /// Ignored by [`Curve::Constant`].
    pub to: f64,
    /// Steps of the curve that lie before the phase, and of the whole curve; `None`: the phase is the whole curve.
    pub of: Option<(f64, f64)>,
    /// As [`Phase::stairs`].
    pub stairs: f64,
    /// Whether a rise would be a mistake.
    pub falls: bool,
    /// The key that set `to`, for messages.
    pub key: String,
}

impl Draft {
    /// The whole of a curve.
    pub fn new(curve: Curve, length: f64, from: Option<f64>, to: f64, key: &str) -> Self {
        let falls = curve.only_falls();
        Self { curve, length, from, to, of: None, stairs: 0.0, falls, key: key.to_owned() }
    }

    /// `rate`, or the last one.
    pub fn hold(length: f64, rate: Option<f64>) -> Self {
        Self::new(Curve::Constant, length, rate, 0.0, "")
    }

    /// Refuses what the formula cannot do between these two rates.
    fn check(&self, from: f64) -> Result<()> {
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

/// Puts drafts behind each other. Lengths are added up unrounded and each boundary is rounded to the nearest step, so
/// phases that fill the run in percent fill it in steps.
pub(super) struct Builder {
    phases: Vec<Phase>,
    end_exact: f64,
    end: u64,
    rate: f64,
    floor: f64,
    total: u64,
}

impl Builder {
    pub fn new(total: u64) -> Self {
        Self { phases: Vec::new(), end_exact: 0.0, end: 0, rate: 0.0, floor: 0.0, total }
    }

    /// The first step behind what there is.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// From here on no rate is below `floor`, and the next phase continues from `rate`.
    pub fn continue_from(&mut self, rate: f64, floor: f64) {
        (self.rate, self.floor) = (rate, floor);
    }

    pub fn push(&mut self, draft: &Draft) -> Result<()> {
        self.end_exact += draft.length;
        let (start, end) = (self.end, round(self.end_exact).clamp(self.end, self.total));
        let from = draft.from.unwrap_or(self.rate);
        let to = if draft.curve == Curve::Constant { from } else { draft.to };
        draft.check(from)?;
        // A phase that is rounded away still leads to its last rate.
        let steps = (end - start) as f64;
        let whole = if steps > 0.0 { steps } else { draft.length.max(1.0) };
        let (skip, length) = draft.of.unwrap_or((0.0, whole));
        let phase = Phase {
            start,
            curve: draft.curve,
            origin: start as f64 - skip,
            length,
            stairs: draft.stairs,
            from,
            to,
            floor: self.floor,
        };
        self.rate = draft.curve.rate(phase.climbed(skip + whole), length, from, to);
        self.phases.push(phase);
        self.end = end;
        Ok(())
    }

    /// `rate`, or the last one, for ever.
    pub fn finish(mut self, rate: Option<f64>) -> Vec<Phase> {
        let last = Phase::constant(self.end, rate.unwrap_or(self.rate));
        self.phases.push(Phase { floor: self.floor, ..last });
        self.phases
    }
}

/// To the nearest step. Lengths are far below 2^53 and not negative.
pub(super) fn round(steps: f64) -> u64 {
    steps.round() as u64
}
