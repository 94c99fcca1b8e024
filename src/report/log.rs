//! `metrics.jsonl` as it is read back.
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
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
    /// Of a set that is to be retained.
    pub gap: Option<GapPoint>,
}

/// The worst of a retained set up to an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapPoint {
    /// The most that its loss was above that before the first step, nats per token; at least 0.
    #[serde(rename = "forgetting_peak")]
    pub peak: f64,
    /// The step of the first evaluation at which it was.
    #[serde(rename = "forgetting_peak_step")]
    pub peak_step: u64,
    /// The step of the first evaluation after that at which it was made good.
    pub recovered_step: Option<u64>,
}

impl GapPoint {
    /// Whether the loss has come back to what it was, or was never above it.
    pub fn is_made_good(&self) -> bool {
        self.peak == 0.0 || self.recovered_step.is_some()
    }
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
        #[serde(flatten)]
        gap: Option<GapPoint>,
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
        let tokens = self.steps.last().map_or(0, |step| step.tokens);
        match serde_json::from_slice(line).ok()? {
            Line::Eval { step, eval, loss, time, gap } => {
                self.evals.push(EvalPoint { set: eval, step, tokens, loss, time, gap });
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
                    {\"later\":1}\n{\"step\":1,\"eval\":\"a\",\"loss\":4.0,\"forgetting\":-1.0,\"forgetting_peak\":0.5,\
                    \"forgetting_peak_step\":1,\"recovered_step\":null}\n{\"step\":2,\"tok";
        let log = RunLog::parse(text.as_bytes()).unwrap();
        let evals: Vec<_> = log.evals.iter().map(|e| (&e.set[..], e.step, e.tokens, e.loss)).collect();
        assert_eq!(evals, [("a", 0, 0, 5.0), ("a", 1, 64, 4.0)]);
        let steps: Vec<_> = log.steps.iter().map(|s| (s.step, s.tokens, s.loss, s.lr)).collect();
        assert_eq!(steps, [(1, 64, 4.5, 0.1)]);
        let gap = GapPoint { peak: 0.5, peak_step: 1, recovered_step: None };
        assert_eq!([log.evals[0].gap, log.evals[1].gap], [None, Some(gap)]);
        assert_eq!(RunLog::parse(b"{}\nx\n"), Err(2));
    }
}
