//! The sections of a validated configuration.
use super::{Batch, Cadence, HELDOUT, Milestones, MixtureSource, Role, Skip, ValidationSet};
use crate::Result;
use crate::data::{Boundaries, Dealt};
use crate::model::{Init, ModelConfig};
use crate::ops::{AdamSettings, Gelu};
use crate::optim::GroupRule;
use crate::schedule::{Quantities, Quantity, RawPhase};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use strum::VariantNames;

/// `[model]`: what is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The preset the sizes started from, for the record.
    pub preset: Option<String>,
    /// Sizes of a model from scratch, validated; `None` when the run starts from a trained one.
    pub config: Option<ModelConfig>,
    /// Initialisation of a model from scratch.
    pub init: Init,
    /// With a trained model: use this GELU instead of the one it names.
    pub gelu: Option<Gelu>,
}

/// What becomes of the optimizer state of the model a run starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum OptimizerStart {
    /// Moments start from zero.
    #[default]
    Reset,
    /// Moments are taken over; needs a rewarm checkpoint.
    Keep,
}

/// Where in the data a run begins that starts from a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum DataStart {
    /// At the first sample of its order.
    #[default]
    Restart,
    /// Behind the last sample of the checkpoint, in the same order: the same data, `data.seed` and sequence length.
    Continue,
}

/// What becomes of a phase that would train on what an earlier one held out, or evaluate on what one trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Overlap {
    /// It is refused.
    #[default]
    Refuse,
    /// It is said, and done.
    Allow,
}

/// What attention sees of the documents in a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum DocumentMode {
    /// All that comes before, as if a sequence were one document.
    #[default]
    Join,
    /// What comes before in the same document.
    Isolate,
}

/// Where positions are counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PositionMode {
    /// The start of the sequence.
    #[default]
    Continue,
    /// The start of the document, or of the part of it that is in the sequence.
    Reset,
}

/// `[start]`: continue from a trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// A Hugging Face directory, a run directory or a `step-*` directory.
    pub from: PathBuf,
    /// What becomes of its optimizer state.
    pub optimizer: OptimizerStart,
    /// Where in the data the run begins.
    pub data: DataStart,
}

/// Name of the source that `data.train` is.
pub(super) const ONLY: &str = "train";

/// `[data]`, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Corpus specifications to train on; empty where there is a mixture.
    pub train: Vec<String>,
    /// Sources with names and shares; empty where there is one corpus.
    pub mixture: Vec<MixtureSource>,
    /// Tokens of a sequence; `None` when it is left to the model the run starts from
    /// ([`super::Config::seq_len`]).
    pub seq_len: Option<usize>,
    /// Tokens of the windows that an order permutes; `None` when they are as long as sequences.
    pub window: Option<usize>,
    /// Key of the order of the data; `None` until a run starts, which inherits it or takes [`super::Config::seed`].
    pub seed: Option<u64>,
    /// Key of the split into documents to train on and those held out, likewise.
    pub split_seed: Option<u64>,
    /// Whether an overlap with the split of an earlier phase is refused.
    pub overlap: Overlap,
    /// What attention sees of the documents in a sequence.
    pub documents: DocumentMode,
    /// Where positions are counted from.
    pub positions: PositionMode,
    /// Whether losses are weighted by the planes beside the shards.
    pub loss_weights: bool,
    /// Share of the training documents set aside as the validation set [`super::HELDOUT`], or, of every source of a mixture,
    /// [`MixtureSource::heldout`]; in `0..1`.
    pub validation_fraction: f64,
    /// What the loss of [`super::HELDOUT`] is compared for; sources of a mixture have roles of their own.
    pub role: Option<Role>,
    /// `tokenizer.json`, for text in and out.
    pub tokenizer: Option<PathBuf>,
    /// What of the training data is left out.
    pub skip: Vec<Skip>,
    /// Further validation sets; names are unique.
    pub validation: Vec<ValidationSet>,
}

impl Data {
    /// Name and corpora of every source; what `train` names is one.
    pub fn sources(&self) -> Vec<(&str, &[String])> {
        match &self.mixture[..] {
            [] => vec![(ONLY, &self.train[..])],
            mixture => mixture.iter().map(|source| (&source.name[..], &source.paths[..])).collect(),
        }
    }

    /// The validation set of what is held out of every source: its name, and what its loss is compared for. None where nothing
    /// is held out.
    pub fn heldout(&self) -> Vec<(String, Option<Role>)> {
        match &self.mixture[..] {
            _ if self.validation_fraction == 0.0 => Vec::new(),
            [] => vec![(HELDOUT.to_owned(), self.role)],
            mixture => mixture.iter().map(|source| (source.heldout(), source.role)).collect(),
        }
    }

    /// Who looks at documents, where `end` is the token that ends a text.
    pub fn boundaries(&self, end: Option<u32>) -> Boundaries {
        let (isolate, reset) = (DocumentMode::Isolate, PositionMode::Reset);
        Boundaries::new(self.documents == isolate, self.positions == reset, end)
    }

    /// Nothing was dealt out yet.
    pub fn untouched(&self) -> Dealt {
        Dealt::nothing(self.sources().len())
    }
}

/// `[optim]`: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optim {
    /// Decay rates of the two moments, each in `0..1`.
    pub betas: [f64; 2],
    /// Added to the root of the second moment; positive.
    pub eps: f64,
    /// Decoupled weight decay, times the rate.
    pub weight_decay: f64,
    /// How it changes, as phases of a schedule with it as the peak; the decays of groups change with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_decay_phases: Vec<RawPhase>,
    /// Phases of β₁; none where it is constant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beta1_phases: Vec<RawPhase>,
    /// Phases of β₂; none where it is constant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beta2_phases: Vec<RawPhase>,
    /// Largest global gradient norm; 0: no clipping.
    pub clip: f64,
    /// Factor on the rate for every block further from the output, in `0..=1`; 1: none.
    #[serde(skip_serializing_if = "is_one")]
    pub layer_decay: f64,
    /// Exceptions by name; LayerNorm weights and biases are not decayed anyway.
    pub groups: Vec<GroupRule>,
}

impl Default for Optim {
    /// Pythia's values.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.1,
            weight_decay_phases: Vec::new(),
            beta1_phases: Vec::new(),
            beta2_phases: Vec::new(),
            clip: 1.0,
            layer_decay: 1.0,
            groups: Vec::new(),
        }
    }
}

fn is_one(x: &f64) -> bool {
    *x == 1.0
}

impl Optim {
    /// The part that does not depend on a tensor's group.
    pub fn adam(&self) -> AdamSettings {
        AdamSettings { betas: self.betas, eps: self.eps, clip: self.clip }
    }

    /// Whether a phase depends on the tokens of a step.
    pub fn has_token_lengths(&self) -> bool {
        let lists = [&self.weight_decay_phases, &self.beta1_phases, &self.beta2_phases];
        lists.into_iter().flatten().any(RawPhase::has_token_lengths)
    }

    /// The values of every step of a run, and the sizes of its steps.
    pub fn quantities(&self, batch: &Batch, seq_len: usize, steps: u64) -> Result<Quantities> {
        let (decay, [beta1, beta2]) = (self.weight_decay, self.betas);
        let [weight_decay, beta1, beta2] = batch.for_schedules(seq_len, steps, |run| {
            let phases = |name| format!("optim.{name}_phases");
            Ok([
                Quantity::compile(&phases("weight_decay"), decay, &self.weight_decay_phases, run)?,
                Quantity::compile(&phases("beta1"), beta1, &self.beta1_phases, run)?
                    .below(1.0, &phases("beta1"))?,
                Quantity::compile(&phases("beta2"), beta2, &self.beta2_phases, run)?
                    .below(1.0, &phases("beta2"))?,
            ])
        })?;
        let (lr_scaling, batch) = (batch.lr_scaling, batch.plan(seq_len));
        Ok(Quantities { steps, batch, lr_scaling, weight_decay, betas: [beta1, beta2] })
    }
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// A number of optimizer steps.
    Steps(u64),
    /// Training tokens; the run takes the steps that hold at least as many.
    Tokens(u64),
}

/// `[checkpoint]`, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Steps or time between checkpoints, not 0; the last step is always saved.
    pub every: Cadence,
    /// Newest checkpoints that stay; at least 2, so that one is whole while the other is written.
    pub keep: usize,
    /// Those that stay besides; `None`: the last one before a decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Milestones>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { every: Cadence::Steps(500), keep: 3, milestones: None }
    }
}

/// `[head]`: the output layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Rows of logits in memory at once; part of the arithmetic, since gradients are summed per chunk. `None` until a
    /// run starts and [`crate::backend::chunk_rows`] settles it for good.
    pub chunk_rows: Option<usize>,
}
