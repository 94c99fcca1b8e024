//! How the factor moves, observation by observation. Factors, and the least change of one, are shares of the base rate.
use super::FeedbackState;

/// Which observations are better than the best before them: by default, the lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Better {
    /// Whether higher ones are.
    pub rises: bool,
    /// By at least this share of the best.
    pub relative: f64,
    /// And by at least so much.
    pub absolute: f64,
}

impl Better {
    fn than(&self, best: Option<f64>, loss: f64) -> bool {
        if self.rises {
            loss > best.unwrap_or(f64::NEG_INFINITY) * (1.0 + self.relative) + self.absolute
        } else {
            loss < best.unwrap_or(f64::INFINITY) * (1.0 - self.relative) - self.absolute
        }
    }
}

/// Down when there is nothing better for long: torch's `ReduceLROnPlateau`, once per window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlateauRule {
    /// On the factor, each time.
    pub factor: f64,
    /// So many observations in a row that are not better are borne.
    pub patience: u32,
    /// After a reduction so many observations do not count.
    pub cooldown: u32,
    /// What an improvement is.
    pub better: Better,
    /// An observation is the mean of so many losses.
    pub window: u32,
    /// No reduction leads below this factor.
    pub lowest: f64,
    /// No rate is below this one.
    pub floor: f64,
    /// A reduction by no more than this is left out.
    pub eps: f64,
}

/// Down likewise, and up when everything is better for long: Hugging Face's `GreedyLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GreedyRule {
    /// On the factor, down; its inverse, up.
    pub factor: f64,
    /// So many observations in a row of the same kind are waited for.
    pub patience: u32,
    /// After a reduction so many observations do not count.
    pub cooldown: u32,
    /// After an increase so many observations do not count.
    pub warmup: u32,
    /// What an improvement is.
    pub better: Better,
    /// An observation is the mean of the latest so many losses.
    pub window: u32,
    /// No reduction leads below this factor.
    pub lowest: f64,
    /// No rate is below this one.
    pub floor: f64,
    /// No increase leads above this factor.
    pub highest: f64,
    /// A change by no more than this is left out.
    pub eps: f64,
    /// After so many reductions at the lowest factor everything begins again.
    pub reset_after: u32,
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

    fn judge(&mut self, loss: f64, better: Better) {
        if better.than(self.best, loss) {
            (self.best, self.good, self.bad) = (Some(loss), self.good.saturating_add(1), 0);
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
        }
    }

    fn reduce(&mut self, times: f64, lowest: f64, eps: f64) {
        let factor = (self.factor * times).max(lowest);
        if self.factor - factor > eps {
            self.factor = factor;
        }
    }
}

impl PlateauRule {
    pub(super) fn observe(&self, loss: f64, state: &mut FeedbackState) {
        let mean = state.smooth(loss, self.window);
        if state.losses.len() < self.window as usize {
            return;
        }
        state.losses.clear();
        state.judge(mean, self.better);
        if state.pause > 0 {
            (state.pause, state.bad) = (state.pause - 1, 0);
        }
        if state.bad > self.patience {
            state.reduce(self.factor, self.lowest, self.eps);
            (state.pause, state.bad) = (self.cooldown, 0);
        }
    }
}

impl GreedyRule {
    pub(super) fn observe(&self, loss: f64, state: &mut FeedbackState) {
        let mean = state.smooth(loss, self.window);
        if state.pause > 0 {
            (state.pause, state.good, state.bad) = (state.pause - 1, 0, 0);
            return;
        }
        state.judge(mean, self.better);
        if state.good > self.patience {
            let factor = (state.factor / self.factor).min(self.highest);
            if factor - state.factor > self.eps {
                state.factor = factor;
            }
            (state.pause, state.good, state.at_floor) = (self.warmup, 0, 0);
        } else if state.bad > self.patience {
            state.reduce(self.factor, self.lowest, self.eps);
            state.at_floor = state.at_floor.saturating_add(u32::from(state.factor <= self.lowest));
            if state.at_floor > 0 && state.at_floor >= self.reset_after {
                *state = FeedbackState::default();
            }
            (state.pause, state.bad) = (self.cooldown, 0);
        }
    }
}
