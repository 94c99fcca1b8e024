//! The schedule of a configuration that need not be complete, for `rewarm schedule show`.
use super::{OptimizerStart, RawConfig};
use crate::model::preset;
use crate::schedule::{Quantities, Rate, Schedule, TokenCount};
use crate::{Error, Result};

/// What is known of a run's plan.
pub struct Preview {
    /// The rates of the run.
    pub schedule: Schedule,
    /// What else is scheduled.
    pub quantities: Quantities,
    /// Tokens of a sequence, where they are known.
    pub seq_len: Option<u64>,
}

impl RawConfig {
    /// The schedule of [`RawConfig::preview`].
    pub fn preview_schedule(&self, steps: Option<u64>) -> Result<Schedule> {
        self.preview(steps).map(|preview| preview.schedule)
    }

    /// The plan alone: a run directory, data and a model need not be given. `steps` replaces `[train]`.
    /// Refused where the run's length is missing, or tokens are to become steps and `data.seq_len` is unknown.
    pub fn preview(&self, steps: Option<u64>) -> Result<Preview> {
        self.check()?;
        let known_later = |key: &str| {
            Err(Error::refused(format!(
                "{key} is \"previous\", a rate that is known when the run starts; to see a curve give a number, as in --set {key}=1e-5"
            )))
        };
        if let Some(key) = self.schedule.refers_back() {
            return known_later(key);
        }
        let config = self.schedule.validate_after(self.start.optimizer == Some(OptimizerStart::Keep))?;
        if config.warmup_from == Rate::Previous {
            return known_later("schedule.warmup_from");
        }
        let steps = steps.or(self.train.steps);
        if steps.is_none() && self.train.tokens.is_none() {
            return Err(Error::refused(
                "the length of the run is missing; give --steps, train.steps or train.tokens",
            ));
        }
        let batch = self.batch.validate()?;
        let optim = self.optim.validated()?;
        let known = self.preview_seq_len().filter(|seq_len| *seq_len > 0);
        let depends = config.has_token_lengths() || batch.has_token_lengths() || optim.has_token_lengths();
        let seq_len = match known {
            Some(seq_len) => seq_len,
            None if steps.is_some() && !depends => 1,
            None => {
                return Err(Error::refused(
                    "a length is given in tokens but the tokens of a step are unknown; give data.seq_len and batch.sequences",
                ));
            }
        };
        let of_tokens = |tokens: TokenCount| batch.plan(seq_len).steps_for(tokens.0.div_ceil(seq_len as u64));
        let total = steps.or(self.train.tokens.map(of_tokens)).unwrap_or(0);
        let schedule = batch.for_schedules(seq_len, total, |run| config.compile(run, None))?;
        let quantities = optim.quantities(&batch, seq_len, total)?;
        Ok(Preview { schedule, quantities, seq_len: known.map(|seq_len| seq_len as u64) })
    }

    /// Tokens of a step, where they are known: sequences times those of a sequence.
    pub fn preview_tokens_per_step(&self) -> Option<u64> {
        (self.preview_seq_len()? as u64).checked_mul(self.batch.sequences as u64)
    }

    /// `data.seq_len`, else what the model section says.
    fn preview_seq_len(&self) -> Option<usize> {
        let field = || usize::try_from(self.model.fields.get("max_position_embeddings")?.as_integer()?).ok();
        let preset = || preset(self.model.preset.as_deref()?).map(|model| model.max_position_embeddings);
        self.data.seq_len.or_else(field).or_else(preset)
    }
}
