//! Schedules that look at the loss: a factor on the rate, moved by rules, with a small state that checkpoints carry.
use super::Schedule;
pub use rules::{Better, GreedyRule, PlateauRule};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

mod rules;

/// What moves the factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feedback {
    /// Down, when the loss has stopped falling.
    Plateau(PlateauRule),
    /// Up while the loss falls, down while it does not.
    Greedy(GreedyRule),
}

impl Feedback {
    fn floor(self) -> f64 {
        match self {
            Self::Plateau(rule) => rule.floor,
            Self::Greedy(rule) => rule.floor,
        }
    }
}

/// All that such a schedule remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackState {
    /// The factor on the rate.
    pub factor: f64,
    /// The lowest loss so far.
    best: Option<f64>,
    /// Observations in a row with an improvement.
    good: u32,
    /// Observations in a row without one.
    bad: u32,
    /// Observations that will not count.
    pause: u32,
    /// Reductions at the lowest rate.
    at_floor: u32,
    /// The latest losses, oldest first.
    losses: VecDeque<f64>,
}

impl Default for FeedbackState {
    fn default() -> Self {
        Self { factor: 1.0, best: None, good: 0, bad: 0, pause: 0, at_floor: 0, losses: VecDeque::new() }
    }
}

impl Schedule {
    /// The rate of step `step` (maybe a fraction) of a schedule that may look at the loss: [`Schedule::at`], behind the
    /// warmup times the factor of `state`.
    pub fn lr_after(&self, step: f64, state: &FeedbackState) -> f64 {
        let lr = self.at(step);
        match self.feedback {
            Some(rule) if step >= self.warmup_steps as f64 => (lr * state.factor).max(rule.floor()),
            _ => lr,
        }
    }

    /// Takes note of the training loss of step `step`, whose update was made. Losses of the warmup do not count.
    pub fn observe(&self, step: f64, loss: f64, state: &mut FeedbackState) {
        match self.feedback {
            _ if step < self.warmup_steps as f64 => {}
            Some(Feedback::Plateau(rule)) => rule.observe(loss, state),
            Some(Feedback::Greedy(rule)) => rule.observe(loss, state),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
