//! `[eval]` and `[[data.validation]]`: on what a run is evaluated, and how often.
use serde::{Deserialize, Serialize};
use strum::VariantNames;

/// What a phase is to do with what a validation set stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// The model knows it before the phase, and is not to forget it.
    Retain,
    /// The model is to learn it.
    Learn,
}

/// A named set of corpora to evaluate on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSet {
    /// Name in metrics and reports.
    pub name: String,
    /// Its corpora, as [`crate::data::Corpus::open`] takes them.
    pub paths: Vec<String>,
    /// What its loss is compared for; left out where it is not, as in runs from before the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// `[eval]`, with defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Steps between evaluations; 0: only before the first and after the last step.
    pub every: u64,
    /// Sequences of each validation set; 0: all.
    pub sequences: usize,
}

impl Default for Eval {
    fn default() -> Self {
        Self { every: 100, sequences: 64 }
    }
}
