//! `[[data.mixture]]`: training data of several sources, replay being one of them.
use super::limits::{Offset, WhenEmpty, is_refuse};
use super::refuse::refuse;
use super::{Config, Role};
use crate::Result;
use crate::data::{Arrangement, Dealt, Shares};
use crate::schedule::{Quantity, RawPhase, RunSize, TokenCount};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(super) mod tests;

/// Name of the validation set that `validation_fraction` makes.
pub const HELDOUT: &str = "heldout";

/// How far from 1 a sum of fractions may be: they are written in decimals.
const SLACK: f64 = 1e-9;
/// Steps whose shares are kept one by one where they change.
const STEPS_MAX: u64 = 1 << 22;

/// A source as written: its share is a weight or a fraction. Weights are the field's (Megatron-LM's and GPT-NeoX's,
/// divided by their sum); with fractions given they share what those leave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixtureSource {
    /// Name in metrics and reports.
    pub name: String,
    /// Its corpora, as [`crate::data::Corpus::open`] takes them.
    pub paths: Vec<String>,
    /// Tokens in proportion to the other weights; by default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// How the weight changes, as phases of a schedule with it as the peak.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_phases: Vec<RawPhase>,
    /// Share of all tokens, in `0..=1`: what replay is given as (Ibrahim et al. 2024, arXiv:2403.08763).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// How the fraction changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fraction_phases: Vec<RawPhase>,
    /// Key of its order; without one that of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How what it holds is arranged.
    #[serde(skip_serializing_if = "Arrangement::is_shuffled")]
    pub order: Arrangement,
    /// Tokens of its order that it consists of; without it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<TokenCount>,
    /// How often a run may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// How many tokens a run may take of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenCount>,
    /// Where in its order a run begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// What becomes of it when it has given all that it may.
    #[serde(skip_serializing_if = "is_refuse")]
    pub when_empty: WhenEmpty,
    /// What the loss of its held-out documents is compared for; of these there must be some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// The share of a source, in steps.
struct Share {
    is_fraction: bool,
    quantity: Quantity,
}

impl MixtureSource {
    fn check_limits(&self, at: &str) -> Result<()> {
        if self.when_empty == WhenEmpty::Repeat && (self.epochs.is_some() || self.tokens.is_some()) {
            return refuse(format!(
                "{at} ({:?}) has a limit (epochs or tokens) and when_empty = \"repeat\", which has none; remove one",
                self.name
            ));
        }
        Ok(())
    }

    /// The set of its held-out documents.
    pub fn heldout(&self) -> String {
        format!("{HELDOUT}-{}", self.name)
    }

    /// Fills in the weight and refuses what cannot be meant; `at` is the key of the entry.
    fn validate(&self, at: &str) -> Result<Self> {
        if self.paths.is_empty() {
            return refuse(format!("{at}.paths is empty; list at least one corpus"));
        }
        self.check_limits(at)?;
        let a_weight = self.weight.is_some() || !self.weight_phases.is_empty();
        match self.fraction {
            Some(_) if a_weight => refuse(format!(
                "{at} ({:?}) has a weight and a fraction; a fraction is of all tokens, a weight of what fractions leave: remove one",
                self.name
            )),
            Some(_) => Ok(self.clone()),
            None if !self.fraction_phases.is_empty() => refuse(format!(
                "{at}.fraction_phases is given without {at}.fraction; give the largest fraction there"
            )),
            None => Ok(Self { weight: Some(self.weight.unwrap_or(1.0)), ..self.clone() }),
        }
    }

    /// Its share in every step of a run; `at` is the key of the entry.
    fn compile(&self, at: &str, run: &RunSize) -> Result<Share> {
        let (kind, base) = match self.fraction {
            Some(fraction) => ("fraction", fraction),
            None => ("weight", self.weight.unwrap_or(1.0)),
        };
        let quantity = Quantity::compile(&format!("{at}.{kind}_phases"), base, self.phases(), run)?;
        Ok(Share { is_fraction: self.fraction.is_some(), quantity })
    }

    /// Its phases, of which there are those of one kind at most.
    fn phases(&self) -> &[RawPhase] {
        if self.fraction.is_some() { &self.fraction_phases } else { &self.weight_phases }
    }

    /// Whether a length of its phases depends on the tokens or sequences of a step.
    pub(super) fn has_token_lengths(&self) -> bool {
        self.phases().iter().any(RawPhase::has_token_lengths)
    }
}

/// All sources with their weights, if any are given.
pub(super) fn validate(sources: &[MixtureSource]) -> Result<Vec<MixtureSource>> {
    let mut validated: Vec<MixtureSource> = Vec::with_capacity(sources.len());
    for (i, source) in sources.iter().enumerate() {
        if validated.iter().any(|other| other.name == source.name) {
            return refuse(format!(
                "data.mixture[{i}].name {:?} is taken; names of sources must differ, choose another",
                source.name
            ));
        }
        validated.push(source.validate(&format!("data.mixture[{i}]"))?);
    }
    Ok(validated)
}

impl Config {
    /// The shares of the sources from step `from` on, before which `origin` was dealt out. They change between steps only.
    pub fn shares(&self, seq_len: usize, from: u64, origin: Dealt) -> Result<Shares> {
        if self.data.mixture.is_empty() {
            return Shares::new(origin.clone(), &[(origin.sample, vec![1.0])]);
        }
        let steps = self.total_steps(seq_len);
        let shares = self.batch.for_schedules(seq_len, steps, |run| {
            let share =
                |(i, source): (usize, &MixtureSource)| source.compile(&format!("data.mixture[{i}]"), run);
            self.data.mixture.iter().enumerate().map(share).collect::<Result<Vec<_>>>()
        })?;
        let varies = shares.iter().any(|share| share.quantity.varies());
        if varies && steps > STEPS_MAX {
            return refuse(format!(
                "the shares of data.mixture change over {steps} steps; at most {STEPS_MAX} steps can have shares of their own, take larger batches or constant shares"
            ));
        }
        let end = if varies { steps.max(from + 1) } else { from + 1 };
        let batch = self.batch.plan(seq_len);
        let before = origin.sample - batch.samples_before(from);
        let mut changes: Vec<(u64, Vec<f64>)> = Vec::new();
        for step in from..end {
            let now = at(&shares, batch.full_steps_before(step), step)?;
            if changes.last().is_none_or(|(_, last)| *last != now) {
                changes.push((before + batch.samples_before(step), now));
            }
        }
        Shares::new(origin, &changes)
    }
}

/// The fractions, and what they leave in proportion to the weights. `time` is what schedules count at `step`.
fn at(shares: &[Share], time: f64, step: u64) -> Result<Vec<f64>> {
    let sum = |of_fractions: bool| -> f64 {
        let chosen = shares.iter().filter(|share| share.is_fraction == of_fractions);
        chosen.map(|share| share.quantity.at(time)).sum()
    };
    let (fractions, weights) = (sum(true), sum(false));
    if fractions > 1.0 + SLACK {
        return refuse(format!(
            "the fractions of data.mixture add up to {fractions} in step {step}; they are shares of all tokens, lower them"
        ));
    }
    let rest = (1.0 - fractions).max(0.0);
    if rest > SLACK && weights == 0.0 {
        return refuse(format!(
            "the fractions of data.mixture add up to {fractions} in step {step} and no source has a weight above 0 to take \
             the rest; raise the fractions to a sum of 1, or give a source a weight instead"
        ));
    }
    let each = if weights > 0.0 { rest / weights } else { 0.0 };
    let share = |share: &Share| share.quantity.at(time) * if share.is_fraction { 1.0 } else { each };
    Ok(shares.iter().map(share).collect())
}
