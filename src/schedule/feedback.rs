//! Schedules that look at the loss: a factor on the rate, moved by rules, with a small state that checkpoints carry.
use super::Schedule;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

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
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 10, pause: 0, threshold: 1e-4, window: 100 }
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
        }
    }
}

/// What moves the factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feedback {
    /// Down, when the loss has stopped falling.
    Plateau(Plateau),
    /// Up while the loss falls, down while it does not.
    Greedy(Greedy),
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
    /// The rate of step `step` (maybe a fraction) of a schedule that may look at the loss: [`Schedule::at`] behind the warmup times the
    /// factor of `state`, but not below `min_lr`.
    pub fn lr_after(&self, step: f64, state: &FeedbackState) -> f64 {
        let lr = self.at(step);
        let follows = self.feedback.is_some() && step >= self.warmup_steps as f64;
        if follows { (lr * state.factor).max(self.min_lr()) } else { lr }
    }

    /// Takes note of the training loss of step `step`, whose update was made. Losses of the warmup do not count.
    pub fn observe(&self, step: f64, loss: f64, state: &mut FeedbackState) {
        let lowest = self.min_lr() / self.at(step);
        match self.feedback {
            _ if step < self.warmup_steps as f64 => {}
            Some(Feedback::Plateau(rule)) => rule.observe(loss, lowest, state),
            Some(Feedback::Greedy(rule)) => rule.observe(loss, lowest, state),
            None => {}
        }
    }

    /// The floor of the last phase.
    fn min_lr(&self) -> f64 {
        self.phases().last().map_or(0.0, |phase| phase.floor)
    }
}

impl FeedbackState {
    /// Notes a loss; the mean of the latest `window`.
    fn smooth(&mut self, loss: f64, window: u32) -> f64 {
        self.losses.push_back(loss);
        while self.losses.len() > window as usize {
            self.losses.pop_front();
        }
        self.losses.iter().sum::<f64>() / self.losses.len() as f64
    }

    /// Compares with the best so far, where a loss below `bar` of it is better.
    fn judge(&mut self, loss: f64, bar: impl Fn(f64) -> f64) {
        if self.best.is_none_or(|best| loss < bar(best)) {
            (self.best, self.good, self.bad) = (Some(loss), self.good + 1, 0);
        } else {
            (self.good, self.bad) = (0, self.bad + 1);
        }
    }
}

impl Plateau {
    /// As torch's `ReduceLROnPlateau` with `mode = "min"`, `threshold_mode = "rel"` and `eps = 0`, once per window.
    fn observe(&self, loss: f64, lowest: f64, state: &mut FeedbackState) {
        let mean = state.smooth(loss, self.window);
        if state.losses.len() < self.window as usize {
            return;
        }
        state.losses.clear();
        state.judge(mean, |best| best * (1.0 - self.threshold));
        if state.pause > 0 {
            (state.pause, state.bad) = (state.pause - 1, 0);
        }
        if state.bad > self.patience {
            (state.factor, state.pause, state.bad) =
                ((state.factor * self.factor).max(lowest), self.pause, 0);
        }
    }
}

impl Greedy {
    /// As Hugging Face's `GreedyLR` with `mode = "min"`, `threshold_mode = "abs"`, `smooth = True` and `eps = 0`.
    fn observe(&self, loss: f64, lowest: f64, state: &mut FeedbackState) {
        let mean = state.smooth(loss, self.window);
        if state.pause > 0 {
            (state.pause, state.good, state.bad) = (state.pause - 1, 0, 0);
            return;
        }
        state.judge(mean, |best| best - self.threshold);
        if state.good > self.patience {
            state.factor = (state.factor / self.factor).min(self.ceiling);
            (state.pause, state.good, state.at_floor) = (self.pause_up, 0, 0);
        } else if state.bad > self.patience {
            state.factor = (state.factor * self.factor).max(lowest);
            state.at_floor += u32::from(state.factor <= lowest);
            if state.at_floor > 0 && state.at_floor >= self.reset_after {
                *state = FeedbackState::default();
            }
            (state.pause, state.bad) = (self.pause, 0);
        }
    }
}

#[cfg(test)]
mod tests;
