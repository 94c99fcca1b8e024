//! What a run carries from step to step beside weights and counts: the `extra` of a checkpoint's manifest, typed.
use super::forgetting::Gaps;
use crate::checkpoint::RunState;
use crate::config::{MixtureSource, Skip};
use crate::data::{Dealt, Standing, Usage};
use crate::schedule::FeedbackState;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What was dealt out to the sources of a mixture is a function of the shares, unless a run goes on under other shares:
/// then it is the beginning of what is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Step at which the present shares began.
    pub from: u64,
    /// What was dealt out before it.
    pub origin: Dealt,
    /// What was dealt out before the checkpoint.
    pub dealt: Dealt,
    /// The shares before those, in order, back to the beginning of the run; of a run that changed them under a version that
    /// did not keep them, those since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// Shares that ended, and what they were a function of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// Step at which they began.
    pub from: u64,
    /// What was dealt out before it.
    pub origin: Dealt,
    /// Steps that the run was to have.
    pub steps: u64,
    /// The sources of a mixture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixture: Vec<MixtureSource>,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<Skip>,
    /// The fingerprint of the contents of the sources, where they are not those of the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    /// The shards of the only source, where they are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
}

/// The state of a run that is no count of [`RunState`]. What is absent is not written, and what another version of the
/// program has written is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The last rate of the run that this one began from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_lr: Option<f64>,
    /// Steps that the moments had seen before this run's first: random numbers go on from there.
    #[serde(skip_serializing_if = "is_default")]
    pub chain_steps: u64,
    /// The rate of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Samples of this run's steps whose update was not made.
    #[serde(skip_serializing_if = "is_default")]
    pub skipped_samples: u64,
    /// What a schedule that looks at the loss remembers.
    #[serde(skip_serializing_if = "is_default")]
    pub feedback: FeedbackState,
    /// Of a mixture; one source needs none, unless something of it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixture: Option<Account>,
    /// Where the sources stand, in their order, and behind them those that the chain of phases has read from and that are no
    /// longer there; of one source that nothing is to be said of, nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standings: Vec<Standing>,
    /// Whether the checkpoint stays, however many come after it.
    #[serde(skip_serializing_if = "is_default")]
    pub milestone: bool,
    /// Whether what is evaluated after the present step is not, or not wholly, in the log.
    #[serde(skip_serializing_if = "is_default")]
    pub owes_evaluation: bool,
    /// What the evaluations of this phase say together; checkpoints from before it was kept have none.
    #[serde(skip_serializing_if = "Gaps::is_empty")]
    pub gaps: Gaps,
    /// The hash of the weights before step 0 ([`super::moved::Moved::before`]), once a run has looked at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_weights: Option<String>,
    /// What this phase and those before it trained on and held out; checkpoints from before phases kept it have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_use: Option<Usage>,
    /// Who multiplied ([`crate::ops::Backend::multiplies_by`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub products: Option<String>,
    /// Which weights of the loss the run has ([`crate::data::LossWeights::fingerprint`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_weights: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Progress {
    /// Of a run that has not begun, after others: the last one's last rate, the steps that its moments are from, and what
    /// all did with documents.
    pub fn after(previous_lr: Option<f64>, chain_steps: u64, data_use: Usage) -> Self {
        Self { previous_lr, chain_steps, data_use: Some(data_use), ..Self::default() }
    }

    /// Notes who multiplies from this step on, and says so where it was another before.
    pub fn tell_products(&mut self, step: u64, now: Option<String>) {
        if let (Some(before), Some(now)) = (&self.products, &now)
            && before != now
            && step > 0
        {
            log::info!(
                "products by {now}, up to step {step} by {before}: sums have another order on this processor, so what \
                 follows agrees with the run as it would have gone on there, but not in every bit"
            );
        }
        self.products = now;
    }

    /// Of a checkpoint; refused where it is not what the program writes.
    pub fn read(state: &RunState) -> Result<Self> {
        if state.extra.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(&state.extra).map_err(|e| {
            Error::refused(format!(
                "the checkpoint's state of its run (\"extra\" of the manifest) cannot be read: {e}; use the rewarm that \
                 wrote it"
            ))
        })
    }

    /// Whether a checkpoint stays, however many come after it.
    pub fn is_milestone(state: &RunState) -> bool {
        Self::read(state).is_ok_and(|progress| progress.milestone)
    }

    /// The keys that a checkpoint's manifest carries.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("numbers, lists and tables with string keys")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::checkpoint::Fingerprints;
    use serde_json::json;

    /// Of a run that is at this sample after three steps.
    pub fn state(sample: u64, extra: Value) -> RunState {
        RunState {
            step: 3,
            applied: 3,
            sample,
            tokens: 0,
            seed: 1,
            run_id: String::new(),
            parent: None,
            run_config: Value::Null,
            fingerprints: Fingerprints::default(),
            extra,
        }
    }

    /// As checkpoints have it since the first of them: keys that are not there, null for no rate, and what a later
    /// version may add.
    #[test]
    fn what_was_written_is_read_and_written_again() {
        let dealt = json!({ "sample": 24, "taken": [17, 7] });
        let all = json!({
            "previous_lr": 1e-4,
            "chain_steps": 40,
            "lr": 3e-4,
            "skipped_samples": 16,
            "feedback": { "factor": 0.5, "best": 2.5, "good": 0, "bad": 3, "pause": 0, "at_floor": 0, "losses": [2.5] },
            "mixture": { "from": 1, "origin": { "sample": 8, "taken": [6, 2] }, "dealt": dealt },
            "milestone": true,
            "owes_evaluation": true,
            "gaps": {
                "new": { "of": "0f 64", "before": 4.5, "peak": 0.0, "peak_step": 0 },
                "old": { "of": "f0 64", "before": 2.0, "peak": 0.25, "peak_step": 7, "recovered_step": 9 },
            },
            "data_use": {
                "trained": [{ "side": "train", "fraction": 0.1, "seed": 7, "shards": ["0f", "f0"] }],
                "held_out": [],
            },
            "products": "fma",
            "of_later": [1, 2],
        });
        let read = Progress::read(&state(24, all.clone())).unwrap();
        assert_eq!((read.lr, read.skipped_samples, read.feedback.factor), (Some(3e-4), 16, 0.5));
        assert_eq!(read.to_json(), all);
        for nothing in [Value::Null, json!({}), json!({ "previous_lr": null })] {
            assert_eq!(Progress::read(&state(24, nothing)).unwrap().to_json(), json!({}));
        }
        for wrong in [json!([]), json!({ "lr": "high" }), json!({ "feedback": { "factor": 1 } })] {
            let error = Progress::read(&state(24, wrong)).unwrap_err();
            assert!(error.exit_code() == 1 && error.to_string().contains("extra"), "{error}");
        }
    }
}
