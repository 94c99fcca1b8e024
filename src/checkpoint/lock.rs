//! One writer per run directory. The kernel holds the lock, so the death of the holder frees it at once;
//! the text inside the file only tells the loser whom to look for.
use crate::machine::holder;
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that is locked.
pub const LOCK: &str = "lock";

/// Holds `run/lock` until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    path: PathBuf,
}

impl RunLock {
    /// Takes the lock of `run_dir`, which exists, without waiting.
    ///
    /// # Errors
    /// Refused when another process holds it (named with pid, host and since when), when the directory
    /// cannot be written, and when its file system has no locks.
    pub fn acquire(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(LOCK);
        let mut file = loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(Error::input("create the lock", &path))?;
            match file.try_lock() {
                // Its last holder may have deleted it in between.
                Ok(()) if is_at(&file, &path) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(run_dir, &path)),
                Err(TryLockError::Error(e)) => {
                    return Err(Error::refused(format!(
                        "{}: this file system cannot lock files ({e}), so two processes could write one run; \
                         move the run to a local disk",
                        path.display()
                    )));
                }
            }
        };
        file.set_len(0)
            .and_then(|()| file.write_all(holder().as_bytes()))
            .map_err(Error::io("write", &path))?;
        Ok(Self { file, path })
    }

    /// The directory that is locked.
    pub fn run_dir(&self) -> &Path {
        self.path.parent().expect("the lock is in it")
    }

    /// Deletes the lock, for a directory in which nothing was begun.
    pub fn withdraw(self) {
        let _ = fs::remove_file(&self.path); // a lock that stays is free
    }
}

/// Whether the file at `path` is this one.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    let [open, there] = [file.metadata(), fs::metadata(path)].map(|found| found.ok().map(id));
    open.is_some() && open == there
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The file stays. Its text goes, best effort, so that a later loser never reads a holder that left.
        let _ = self.file.set_len(0);
    }
}

/// The refusal that names the holder.
fn held(run_dir: &Path, path: &Path) -> Error {
    let text = fs::read_to_string(path).unwrap_or_default();
    let who = match text.trim() {
        "" => "a process that is just starting",
        text => text,
    };
    Error::refused(format!(
        "{} is in use by {who}; wait for it or stop it, or choose another run directory",
        run_dir.display()
    ))
}
