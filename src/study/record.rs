//! What is kept of a run of a study beside its directory: whose it is and what became of it.
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Planned;
use crate::files::{folder_of, write_whole};
use crate::report::{GapPoint, RunLog};
use crate::{Error, Result};

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Status {
    /// Some process has begun it, or shall.
    Begun,
    /// All of its steps are done.
    Finished(Measured),
    /// It ended with an error and is not tried again by itself.
    Failed {
        /// What was said.
        error: String,
    },
}

/// What a finished run came to: a function of its log, and not of how often it was killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Loss of the last step's batch, nats per token.
    pub loss: f64,
    /// Of every validation set, in the order of the configuration.
    pub sets: Vec<SetLosses>,
}

/// Losses of a validation set, nats per token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetLosses {
    /// Name of the set.
    pub set: String,
    /// Before the first step.
    pub before: f64,
    /// After the last one.
    pub after: f64,
    /// The worst in between, of a set that is to be retained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapPoint>,
}

/// `NAME.json` beside the directory `NAME` of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of the configuration that it was begun with.
    pub fingerprint: String,
    #[serde(flatten)]
    /// What became of it.
    pub state: Status,
}

/// Where the record of a run lies, or its lock: beside its directory.
fn path_of(run: &Planned, ending: &str) -> PathBuf {
    let mut name = run.config.run_dir.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The folder of records, made where it is missing.
fn make_folder_of(path: &Path) -> Result<()> {
    std::fs::create_dir_all(folder_of(path)).map_err(Error::input("create", folder_of(path)))
}

impl RunRecord {
    /// What is kept of a run; nothing where it was not begun. Refused where another run has its place.
    pub fn read(run: &Planned) -> Result<Option<Self>> {
        let (path, dir) = (path_of(run, ".json"), &run.config.run_dir);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return if holds_something(dir) {
                    Err(Error::refused(format!(
                        "{} holds something that this study did not begin; move it away, or give the study another dir",
                        dir.display()
                    )))
                } else {
                    Ok(None)
                };
            }
            Err(e) => return Err(Error::input("read", &path)(e)),
        };
        let record: Self = serde_json::from_str(&text).map_err(|e| {
            Error::refused(format!(
                "{} is no record of a run of a study: {e}; restore it, or move it and {} away to train the run again",
                path.display(),
                dir.display()
            ))
        })?;
        if record.fingerprint != run.fingerprint {
            return Err(Error::refused(format!(
                "{} was begun with another configuration than {:?} has now (the study was changed, or an ancestor of the run \
                 was); move it and its .json away to train it again, or give the study another dir",
                dir.display(),
                run.name
            )));
        }
        Ok(Some(record))
    }

    /// Keeps what became of a run.
    pub fn write(run: &Planned, state: Status) -> Result<()> {
        let path = path_of(run, ".json");
        let record = Self { fingerprint: run.fingerprint.clone(), state };
        make_folder_of(&path)?;
        let text = serde_json::to_string_pretty(&record)
            .map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
        write_whole(&path, (text + "\n").as_bytes())
    }

    /// Takes a run for this process, until the file is dropped or the process ends, however it ends; nothing where another has it.
    /// Refused where the file system has no locks.
    pub fn take(run: &Planned) -> Result<Option<File>> {
        let path = path_of(run, ".lock");
        make_folder_of(&path)?;
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(Error::input("create the lock", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Error::refused(format!(
                "{}: this file system cannot lock files ({e}), so two processes could train one run; give the study a dir on \
                 another",
                path.display()
            ))),
        }
    }
}

fn holds_something(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

impl Measured {
    /// From the log of a finished run.
    pub fn of_run(run_dir: &Path) -> Result<Self> {
        let log = RunLog::read(run_dir)?;
        let Some(last) = log.steps.last() else {
            return Err(Error::failed(format!("{} has no step in its log", run_dir.display())));
        };
        let of_last: Vec<_> = log.evals.iter().filter(|eval| eval.step == last.step).collect();
        let sets = of_last.into_iter().map(|after| {
            let first = log.evals.iter().find(|eval| eval.set == after.set).unwrap_or(after);
            SetLosses { set: after.set.clone(), before: first.loss, after: after.loss, gap: after.gap }
        });
        Ok(Self { steps: last.step, tokens: last.tokens, loss: last.loss, sets: sets.collect() })
    }
}
