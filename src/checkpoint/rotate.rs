//! Deleting: old steps after a commit, and leftovers at the start of a run. A step directory leaves its name
//! before its files go, so no `step-*` is ever half there.
use super::load::{list_steps, verify};
use super::manifest::{Manifest, RunState};
use super::names::{is_tmp, is_trash, step_name, trash_name};
use crate::files::storage::{Storage, remove_tree};
use crate::{Error, Result};
use std::path::Path;

/// Which steps stay when a newer one was saved.
#[derive(Clone, Copy)]
pub struct Keep {
    /// So many of the newest; at least 2 are kept.
    pub newest: usize,
    /// And those of which this holds, however old.
    pub stays: fn(&RunState) -> bool,
}

impl From<usize> for Keep {
    /// The newest alone.
    fn from(newest: usize) -> Self {
        Self { newest, stays: |_| false }
    }
}

/// Deletes steps older than the newest of `keep`, but for those that stay, and never one of the two newest that verify.
/// `saved` was just written and counts as verified.
pub(super) fn rotate(storage: &dyn Storage, run_dir: &Path, saved: u64, keep: Keep) -> Result<()> {
    let (steps, newest) = (list_steps(storage, run_dir)?, keep.newest.max(2));
    let stays = |dir: &Path| Manifest::read(storage, dir).is_ok_and(|manifest| (keep.stays)(&manifest.state));
    if steps.len() > newest {
        // The one just saved: it stays even where newer ones of an abandoned branch are in the way.
        let (mut kept, mut valid) = (1, 1);
        for (step, dir) in steps.iter().filter(|(step, _)| *step != saved) {
            if kept >= newest && valid >= 2 {
                if stays(dir) {
                    continue;
                }
                set_aside(storage, run_dir, &step_name(*step))?;
                continue;
            }
            kept += 1;
            // Reading a checkpoint takes time: no more are verified than the rule needs.
            if valid < 2 && verify(storage, dir).is_ok() {
                valid += 1;
            }
        }
    }
    remove_matching(storage, run_dir, is_trash).map(|_| ())
}

/// Takes a step out of the run, durably, under a name that the next start deletes.
pub(super) fn set_aside(storage: &dyn Storage, run_dir: &Path, name: &str) -> Result<()> {
    let taken = |trash: &str| -> Result<bool> {
        let entries = storage.list(run_dir).map_err(Error::io("list", run_dir))?;
        Ok(entries.iter().any(|e| e.name == trash))
    };
    let mut number = 1;
    while taken(&trash_name(name, number))? {
        number += 1;
    }
    let trash = trash_name(name, number);
    let dir = run_dir.join(name);
    storage.rename(&dir, &run_dir.join(trash)).map_err(Error::io("rename to trash", &dir))?;
    storage.sync_dir(run_dir).map_err(Error::io("sync", run_dir))
}

/// Deletes what interrupted saves and rotations left in `run_dir`, which this process has locked; gives the
/// names. Directories of other names are nobody's leftovers and stay.
pub fn clean(storage: &dyn Storage, run_dir: &Path) -> Result<Vec<String>> {
    let entries = storage.list(run_dir).map_err(Error::io("list", run_dir))?;
    for entry in entries.iter().filter(|e| !e.is_dir && crate::files::is_draft(&e.name)) {
        let path = run_dir.join(&entry.name);
        storage.remove_file(&path).map_err(Error::io("delete", &path))?;
    }
    remove_matching(storage, run_dir, |name| is_trash(name) || is_tmp(name))
}

fn remove_matching(
    storage: &dyn Storage,
    run_dir: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let entries = storage.list(run_dir).map_err(Error::io("list", run_dir))?;
    let mut removed = Vec::new();
    for entry in entries.into_iter().filter(|e| e.is_dir && wanted(&e.name)) {
        let dir = run_dir.join(&entry.name);
        remove_tree(storage, &dir).map_err(Error::io("delete", &dir))?;
        removed.push(entry.name);
    }
    Ok(removed)
}
