//! What TensorBoard shows of a run: the scalars of its log, in event files in the folder `tensorboard` beside it. Everything
//! is read off the lines of the log, so that both say the same.
//!
//! A process that goes on after a step begins a file, which says so: TensorBoard forgets what it has of this step and of later
//! ones, which are done again. What the log has of the step itself is written once more. Where there is no file yet, the new
//! one has the whole of the log.
//!
//! TensorBoard forgets steps not below that of the start (`_CheckForRestartAndMaybePurge` and `_Purge` in its
//! `plugin_event_accumulator.py`), and reads files in the order of their names (`directory_watcher.py`).
use super::events;
use crate::files::folder_of;
use crate::machine;
use crate::{Error, Result};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The folder in a run directory.
const FOLDER: &str = "tensorboard";
/// With what names of event files begin; TensorBoard takes files that have this in their names. Seconds since 1970 follow.
const PREFIX: &str = "events.out.tfevents.";
/// What is shown of the line of a step, where it is there.
const OF_A_STEP: &[&str] = &[
    "loss",
    "loss_end_of_text",
    "loss_within_text",
    "grad_norm",
    "lr",
    "sequences",
    "weight_decay",
    "beta1",
    "beta2",
    "tokens_per_s",
];
/// What is shown of the line of an evaluation.
const OF_A_SET: &[&str] = &["loss", "perplexity", "bits_per_byte", "forgetting", "learned"];
/// A line has `null` for these where they are not finite, and for no other reason.
const NULL_IS_NAN: &[&str] = &["loss", "grad_norm", "perplexity"];

/// The event file of a process.
pub struct Board {
    path: PathBuf,
    file: Option<File>,
    /// What is written first, or with the next line.
    unwritten: Vec<u8>,
    /// A write failed: a record may be torn, and nothing can be read behind it.
    is_torn: bool,
}

impl Board {
    /// Of the run whose log is `log`, which goes on after `step`. The file is made with the first line, so that a run that is
    /// finished stays as it is, but at once where there is none yet.
    pub fn open(log: &Path, step: u64) -> Result<Self> {
        let folder = folder_of(log).join(FOLDER);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let newest = newest(&folder).map_err(Error::io("list", &folder))?;
        let from = newest.map_or(0, |_| step);
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut unwritten = events::version(now.as_secs_f64());
        unwritten.extend(events::start(now.as_secs_f64(), from));
        let text = fs::read_to_string(log).map_err(Error::input("read", log))?;
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let again = lines.filter(|line: &Value| line["step"].as_u64().is_some_and(|step| step >= from));
        unwritten.extend(again.filter_map(|line| record(&line)).flatten());
        // Behind all others, also of this second, and where a clock went back.
        let seconds = newest.map_or(now.as_secs(), |newest| now.as_secs().max(newest.saturating_add(1)));
        let host: String = machine::host().unwrap_or_default().chars().map(plain).collect();
        let path = folder.join(format!("{PREFIX}{seconds:010}.{host}.{}", std::process::id()));
        let mut board = Self { path, file: None, unwritten, is_torn: false };
        if newest.is_none() {
            board.write().map_err(Error::io("write", &board.path))?;
        }
        Ok(board)
    }

    /// Writes what is shown of a line of the log, at once.
    ///
    /// A failure is told once and ends the file, not the run: the log has everything, is on the same disk in the same
    /// directory, and ends a run that it cannot be written for. Weeks of training are not lost for a copy.
    pub fn show(&mut self, line: &[u8]) {
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        let Some(record) = record(&line).filter(|_| !self.is_torn) else { return };
        self.unwritten.extend(record);
        if let Err(e) = self.write() {
            self.is_torn = true;
            let (path, folder) = (self.path.display(), folder_of(&self.path).display());
            log::warn!(
                "cannot write {path}: {e}; the run goes on without it, and metrics.jsonl has everything: without the folder \
                 {folder} the next resume writes it anew"
            );
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let unwritten = std::mem::take(&mut self.unwritten);
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().create_new(true).append(true).open(&self.path)?),
        };
        file.write_all(&unwritten)
    }
}

/// The seconds in the name of the last event file of a folder.
fn newest(folder: &Path) -> io::Result<Option<u64>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<io::Result<_>>()?;
    let seconds = |name: &str| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok();
    Ok(names.iter().filter_map(|name| seconds(name.to_str()?)).max())
}

/// A character of a file's name.
fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' }
}

/// The event of a line of the log; none where it has no scalars.
fn record(line: &Value) -> Option<Vec<u8>> {
    let values = scalars(line);
    let (time, step) = (line["time"].as_f64().unwrap_or_default(), line["step"].as_u64()?);
    (!values.is_empty()).then(|| events::scalars(time, step, &values))
}

fn scalars(line: &Value) -> Vec<(String, f32)> {
    let number = |name: &str, value: &Value| match value {
        Value::Null => NULL_IS_NAN.contains(&name).then_some(f32::NAN),
        value => value.as_f64().map(|value| value as f32),
    };
    let shown = |names: &[&str], above: &str| -> Vec<(String, f32)> {
        let value = |name: &&str| Some((format!("{above}/{name}"), number(name, line.get(*name)?)?));
        names.iter().filter_map(value).collect()
    };
    if let Some(set) = line["eval"].as_str() {
        return shown(OF_A_SET, &format!("eval/{set}"));
    }
    if let Some(diagnostics) = line.get("diagnostics") {
        let mut found = Vec::new();
        numbers_in(diagnostics, "diagnostics".into(), &mut found);
        return found;
    }
    if line.get("lr").is_none() {
        return Vec::new(); // what sources have given
    }
    let by_source = line["loss_by_source"].as_object().into_iter().flatten();
    let by_source = by_source
        .filter_map(|(name, loss)| Some((format!("train/loss_by_source/{name}"), number("loss", loss)?)));
    shown(OF_A_STEP, "train").into_iter().chain(by_source).collect()
}

/// Every number in a value, named by the keys and indices that lead to it.
fn numbers_in(value: &Value, name: String, found: &mut Vec<(String, f32)>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| numbers_in(v, format!("{name}/{key}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| numbers_in(v, format!("{name}/{i}"), found));
        }
        number => found.extend(number.as_f64().map(|number| (name, number as f32))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_the_log_have_scalars() {
        let tags = |line: Value| -> Vec<String> {
            scalars(&line).into_iter().map(|(tag, value)| format!("{tag} {value}")).collect()
        };
        let step = json!({"step": 3, "tokens": 9, "loss": 2.5, "loss_by_source": {"a/b": 1.5, "c": null}, "grad_norm": null,
            "grad_norm_l1": 7.0, "lr": 0.25, "beta2": 0.5, "tokens_per_s": 8, "applied": true, "time": 1.0});
        assert_eq!(
            tags(step),
            [
                "train/loss 2.5",
                "train/grad_norm NaN",
                "train/lr 0.25",
                "train/beta2 0.5",
                "train/tokens_per_s 8",
                "train/loss_by_source/a/b 1.5",
                "train/loss_by_source/c NaN"
            ]
        );
        let set = json!({"step": 3, "eval": "old", "loss": 2.0, "standard_error": null, "perplexity": 7.5,
            "bits_per_byte": null, "tokens": 4, "forgetting": -0.5, "forgetting_peak": 0.0});
        assert_eq!(tags(set), ["eval/old/loss 2", "eval/old/perplexity 7.5", "eval/old/forgetting -0.5"]);
        let diagnostics = json!({"step": 3, "diagnostics": {"update": {"total": 0.5, "blocks": [0.25, null]},
            "kurtosis": {"blocks": [1.5, -1.0], "final_norm": 2}}, "time": 1.0});
        assert_eq!(
            tags(diagnostics),
            [
                "diagnostics/update/total 0.5",
                "diagnostics/update/blocks/0 0.25",
                "diagnostics/kurtosis/blocks/0 1.5",
                "diagnostics/kurtosis/blocks/1 -1",
                "diagnostics/kurtosis/final_norm 2"
            ]
        );
        assert!(record(&json!({"step": 3, "sources": {"a": {"tokens": 3}}})).is_none());
        assert!(record(&json!(null)).is_none());
    }

    /// A second file comes behind the first, whatever the clock says, and has nothing before there is something to say.
    #[test]
    fn files_are_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("metrics.jsonl");
        fs::write(&log, "{\"step\":1,\"lr\":0.5}\n").unwrap();
        let first = Board::open(&log, 1).unwrap();
        assert!(first.path.exists());
        let ahead = first.path.with_file_name(format!("{PREFIX}9999999998.host.1"));
        fs::rename(&first.path, &ahead).unwrap();
        let mut second = Board::open(&log, 1).unwrap();
        assert!(second.path > ahead && !second.path.exists());
        second.show(b"{\"step\":1,\"sources\":{}}\n");
        assert!(!second.path.exists());
        second.show(b"{\"step\":2,\"lr\":0.5}\n");
        assert!(second.path.exists());
    }

    /// What cannot be written ends the file and nothing else.
    #[test]
    fn a_failed_write_is_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("metrics.jsonl");
        fs::write(&log, "").unwrap();
        drop(Board::open(&log, 0).unwrap());
        let mut board = Board::open(&log, 0).unwrap();
        let path = board.path.clone();
        fs::create_dir(&path).unwrap();
        board.show(b"{\"step\":1,\"lr\":0.5}\n");
        fs::remove_dir(&path).unwrap();
        board.show(b"{\"step\":2,\"lr\":0.5}\n");
        assert!(!path.exists() && board.unwritten.is_empty());
    }
}
