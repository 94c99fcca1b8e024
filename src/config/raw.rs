//! The configuration as written: what `validate` turns into a [`super::Config`], and back.
use super::{
    Checkpoint, DataStart, DocumentMode, Eval, MixtureSource, Optim, OptimizerStart, Overlap, PositionMode,
    RawBatch, Role, Skip, ValidationSet,
};
use crate::device::DeviceName;
use crate::model::{Init, Precision, Recompute};
use crate::schedule::{RawSchedule, TokenCount};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use toml::Table;

/// A run configuration with the defaults of single keys; what depends on other keys is still `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Where the run lives.
    pub run_dir: Option<PathBuf>,
    /// Seed of initialisation, and of the order and split of the data where those have no key of their own.
    pub seed: u64,
    /// Worker threads; 0: all cores.
    pub threads: usize,
    /// `device`, by its name.
    pub device: DeviceName,
    /// `[model]` as written.
    pub model: RawModel,
    /// `[start]` as written.
    pub start: RawStart,
    /// `[data]` as written.
    pub data: RawData,
    /// `[batch]` as written.
    pub batch: RawBatch,
    /// `[optim]`, whose keys all have defaults.
    pub optim: Optim,
    /// `[schedule]` as written.
    pub schedule: RawSchedule,
    /// `[train]` as written.
    pub train: RawTrain,
    /// `[eval]`, whose keys all have defaults.
    pub eval: Eval,
    /// `[checkpoint]`, whose keys all have defaults.
    pub checkpoint: Checkpoint,
    /// `[log]`; left out where it has its defaults, as in runs from before the section.
    #[serde(skip_serializing_if = "is_default")]
    pub log: RawLog,
    /// `[head]` as written.
    pub head: RawHead,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            run_dir: None,
            seed: 1234,
            threads: 0,
            device: DeviceName::Cpu,
            model: RawModel::default(),
            start: RawStart::default(),
            data: RawData::default(),
            batch: RawBatch::default(),
            optim: Optim::default(),
            schedule: RawSchedule::default(),
            train: RawTrain::default(),
            eval: Eval::default(),
            checkpoint: Checkpoint::default(),
            log: RawLog::default(),
            head: RawHead::default(),
        }
    }
}

/// `[model]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawModel {
    /// Name of a published Pythia model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// How weights are drawn, where none are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// Explicit fields of [`crate::model::ModelConfig`], by its names; they override the preset.
    #[serde(flatten)]
    pub fields: Table,
}

/// `[log]`, whose keys all have defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    /// Whether event files are written beside the log.
    pub tensorboard: bool,
}

/// `[head]` as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawHead {
    /// Rows of logits at once; the default depends on the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_rows: Option<usize>,
}

/// `[start]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawStart {
    /// Directory of the trained model.
    pub from: Option<PathBuf>,
    /// What becomes of its optimizer state.
    pub optimizer: Option<OptimizerStart>,
    /// Where in the data the run begins.
    pub data: Option<DataStart>,
}

/// `[data]` as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawData {
    /// Corpora to train on; not together with `mixture`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
    /// Several sources, each with its share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mixture: Vec<MixtureSource>,
    /// Tokens of a sequence.
    pub seq_len: Option<usize>,
    /// Targets of a window; left out where it is as long as a sequence, as in runs from before the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Key of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Key of the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// What becomes of a phase whose split overlaps that of an earlier one; left out where it is refused, as in runs from
    /// before the key.
    #[serde(skip_serializing_if = "is_default")]
    pub overlap: Overlap,
    /// What attention sees of documents; left out where they are joined, as in runs from before the key.
    #[serde(skip_serializing_if = "is_default")]
    pub documents: DocumentMode,
    /// Where positions are counted from; left out likewise.
    #[serde(skip_serializing_if = "is_default")]
    pub positions: PositionMode,
    /// Whether losses are weighted; left out where they are not, as in runs from before the key.
    #[serde(skip_serializing_if = "is_default")]
    pub loss_weights: bool,
    /// Share of training documents set aside.
    pub validation_fraction: f64,
    /// What the loss of what is set aside of `train` is compared for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// `tokenizer.json`, or the folder that has it.
    pub tokenizer: Option<PathBuf>,
    /// What of the training data is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<Skip>,
    /// Further validation sets, each with a name.
    pub validation: Vec<ValidationSet>,
}

/// `[train]` as written: exactly one of steps and tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawTrain {
    /// Length of the run in optimizer steps.
    pub steps: Option<u64>,
    /// Length of the run in training tokens.
    pub tokens: Option<TokenCount>,
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// What is kept in which format; the default depends on the device.
    pub precision: Option<Precision>,
    /// Decay of a moving average of the weights.
    pub ema: Option<f64>,
    /// Whether gradients of biases are always summed by kernels of their own; left out where it is not, as in runs from
    /// before the key.
    #[serde(skip_serializing_if = "is_default")]
    pub separate_bias_gradients: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
