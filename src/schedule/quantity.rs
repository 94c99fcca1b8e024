//! What is scheduled besides the rate: weight decay, betas and the batch, and what a step takes from all of them.
use super::leg::{Course, Stretch};
use super::{BatchPlan, Counter, LrScaling, RawPhase, RunSize, Schedule, compile, validate};
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
    /// The phases of the key `key` for `base`, in a run of this size. Refused: what a list of phases of a schedule is
    /// refused for, and phases of 0.
    pub fn compile(key: &str, base: f64, phases: &[RawPhase], run: &RunSize) -> Result<Self> {
        if phases.is_empty() {
            return Ok(Self { base, schedule: None });
        }
        if !(base.is_finite() && base > 0.0) {
            return Err(Error::refused(format!(
                "{key} is given, and the value that it changes is {base}; give its largest value there, and lower ones in the phases"
            )));
        }
        run.check()?;
        let legs = compile::list(&validate::list(phases, key)?, key, &Stretch::behind(0.0, base, 0.0, run))?;
        let course = Course::new(run.steps).warmed_up(base, 0.0).follow(&legs)?;
        let schedule = course.finish(None).schedule(run.steps, Counter::Attempted);
        Ok(Self { base, schedule: Some(schedule) })
    }

    /// Itself, refused where it reaches `bound`.
    pub fn below(self, bound: f64, key: &str) -> Result<Self> {
        match self.schedule.as_ref().map(Schedule::peak).filter(|peak| *peak >= bound) {
            Some(peak) => {
                Err(Error::refused(format!("{key} reaches {peak}; it must stay below {bound}, lower it")))
            }
            None => Ok(self),
        }
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
    /// Decoupled weight decay, times the rate.
    pub weight_decay: Quantity,
    /// β₁ and β₂, the decays of the two moments.
    pub betas: [Quantity; 2],
}

/// What one step is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Learning rate, scaled with the batch.
    pub lr: f64,
    /// Decoupled weight decay, times the rate.
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
    /// Weight decay, where it follows phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// β₁, where it follows phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// β₂, where it follows phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
}

impl Quantities {
    /// What step `step` is set to: `at` is what schedules count there, `lr` the rate, and `peak` the highest of the
    /// schedule.
    pub fn settings(&self, step: u64, at: f64, lr: f64, peak: f64) -> Settings {
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

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Table;

    fn quantity(base: f64, phases: &str, run: &RunSize) -> Quantity {
        let mut list: Table = phases.parse().unwrap();
        let phases = list.remove("phases").map(|list| list.try_into::<Vec<RawPhase>>().unwrap());
        Quantity::compile("key", base, &phases.unwrap_or_default(), run).unwrap()
    }

    fn quantities(batch: BatchPlan, lr_scaling: Option<LrScaling>) -> Quantities {
        let run = RunSize { steps: 100, tokens_per_step: 32, samples_per_step: 4 };
        Quantities {
            steps: 100,
            batch,
            lr_scaling,
            weight_decay: quantity(0.1, "phases = [{shape = \"linear\", from = 0, to = \"100%\"}]", &run),
            betas: [
                quantity(0.95, "phases = [{shape = \"cosine\", to = 0.85}]", &run),
                quantity(0.99, "", &run),
            ],
        }
    }

    #[test]
    fn a_step_is_set_to_what_its_phases_say() {
        let q = quantities(BatchPlan::new(4, []), None);
        let s = q.settings(60, 50.0, 0.25, 0.5);
        assert_eq!((s.lr, s.sequences, s.betas[1]), (0.25, 4, 0.99));
        assert!((s.weight_decay - 0.05).abs() < 1e-15 && (s.betas[0] - 0.9).abs() < 1e-15, "{s:?}");
        // Megatron's weight decay grows from 0, too; AdamC's follows the rate on top of that.
        assert!((s.decay_scale[0] - 0.5).abs() < 1e-15 && (s.decay_scale[1] - 0.25).abs() < 1e-15);
        assert_eq!(q.settings(0, 0.0, 0.25, 0.5).decay_scale, [0.0; 2]);
        let constant = Quantity { base: 0.0, schedule: None };
        let s = Quantities { weight_decay: constant, ..q }.settings(50, 50.0, 0.25, 0.5);
        assert_eq!((s.weight_decay, s.decay_scale), (0.0, [1.0, 0.5]), "groups may still decay");
    }

    #[test]
    fn a_growing_batch_counts_samples_and_scales_the_rate() {
        let q = |scaling| quantities(BatchPlan::new(1, [(8, 2), (16, 4)]), scaling);
        // Eight steps of one, four of two: 16 samples are four steps of four.
        let settings = |q: Quantities, step| q.settings(step, q.batch.full_steps_before(step), 1.0, 1.0);
        assert_eq!(settings(q(None), 12), settings(quantities(BatchPlan::new(4, []), None), 4));
        let rate = |scaling, step| settings(q(Some(scaling)), step).lr;
        assert_eq!([0, 8, 12].map(|step| rate(LrScaling::Linear, step)), [0.25, 0.5, 1.0]);
        assert_eq!([0, 8, 12].map(|step| rate(LrScaling::Sqrt, step)), [0.5, 0.5f64.sqrt(), 1.0]);
    }

    #[test]
    fn only_what_varies_is_logged() {
        let q = quantities(BatchPlan::new(4, []), None);
        let varying = q.varying(&q.settings(0, 0.0, 1.0, 1.0));
        assert!(varying.sequences.is_none() && varying.beta2.is_none());
        assert_eq!((varying.weight_decay, varying.beta1), (Some(0.0), Some(0.95)));
    }
}
