//! How often a run is evaluated, and what that adds to its steps.
use crate::Result;
use crate::config::Config;
use serde::Serialize;
use std::fmt;

/// The evaluations of a run, from its configuration alone: the data need not be there.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EvalPlan {
    /// How many there are, that before the first step included.
    pub count: u64,
    /// The step up to which they are dense, where some are.
    pub dense_until: Option<u64>,
    /// Of those, how many are after a step up to that one.
    pub dense_count: u64,
    /// Validation sets.
    pub sets: usize,
    /// Sequences of each at most; 0: all.
    pub sequences: usize,
    /// Tokens that are predicted in all, at most; unknown where a set is taken whole.
    pub tokens: Option<u64>,
    /// What that adds to the time of the steps, where a forward pass takes a third of a step; a share, at most.
    pub share: Option<f64>,
}

impl EvalPlan {
    /// Of a run with sequences of `seq_len` tokens. Refused: what [`Config::eval_steps`] refuses.
    pub fn new(config: &Config, seq_len: usize) -> Result<Self> {
        let (steps, data) = (config.eval_steps(seq_len)?, &config.data);
        let held_out = if data.validation_fraction > 0.0 { data.sources().len() } else { 0 };
        let (sets, sequences) = (held_out + data.validation.len(), config.eval.sequences);
        let count = 1 + steps.count(config.total_steps(seq_len));
        let dense_until = steps.dense_until();
        let each =
            [sets, sequences, seq_len].iter().fold(count, |product, n| product.saturating_mul(*n as u64));
        let tokens = (sequences > 0 || sets == 0).then_some(each);
        Ok(Self {
            count,
            dense_until,
            dense_count: dense_until.map_or(0, |until| steps.count(until)),
            sets,
            sequences,
            tokens,
            share: tokens.map(|tokens| tokens as f64 / 3.0 / config.total_tokens(seq_len) as f64),
        })
    }
}

impl fmt::Display for EvalPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, dense_count, sets, sequences, .. } = self;
        write!(f, "{count:>14} of {sets} sets")?;
        if let Some(until) = self.dense_until {
            write!(f, ", {dense_count} of them up to step {until}")?;
        }
        match (self.tokens, self.share) {
            (Some(tokens), Some(share)) if tokens > 0 => write!(
                f,
                ": at most {sequences} sequences of each, {tokens} tokens, about {:.1} % of the time of the steps",
                100.0 * share
            ),
            (Some(_), _) => Ok(()),
            (None, _) => write!(f, ": all sequences of each"),
        }
    }
}
