//! The first touch of a run directory.
use crate::files::storage::Storage;
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Creates `run_dir` and its missing parents, durably, and gives what it created, parents first. One that exists is
/// fine.
///
/// # Errors
/// Refused, before any step is computed, when it cannot be created or is not a directory.
pub fn create_run_dir(storage: &dyn Storage, run_dir: &Path) -> Result<Vec<PathBuf>> {
    match storage.list(run_dir) {
        Ok(_) => return Ok(Vec::new()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::input("use the run directory", run_dir)(e)),
    }
    let parent = match run_dir.parent() {
        Some(parent) if parent == Path::new("") => Path::new("."),
        Some(parent) => parent,
        None => return Ok(Vec::new()),
    };
    let mut created = create_run_dir(storage, parent)?;
    match storage.create_dir(run_dir) {
        Ok(()) => created.push(run_dir.to_path_buf()),
        // Another process was faster.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Error::input("create the run directory", run_dir)(e)),
    }
    storage.sync_dir(parent).map_err(Error::io("sync", parent))?;
    Ok(created)
}
