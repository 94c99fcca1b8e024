//! The configuration of a run: one TOML file and `--set` overrides.
//!
//! Parse, then mean: [`RawConfig`] is what was written, with unknown keys and wrong kinds refused by name;
//! [`Config`] is what it means, with every default filled in and impossible combinations refused.
mod batch;
mod elsewhere;
mod evaluation;
mod keys;
mod layers;
mod limits;
mod milestones;
mod mixture;
mod page;
mod place;
mod preview;
mod raw;
mod refuse;
mod resume;
mod sections;
mod skip;
mod span;
mod table;
#[cfg(test)]
mod tests;
mod validate;

pub use batch::{Batch, BatchRamp, BatchStage, Growth, RawBatch};
pub use evaluation::{Dense, Eval, EvalSteps, Role, ValidationSet};
pub use keys::set_for_flag;
pub(crate) use layers::parse_toml;
pub use limits::{Offset, WhenEmpty};
pub use milestones::{MilestoneSteps, Milestones};
pub use mixture::{HELDOUT, MixtureSource};
pub use page::listing;
pub use preview::Preview;
pub use raw::{RawConfig, RawData, RawHead, RawLog, RawModel, RawStart, RawTrain};
pub use resume::{Difference, DifferenceKind, resume_differences, resume_help};
pub use sections::{
    Budget, Checkpoint, Data, DataStart, DocumentMode, Head, Model, Optim, OptimizerStart, Overlap,
    PositionMode, Start,
};
pub use skip::{Documents, Skip};
pub use span::{Cadence, TimeSpan};

use crate::device::DeviceName;
use crate::model::{ModelConfig, Precision, Recompute};
use crate::schedule::{Quantities, RawSchedule, Schedule, ScheduleConfig, TokenCount};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A validated run configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the run lives.
    pub run_dir: PathBuf,
    /// Seed of initialisation and of stochastic rounding, and of what has no key of its own in `[data]`.
    pub seed: u64,
    /// Worker threads; 0: all cores.
    pub threads: usize,
    /// Where the run computes.
    pub device: DeviceName,
    /// `[model]`: sizes, or the model to start from.
    pub model: Model,
    /// `[start]`; `None`: from scratch.
    pub start: Option<Start>,
    /// `[data]`: corpora, split and sequence length.
    pub data: Data,
    /// `[batch]`: sequences of a step and of a micro-batch.
    pub batch: Batch,
    /// `[optim]`: AdamW, clipping and groups.
    pub optim: Optim,
    /// `[schedule]`: the learning rate.
    pub schedule: ScheduleConfig,
    /// `[schedule]` as written, where a rate of it is the last one of the run that is started from: until that is known,
    /// [`Config::schedule`] has a stand-in for it ([`Config::settle_rates`]).
    pub unsettled: Option<RawSchedule>,
    /// Length of the run, from `[train]`.
    pub train: Budget,
    /// `train.recompute`: what the backward computes again.
    pub recompute: Recompute,
    /// `train.precision`: what is kept in which format.
    pub precision: Precision,
    /// `train.ema`: decay of the moving average of the weights, where one is kept.
    pub ema: Option<f64>,
    /// `train.separate_bias_gradients`: whether a kernel of its own sums them.
    pub separate_bias_gradients: bool,
    /// `[eval]`: how often, and on how much.
    pub eval: Eval,
    /// `[checkpoint]`: how often, and how many stay.
    pub checkpoint: Checkpoint,
    /// `log.tensorboard`: whether event files are written beside the log.
    pub tensorboard: bool,
    /// `[head]`: rows of logits at once.
    pub head: Head,
}

impl Config {
    /// Reads the file at `path` (`None`: none), applies `sets` (`a.b=value`) in order, and validates.
    /// Everything wrong with it is [`Error::Refused`] and names the key.
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self> {
        RawConfig::load(path, sets)?.validate()
    }

    /// As [`Config::load`], with the keys `unset` taken out of the file before others are set.
    pub fn load_without(path: Option<&Path>, unset: &[String], sets: &[String]) -> Result<Self> {
        RawConfig::load_without(path, unset, sets)?.validate()
    }

    /// As [`Config::load`], of a text.
    pub fn from_toml_str(text: &str, sets: &[String]) -> Result<Self> {
        RawConfig::from_toml_str(text, "configuration", sets)?.validate()
    }

    /// The validated sizes of a model from scratch; `None` when the run starts from a trained one.
    pub fn model_config(&self) -> Result<Option<ModelConfig>> {
        self.model.config.as_ref().map(|config| config.validate().map(|()| config.clone())).transpose()
    }

    /// Key of the order of the data: [`Config::seed`] where no other was given or inherited, as in runs from before the key.
    pub fn data_seed(&self) -> u64 {
        self.data.seed.unwrap_or(self.seed)
    }

    /// Key of the split into documents to train on and those held out, likewise.
    pub fn split_seed(&self) -> u64 {
        self.data.split_seed.unwrap_or(self.seed)
    }

    /// Tokens of a sequence: `data.seq_len`, by default all that `model` was made for. More is refused.
    pub fn seq_len(&self, model: &ModelConfig) -> Result<usize> {
        let longest = model.max_position_embeddings;
        let seq_len = self.data.seq_len.unwrap_or(longest);
        if seq_len > longest {
            return Err(Error::refused(format!(
                "data.seq_len is {seq_len}, the model was made for at most model.max_position_embeddings = {longest}; lower data.seq_len"
            )));
        }
        Ok(seq_len)
    }

    /// Targets of the windows that the order of the data permutes: `data.window`, by default as many as those of a sequence.
    /// Fewer are refused.
    pub fn window(&self, seq_len: usize) -> Result<usize> {
        let window = self.data.window.unwrap_or(seq_len);
        if window < seq_len {
            return Err(Error::refused(format!(
                "data.window is {window} and data.seq_len {seq_len}: a sequence joins two windows at most; raise data.window to \
                 the longest sequence of all phases, or shorten data.seq_len"
            )));
        }
        Ok(window)
    }

    /// Tokens of an optimizer step; where the batch grows, in the end.
    pub fn tokens_per_step(&self, seq_len: usize) -> u64 {
        self.batch.sequences as u64 * seq_len as u64 // both below 2^31
    }

    /// Optimizer steps of the run; a budget in tokens is rounded up.
    pub fn total_steps(&self, seq_len: usize) -> u64 {
        match self.train {
            Budget::Steps(steps) => steps,
            Budget::Tokens(tokens) => self.batch.plan(seq_len).steps_for(tokens.div_ceil(seq_len as u64)),
        }
    }

    /// Training tokens of the run.
    pub fn total_tokens(&self, seq_len: usize) -> u64 {
        let samples = self.batch.plan(seq_len).samples_before(self.total_steps(seq_len));
        samples.saturating_mul(seq_len as u64)
    }

    /// The schedule in steps. `previous` is the last rate of the run this one starts from, where it has one.
    pub fn compile_schedule(&self, seq_len: usize, previous: Option<f64>) -> Result<Schedule> {
        self.batch
            .for_schedules(seq_len, self.total_steps(seq_len), |run| self.schedule.compile(run, previous))
    }

    /// Puts `previous`, the last rate of the run that this one starts from, where `schedule.lr` or the first phase refers to
    /// it. Refused where it is needed and there is none.
    pub fn settle_rates(&mut self, previous: Option<f64>) -> Result<()> {
        if let Some(written) = self.unsettled.take() {
            self.schedule = written.settled(previous)?.validate_after(self.keeps_moments())?;
        }
        Ok(())
    }

    /// Whether the moments of the run that this one starts from are taken over.
    pub fn keeps_moments(&self) -> bool {
        self.start.as_ref().is_some_and(|start| start.optimizer == OptimizerStart::Keep)
    }

    /// What is scheduled besides the rate.
    pub fn quantities(&self, seq_len: usize) -> Result<Quantities> {
        self.optim.quantities(&self.batch, seq_len, self.total_steps(seq_len))
    }

    /// The whole configuration as TOML, defaults included; [`Config::from_toml_str`] gives it back.
    pub fn resolved_toml(&self) -> String {
        self.to_table().to_string()
    }

    /// As [`Config::resolved_toml`], as JSON with the same keys.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self.to_table())
            .expect("a configuration has no dates, and no keys other than strings")
    }

    fn to_table(&self) -> Table {
        let mut table = Table::try_from(self.to_raw())
            .expect("paths came from UTF-8 text, counts from an i64, and every type has a TOML form");
        table.retain(|_, value| !matches!(value, Value::Table(section) if section.is_empty()));
        table
    }

    /// What one would write to get this configuration, with every key given that is settled.
    fn to_raw(&self) -> RawConfig {
        let mut fields = self.model.config.as_ref().map_or_else(Table::new, |config| {
            Table::try_from(config).expect("sizes are below 2^31 and names are plain identifiers")
        });
        if let Some(gelu) = self.model.gelu {
            let gelu = Value::try_from(gelu).expect("an enum without data is a string");
            fields.insert("gelu".into(), gelu);
        }
        let (steps, tokens) = match self.train {
            Budget::Steps(steps) => (Some(steps), None),
            Budget::Tokens(tokens) => (None, Some(TokenCount(tokens))),
        };
        RawConfig {
            run_dir: Some(self.run_dir.clone()),
            seed: self.seed,
            threads: self.threads,
            device: self.device,
            model: RawModel {
                preset: self.model.preset.clone(),
                init: self.model.config.is_some().then_some(self.model.init),
                fields,
            },
            start: RawStart {
                from: self.start.as_ref().map(|start| start.from.clone()),
                optimizer: self.start.as_ref().map(|start| start.optimizer),
                // Left out where it has its default: runs from before the key are to be resumed.
                data: self.start.as_ref().map(|start| start.data).filter(|data| *data == DataStart::Continue),
            },
            data: RawData {
                train: self.data.train.clone(),
                mixture: self.data.mixture.clone(),
                seq_len: self.data.seq_len,
                window: self.data.window,
                seed: self.data.seed,
                split_seed: self.data.split_seed,
                overlap: self.data.overlap,
                documents: self.data.documents,
                positions: self.data.positions,
                loss_weights: self.data.loss_weights,
                validation_fraction: self.data.validation_fraction,
                role: self.data.role,
                tokenizer: self.data.tokenizer.clone(),
                skip: self.data.skip.clone(),
                validation: self.data.validation.clone(),
            },
            batch: self.batch.to_raw(),
            optim: self.optim.clone(),
            schedule: self.unsettled.clone().unwrap_or_else(|| self.schedule.to_raw()),
            train: RawTrain {
                steps,
                tokens,
                recompute: self.recompute,
                precision: Some(self.precision),
                ema: self.ema,
                separate_bias_gradients: self.separate_bias_gradients,
            },
            eval: self.eval,
            checkpoint: self.checkpoint.clone(),
            log: RawLog { tensorboard: self.tensorboard },
            head: RawHead { chunk_rows: self.head.chunk_rows },
        }
    }
}
