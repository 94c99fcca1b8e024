//! The schedule of a configuration that need not be complete, for `rewarm schedule show`.
use super::RawConfig;
use crate::model::preset;
use crate::schedule::{Rate, RunSize, Schedule};
use crate::{Error, Result};

impl RawConfig {
    /// The schedule alone: a run directory, data and a model need not be given. `steps` replaces `[train]`.
    /// Refused where the run's length is missing, or tokens are to become steps and `data.seq_len` is unknown.
    pub fn preview_schedule(&self, steps: Option<u64>) -> Result<Schedule> {
        let config = self.schedule.validate()?;
        if config.warmup_from == Rate::Previous {
            return Err(Error::refused(
                "schedule.warmup_from is \"previous\", a rate that is known when the run starts; to see a curve give a number, as in --set schedule.warmup_from=1e-5",
            ));
        }
        let steps = steps.or(self.train.steps);
        if steps.is_none() && self.train.tokens.is_none() {
            return Err(Error::refused(
                "the length of the run is missing; give --steps, train.steps or train.tokens",
            ));
        }
        let tokens_per_step = match self.preview_tokens_per_step() {
            Some(tokens) if tokens > 0 => tokens,
            _ if steps.is_some() && !config.has_token_lengths() => 1, // nothing depends on it
            _ => {
                return Err(Error::refused(
                    "a length is given in tokens but the tokens of a step are unknown; give data.seq_len and batch.sequences",
                ));
            }
        };
        let of_tokens = self.train.tokens.map_or(0, |tokens| tokens.0.div_ceil(tokens_per_step));
        let total = steps.unwrap_or(of_tokens);
        let samples_per_step = self.batch.sequences as u64;
        config.compile(&RunSize { steps: total, tokens_per_step, samples_per_step }, None)
    }

    /// Tokens of a step, where they are known: sequences times `data.seq_len`, else what the model section says.
    pub fn preview_tokens_per_step(&self) -> Option<u64> {
        let field = || usize::try_from(self.model.fields.get("max_position_embeddings")?.as_integer()?).ok();
        let preset = || preset(self.model.preset.as_deref()?).map(|model| model.max_position_embeddings);
        let seq_len = self.data.seq_len.or_else(field).or_else(preset)?;
        (seq_len as u64).checked_mul(self.batch.sequences as u64)
    }
}
