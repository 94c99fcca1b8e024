//! What is scheduled besides the rate: weight decay, betas and the batch, and what a step takes from all of them.
use super::{BatchPlan, Length, LrScaling, Rate, RawPhase, RawSchedule, RunSize, Schedule};
use crate::{Error, Result};
use serde::Serialize;

/// A number that stays as it is or follows phases.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// As configured: the constant, or what shares in percent refer to.
    pub base: f64,
    /// How it changes.
    schedule: Option<Schedule>,
}

impl Quantity {
    /// Phases of the key `key` for `base`, the value of the key `of`, which fill a run of this size. Everything is
    /// refused that a list of phases of a schedule is refused for, and values of `below` or more.
    pub fn compile(
        key: &str,
        of: &str,
        base: f64,
        phases: &[RawPhase],
        below: f64,
        run: &RunSize,
    ) -> Result<Self> {
        if phases.is_empty() {
            return Ok(Self { base, schedule: None });
        }
        if base == 0.0 {
            return Err(Error::refused(format!(
                "{key} is given, and {of} is 0; give the largest value there and lower ones in the phases"
            )));
        }
        let raw = RawSchedule {
            lr: Some(base),
            min_lr: Some(Rate::Value(0.0)),
            warmup: Some(Length::Steps(0)),
            phases: Some(phases.to_vec()),
            ..RawSchedule::default()
        };
        let schedule = raw.validate().and_then(|config| config.compile(run, None));
        let schedule = schedule.map_err(|e| Error::refused(e.to_string().replace("schedule.phases", key)))?;
        if schedule.peak() >= below {
            return Err(Error::refused(format!(
                "{key} reaches {}; {of} must stay below {below}, lower it",
                schedule.peak()
            )));
        }
        Ok(Self { base, schedule: Some(schedule) })
    }

    /// Its value at a step, which may be a fraction.
    pub fn at(&self, step: f64) -> f64 {
        self.schedule.as_ref().map_or(self.base, |schedule| schedule.at(step))
    }

    /// Whether it ever changes.
    pub fn varies(&self) -> bool {
        self.schedule.is_some()
    }
}

/// Everything that is scheduled besides the rate, as functions of the step.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantities {
    /// Steps of the run.
    pub steps: u64,
    /// Sizes of all steps.
    pub batch: BatchPlan,
    /// What smaller steps do to the rate.
    pub lr_scaling: Option<LrScaling>,
    /// Weight decay.
    pub weight_decay: Quantity,
    /// β₁ and β₂.
    pub betas: [Quantity; 2],
}

/// What one step is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Learning rate, scaled with the batch.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Factors on the decay of tensors, and of those whose decay follows the rate.
    pub decay_scale: [f64; 2],
    /// β₁ and β₂. Bias is corrected for the betas of the step alone, as PyTorch's and optax's Adam do.
    pub betas: [f64; 2],
    /// Sequences of the step.
    pub sequences: usize,
}

/// The settings of a step that are not the same in every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Varying {
    /// Sequences of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<usize>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// β₁.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// β₂.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
}

impl Quantities {
    /// What step `step` is set to: `lr` is its rate, and `peak` the highest of the schedule.
    pub fn settings(&self, step: u64, lr: f64, peak: f64) -> Settings {
        let at = self.batch.full_steps_before(step);
        let sequences = self.batch.sequences(step);
        let share = sequences as f64 / self.batch.full() as f64;
        let lr = self.lr_scaling.map_or(lr, |scaling| lr * scaling.factor(share));
        let weight_decay = self.weight_decay.at(at);
        // Not divided where it stays: groups may decay where the base is 0.
        let scale = if self.weight_decay.varies() { weight_decay / self.weight_decay.base } else { 1.0 };
        Settings {
            lr,
            weight_decay,
            decay_scale: [scale, scale * (lr / peak)],
            betas: [self.betas[0].at(at), self.betas[1].at(at)],
            sequences: sequences as usize,
        }
    }
}

impl Quantities {
    /// Those of the settings that vary in this run.
    pub fn varying(&self, settings: &Settings) -> Varying {
        let [beta1, beta2] = [0, 1].map(|i| self.betas[i].varies().then_some(settings.betas[i]));
        Varying {
            sequences: self.batch.grows().then_some(settings.sequences),
            weight_decay: self.weight_decay.varies().then_some(settings.weight_decay),
            beta1,
            beta2,
        }
    }
}

impl RawPhase {
    /// Whether its length in steps depends on the tokens or sequences of a step.
    pub fn has_token_lengths(&self) -> bool {
        let phases = Some(vec![self.clone()]);
        let raw = RawSchedule { lr: Some(1.0), phases, ..RawSchedule::default() };
        raw.validate().is_ok_and(|config| config.has_token_lengths())
    }
}
