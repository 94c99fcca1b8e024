//! From lengths in the user's units to a [`Schedule`] in steps.
use super::{Length, Phase, PhaseConfig, Plan, Rate, Schedule, ScheduleConfig, Shape, Warmup};
use crate::{Error, Result};

/// Lengths of a phase list may exceed the run by this much: percentages add up inexactly.
const SLACK_STEPS: f64 = 1e-6;

impl ScheduleConfig {
    /// The schedule of a run of `total` steps of `tokens_per_step` tokens.
    ///
    /// Lengths are added up unrounded and each boundary is rounded to the nearest step, so phases that fill the
    /// run in percent fill it in steps. `previous` is the last rate of the run that is continued, where one is.
    /// Refused: a warmup, decay or phase list longer than the run; `warmup_from = "previous"` without one.
    pub fn compile(&self, total: u64, tokens_per_step: u64, previous: Option<f64>) -> Result<Schedule> {
        if total == 0 || tokens_per_step == 0 {
            return Err(Error::refused(format!(
                "the run has {total} steps of {tokens_per_step} tokens; a schedule needs at least one of each"
            )));
        }
        let exact = |length: Length| length.exact_steps(total, tokens_per_step);
        let warmup_exact = exact(self.warmup);
        if warmup_exact > total as f64 + SLACK_STEPS {
            return Err(Error::refused(format!(
                "schedule.warmup is {} (steps: {}), the run has {total} steps; make it shorter than the run",
                self.warmup,
                round(warmup_exact)
            )));
        }
        let warmup = Warmup {
            steps: round(warmup_exact).min(total),
            from: self.warmup_start(previous)?,
            to: self.lr,
            convention: self.warmup_convention,
        };
        let list = self.phase_list();
        let lengths = self.fill(&list, total, warmup_exact, exact)?;
        let mut schedule = Schedule { warmup, phases: Vec::new(), min_lr: self.min_lr, total };
        let (mut end_exact, mut start, mut rate) = (warmup_exact, warmup.steps, self.lr);
        for (phase, length) in list.iter().zip(lengths) {
            end_exact += length;
            let end = round(end_exact).clamp(start, total);
            let from = match phase.from {
                Rate::Previous => rate,
                Rate::Value(from) => from,
            };
            let to = phase.to.unwrap_or(from);
            let phase = Phase { start, steps: end - start, shape: phase.shape, from, to };
            (start, rate) = (end, phase.last());
            schedule.phases.push(phase);
        }
        Ok(schedule)
    }

    /// Whether its steps depend on the tokens of a step.
    pub fn has_token_lengths(&self) -> bool {
        let phases = self.phase_list();
        let mut lengths = phases.iter().filter_map(|phase| phase.length).chain([self.warmup]);
        lengths.any(|length| matches!(length, Length::Tokens(_)))
    }

    fn warmup_start(&self, previous: Option<f64>) -> Result<f64> {
        match self.warmup_from {
            Rate::Value(from) => Ok(from),
            Rate::Previous => previous.ok_or_else(|| {
                Error::refused(
                    "schedule.warmup_from is \"previous\" but no run is continued; point start.from at a rewarm run or checkpoint, or give a number",
                )
            }),
        }
    }

    /// The named presets as phases.
    fn phase_list(&self) -> Vec<PhaseConfig> {
        let phase = |shape, length, to| PhaseConfig { shape, length, from: Rate::Previous, to };
        match &self.plan {
            Plan::Constant => vec![phase(Shape::Constant, None, None)],
            Plan::Linear => vec![phase(Shape::Linear, None, Some(self.min_lr))],
            Plan::Cosine => vec![phase(Shape::Cosine, None, Some(self.min_lr))],
            Plan::Wsd { decay, shape } => {
                vec![phase(Shape::Constant, None, None), phase(*shape, Some(*decay), Some(self.min_lr))]
            }
            Plan::Phases(phases) => phases.clone(),
        }
    }

    /// The exact length of each phase; the one without a length gets what the others leave.
    fn fill(
        &self,
        list: &[PhaseConfig],
        total: u64,
        warmup: f64,
        exact: impl Fn(Length) -> f64,
    ) -> Result<Vec<f64>> {
        let given: f64 = list.iter().filter_map(|phase| phase.length).map(&exact).sum();
        let rest = total as f64 - warmup - given;
        if rest < -SLACK_STEPS {
            let key =
                if matches!(self.plan, Plan::Wsd { .. }) { "schedule.decay" } else { "schedule.phases" };
            return Err(Error::refused(format!(
                "{key} takes {} steps after a warmup of {}, the run has {total}; shorten them or lengthen the run (train.steps)",
                round(given),
                round(warmup)
            )));
        }
        Ok(list.iter().map(|phase| phase.length.map_or(rest.max(0.0), &exact)).collect())
    }
}

/// To the nearest step. Lengths are far below 2^53 and not negative.
fn round(steps: f64) -> u64 {
    steps.round() as u64
}
