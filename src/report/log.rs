//! `metrics.jsonl` as it is read back.
use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// A training step as `metrics.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StepPoint {
    /// Steps so far, this one included.
    pub step: u64,
    /// Tokens trained on up to and with this step.
    pub tokens: u64,
    /// Mean loss of the batch, nats per token.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Tokens per second of this step.
    pub tokens_per_s: f64,
    /// Useful FLOPs per second, 10⁹.
    #[serde(default)]
    pub gflop_per_s: Option<f64>,
    /// Global gradient norm before clipping.
    #[serde(default)]
    pub grad_norm: Option<f64>,
    /// When it was written, seconds since 1970.
    #[serde(default)]
    pub time: Option<f64>,
}

/// A validation set evaluated after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalPoint {
    /// Name of the set.
    pub set: String,
    /// Steps made before the evaluation.
    pub step: u64,
    /// Tokens trained on before the evaluation.
    pub tokens: u64,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// When it was written, seconds since 1970.
    pub time: Option<f64>,
}

/// The log of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunLog {
    /// Training steps in order.
    pub steps: Vec<StepPoint>,
    /// Evaluations in order.
    pub evals: Vec<EvalPoint>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Eval {
        step: u64,
        eval: String,
        loss: f64,
        #[serde(default)]
        time: Option<f64>,
    },
    Step(StepPoint),
    /// Records of later versions.
    Other(serde::de::IgnoredAny),
}

impl RunLog {
    /// Reads the log of a run directory. A torn last line is left out.
    pub fn read(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(crate::checkpoint::LOG);
        let text = std::fs::read(&path).map_err(Error::input("read", &path))?;
        Self::parse(&text).map_err(|line| Error::refused(wrong_line(&path, line)))
    }

    /// The number of the line that is wrong, from 1, is the error.
    fn parse(text: &[u8]) -> Result<Self, usize> {
        let mut log = Self::default();
        for (i, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            log.take(line).ok_or(i + 1)?;
        }
        Ok(log)
    }

    /// Takes the line that follows, without its end; none where it is wrong.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<()> {
        let tokens = self.tokens();
        match serde_json::from_slice(line).ok()? {
            Line::Eval { step, eval, loss, time } => {
                self.evals.push(EvalPoint { set: eval, step, tokens, loss, time });
            }
            Line::Step(point) => self.steps.push(point),
            Line::Other(_) => {}
        }
        Some(())
    }

    /// Whether nothing was logged yet.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.evals.is_empty()
    }

    /// `(tokens, loss)` of a validation set.
    pub fn eval(&self, set: &str) -> Vec<(f64, f64)> {
        self.evals.iter().filter(|e| e.set == set).map(|e| (e.tokens as f64, e.loss)).collect()
    }

    /// `(tokens, loss)` of the steps.
    pub fn loss(&self) -> Vec<(f64, f64)> {
        self.steps.iter().map(|s| (s.tokens as f64, s.loss)).collect()
    }

    /// `(tokens, rate)` of the steps.
    pub fn lr(&self) -> Vec<(f64, f64)> {
        self.steps.iter().map(|s| (s.tokens as f64, s.lr)).collect()
    }

    /// Tokens of the run.
    pub fn tokens(&self) -> u64 {
        self.steps.last().map_or(0, |s| s.tokens)
    }
}

/// What is said of a line that is wrong, numbered from 1.
pub(super) fn wrong_line(path: &Path, line: usize) -> String {
    format!("{} line {line} is not JSON; expected one object per line, remove it", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_evaluations_are_told_apart() {
        let text = "{\"step\":0,\"eval\":\"a\",\"loss\":5.0,\"perplexity\":148.4}\n\
                    {\"step\":1,\"tokens\":64,\"loss\":4.5,\"lr\":0.1,\"tokens_per_s\":10.0,\"applied\":true}\n\
                    {\"later\":1}\n{\"step\":1,\"eval\":\"a\",\"loss\":4.0}\n{\"step\":2,\"tok";
        let log = RunLog::parse(text.as_bytes()).unwrap();
        assert_eq!(log.eval("a"), [(0.0, 5.0), (64.0, 4.0)]);
        assert_eq!((log.loss(), log.lr(), log.tokens()), (vec![(64.0, 4.5)], vec![(64.0, 0.1)], 64));
        assert_eq!(RunLog::parse(b"{}\nx\n"), Err(2));
    }
}
