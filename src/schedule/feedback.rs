//! Schedules that look at the loss: a factor on the rate, moved by rules, with a small state that checkpoints carry.
use super::Schedule;
pub use rules::{Better, GreedyRule, PlateauRule};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

mod rules;

/// The arguments of `plateau`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plateau {
    /// On the rate, each time the loss has stopped falling.
    pub factor: f64,
    /// So many observations in a row without an improvement are borne.
    pub patience: u32,
    /// After a reduction so many observations do not count.
    pub pause: u32,
    /// An improvement is a loss below `best·(1 − threshold)`.
    pub threshold: f64,
    /// An observation is the mean training loss of so many updates.
    pub window: u32,
    /// A reduction of the rate by no more than this is left out.
    pub eps: f64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 10, pause: 0, threshold: 1e-4, window: 100, eps: 0.0 }
    }
}

/// The arguments of `greedy`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Greedy {
    /// On the rate when the loss does not fall; its inverse while it does.
    pub factor: f64,
    /// So many updates in a row of the same kind are waited for.
    pub patience: u32,
    /// After a reduction so many updates do not count.
    pub pause: u32,
    /// After an increase so many updates do not count.
    pub pause_up: u32,
    /// An improvement is a loss below `best − threshold`.
    pub threshold: f64,
    /// The loss is the mean of so many updates.
    pub window: u32,
    /// The highest factor.
    pub ceiling: f64,
    /// After so many reductions at the lowest rate everything begins again.
    pub reset_after: u32,
    /// A change of the rate by no more than this is left out.
    pub eps: f64,
}

impl Default for Greedy {
    fn default() -> Self {
        Self {
            factor: 0.95,
            patience: 10,
            pause: 0,
            pause_up: 0,
            threshold: 1e-6,
            window: 50,
            ceiling: 1.0,
            reset_after: 500,
            eps: 0.0,
        }
    }
}

/// What moves the factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feedback {
    /// Down, when the loss has stopped falling.
    Plateau(PlateauRule),
    /// Up while the loss falls, down while it does not.
    Greedy(GreedyRule),
}

impl Plateau {
    /// The rule for a rate that stays at `lr` and goes no lower than `min_lr`.
    pub(super) fn rule(&self, lr: f64, min_lr: f64) -> Feedback {
        Feedback::Plateau(PlateauRule {
            factor: self.factor,
            patience: self.patience,
            cooldown: self.pause,
            better: Better { relative: self.threshold, ..Better::default() },
            window: self.window,
            lowest: min_lr / lr,
            floor: min_lr,
            eps: self.eps / lr,
        })
    }
}

impl Greedy {
    /// The rule for a rate that stays at `lr` and goes no lower than `min_lr`.
    pub(super) fn rule(&self, lr: f64, min_lr: f64) -> Feedback {
        Feedback::Greedy(GreedyRule {
            factor: self.factor,
            patience: self.patience,
            cooldown: self.pause,
            warmup: self.pause_up,
            better: Better { absolute: self.threshold, ..Better::default() },
            window: self.window,
            lowest: min_lr / lr,
            floor: min_lr,
            highest: self.ceiling,
            eps: self.eps / lr,
            reset_after: self.reset_after,
        })
    }
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
    /// On the rate.
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
