//! A compiled schedule's pieces.
use super::Curve;

/// One stretch of a schedule, in steps.
///
/// It lasts from `start` until the next phase starts. Where its curve begins and how long the curve takes is told
/// apart from that: a phase may follow a part of a curve, count from one as torchtitan does, or have a length that is
/// no whole number of steps as GPT-NeoX's warmup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Its first step.
    pub start: u64,
    /// How the rate moves.
    pub curve: Curve,
    /// Where the curve is at its beginning, in steps; may lie before `start`, and before 0.
    pub origin: f64,
    /// Steps that the curve takes.
    pub length: f64,
    /// The curve moves at every `stairs`-th of its steps only; 0: at each.
    pub stairs: f64,
    /// Rate at the curve's beginning.
    pub from: f64,
    /// Rate at the curve's end, or that it approaches; [`Curve::Constant`] ignores it.
    pub to: f64,
    /// No rate of the phase is below this one.
    pub floor: f64,
}

impl Phase {
    /// The whole of `curve` over `length` steps from `start`.
    pub fn new(start: u64, length: f64, curve: Curve, from: f64, to: f64) -> Self {
        Self { start, curve, origin: start as f64, length, stairs: 0.0, from, to, floor: 0.0 }
    }

    /// The rate at a step, which may be a fraction.
    pub fn rate(&self, step: f64) -> f64 {
        let n = climbed(step - self.origin, self.stairs);
        self.curve.rate(n, self.length, self.from, self.to).max(self.floor)
    }

    /// The highest rate that the curve can have.
    pub fn highest(&self) -> f64 {
        let to = if self.curve == Curve::Constant { self.from } else { self.to };
        self.from.max(to).max(self.floor)
    }
}

/// `n` steps of a curve, down to the stair that they are on; `stairs` is 0 where there are none.
pub(super) fn climbed(n: f64, stairs: f64) -> f64 {
    if stairs > 0.0 { (n / stairs).floor() * stairs } else { n }
}
