//! Going back to an earlier step on purpose. Nothing is deleted: later steps, and the lines of the log behind the step, get
//! other names in the run directory.
use super::load::{list_steps, verify};
use super::names::{LOG, rewound_name, step_name};
use crate::files::{Draft, Storage};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// What is no longer part of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewound {
    /// With what the new names begin.
    pub prefix: String,
    /// Old names of the steps, in the order in which they were renamed.
    pub steps: Vec<String>,
    /// The file with the lines that the log no longer has, where there were some.
    pub log: Option<PathBuf>,
}

/// Makes `step`, which was verified, the newest of `run_dir`, which is locked. `later` are the lines of the log behind it.
///
/// The newest step that verifies is renamed last: until then a resume goes on from there, as if nothing had been done, and
/// from then on it goes on from `step`.
pub fn rewind(storage: &dyn Storage, run_dir: &Path, step: u64, later: &str) -> Result<Rewound> {
    let steps = list_steps(storage, run_dir)?;
    let mut later_steps: Vec<(u64, PathBuf)> = steps.into_iter().filter(|(other, _)| *other > step).collect();
    let newest = later_steps.iter().position(|(_, dir)| verify(storage, dir).is_ok());
    let newest = newest.map(|i| later_steps.remove(i));
    let entries = storage.list(run_dir).map_err(Error::io("list", run_dir))?;
    let is_free = |number: &u32| {
        let taken = rewound_name(*number, "");
        !entries.iter().any(|entry| entry.name.starts_with(&taken))
    };
    let number = (1..).find(is_free).expect("a number is free");
    let mut rewound = Rewound { prefix: rewound_name(number, ""), ..Rewound::default() };
    if !later.is_empty() {
        let path = run_dir.join(rewound_name(number, LOG));
        let write =
            || Draft::of(storage, &path, later.as_bytes())?.place().and_then(|()| storage.sync_dir(run_dir));
        write().map_err(Error::io("write", &path))?;
        rewound.log = Some(path);
    }
    for (other, dir) in later_steps.into_iter().chain(newest) {
        let (name, aside) = (step_name(other), rewound_name(number, &step_name(other)));
        storage.rename(&dir, &run_dir.join(&aside)).map_err(Error::io("rename", &dir))?;
        storage.sync_dir(run_dir).map_err(Error::io("sync", run_dir))?;
        rewound.steps.push(name);
    }
    Ok(rewound)
}
