//! `metrics.jsonl`: one object per line, each line one write, so that a kill can tear the last line only.
use super::breakdown::ByEnd;
use super::tensorboard::Board;
use crate::files::write_whole;
use crate::schedule::Varying;
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A training step, as it is logged.
#[derive(Clone, Debug, Serialize)]
pub struct StepMetrics {
    /// Steps attempted so far, this one included.
    pub step: u64,
    /// Tokens consumed so far.
    pub tokens: u64,
    /// Mean loss of the step's batch before its update, nats per token.
    pub loss: f64,
    /// The same of the targets that end a text, and of all others, where that token is known and met.
    #[serde(flatten)]
    pub by_end: Option<ByEnd>,
    /// The same of the targets of each source of a mixture, by its name; sources of which nothing counts in the step are
    /// left out. Empty where there is one source.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub loss_by_source: BTreeMap<String, f64>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Sum of the absolute values of the gradient before clipping; `rewarm schedule refine` reads both norms.
    pub grad_norm_l1: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// What else is scheduled and varies.
    #[serde(flatten)]
    pub scheduled: Varying,
    /// Tokens per second of the step.
    pub tokens_per_s: f64,
    /// Seconds that reading the batch took. A processor waits for it; a GPU computes the step before meanwhile.
    pub data_s: f64,
    /// Useful FLOPs per second, 10⁹ (`ModelConfig::flops_per_token`).
    pub gflop_per_s: f64,
    /// Whether the update was made.
    pub applied: bool,
}

/// Whether a log has the results of all these sets after `step`.
pub fn has_evaluations(path: &Path, step: u64, sets: &[&str]) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let lines: Vec<serde_json::Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    sets.iter().all(|set| lines.iter().any(|line| line["step"] == step && line["eval"] == *set))
}

/// The log of a run.
pub struct Metrics {
    file: File,
    path: PathBuf,
    board: Option<Board>,
}

impl Metrics {
    /// Opens the log, dropping a torn last line and every line of a step after `step`: those steps are about to
    /// be done again, with the same results. With `evaluates`, so is the evaluation after `step`.
    pub fn open(path: &Path, step: u64, evaluates: bool) -> Result<Self> {
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::input("read", path)(e)),
        };
        let keep: String =
            old.split_inclusive('\n').filter(|line| is_before(line, step, evaluates)).collect();
        if keep != old {
            write_whole(path, keep.as_bytes())?;
        }
        let file =
            OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))?;
        Ok(Self { file, path: path.to_path_buf(), board: None })
    }

    /// The same log, its scalars also in event files of TensorBoard where they are `wanted`; the run goes on
    /// after `step`.
    pub fn with_board(self, wanted: bool, step: u64) -> Result<Self> {
        let board = if wanted { Some(Board::open(&self.path, step)?) } else { None };
        Ok(Self { board, ..self })
    }

    /// Appends one line: an object, and the time at which it was written (`time`, seconds since 1970).
    pub fn log(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|e| Error::failed(format!("metrics: {e}")))?;
        assert_eq!(line.pop(), Some(b'}'), "a record is an object");
        let now = UNIX_EPOCH.elapsed().unwrap_or_default(); // a clock before 1970 is for people to see
        line.extend(format!(",\"time\":{:.3}}}\n", now.as_secs_f64()).bytes());
        self.file.write_all(&line).map_err(Error::io("write", &self.path))?;
        if let Some(board) = &mut self.board {
            board.show(&line);
        }
        Ok(())
    }
}

/// The lines of a log that are of steps after `step`, and what a kill left of a line.
pub fn later_lines(path: &Path, step: u64) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.split_inclusive('\n').filter(|line| !is_before(line, step, false)).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Error::input("read", path)(e)),
    }
}

/// Whether a line is whole and of a step up to `step`, or with `evaluates` written before the evaluation after it.
fn is_before(line: &str, step: u64, evaluates: bool) -> bool {
    let value: Option<serde_json::Value> = line.strip_suffix('\n').and_then(|l| serde_json::from_str(l).ok());
    let Some(value) = value else { return false };
    let of_a_step = value.get("lr").is_some();
    value["step"].as_u64().is_some_and(|s| s < step || (s == step && (of_a_step || !evaluates)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_later_steps_and_torn_lines_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"step\":1}\n{\"step\":2,\"eval\":\"a\"}\n{\"step\":3}\n{\"ste").unwrap();
        Metrics::open(&path, 2, false).unwrap().log(&serde_json::json!({"step": 3, "loss": 1.5})).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (kept, new) = text.split_once("{\"step\":3").unwrap();
        assert_eq!(kept, "{\"step\":1}\n{\"step\":2,\"eval\":\"a\"}\n");
        let time = new.strip_prefix(",\"loss\":1.5,\"time\":").and_then(|t| t.strip_suffix("}\n")).unwrap();
        let passed = UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - time.parse::<f64>().unwrap();
        assert!((-0.001..60.0).contains(&passed), "{time}");
    }

    #[test]
    fn an_evaluation_that_was_cut_short_is_dropped_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let before = "{\"step\":1,\"eval\":\"a\"}\n{\"step\":2,\"lr\":0.1}\n";
        let lines = format!("{before}{{\"step\":2,\"sources\":{{}}}}\n{{\"step\":2,\"eval\":\"a\"}}\n");
        std::fs::write(&path, &lines).unwrap();
        Metrics::open(&path, 2, false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines);
        Metrics::open(&path, 2, true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }
}
