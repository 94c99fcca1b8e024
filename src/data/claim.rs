//! One writer per output. The kernel holds the lock, so the death of the holder frees it at once; the text inside the
//! file only tells the loser whom to look for. The file goes with its holder: what a killed one leaves is taken over.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::files::{Disk, Temporary};
use crate::machine::holder;
use crate::{Error, Result};

/// How long something that takes milliseconds is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds a lock file until it is dropped or the process ends, however it ends.
///
/// On a file system without locks it holds nothing. What is written stays whole there too, since every file has a name
/// of its own until it takes its place; but the second writer learns only at its end that it was the second.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Dropped in this order: first the name goes, then the lock.
    held: Option<(Temporary<'static>, File)>,
}

/// What came of one try.
enum Tried {
    Taken(Claim),
    /// Another process writes there; the text says which.
    Busy(String),
}

impl Claim {
    /// Takes the lock at `path` without waiting; refused with `what` it is for and who holds it.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self> {
        match Self::attempt(path)? {
            Tried::Taken(claim) => Ok(claim),
            Tried::Busy(who) => Err(Error::refused(format!(
                "{what} is being written by {who}; wait for it or stop it, or choose another name"
            ))),
        }
    }

    /// Takes the lock at `path` as soon as it is free: for what takes no time to finish.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        let started = Instant::now();
        loop {
            match Self::attempt(path)? {
                Tried::Taken(claim) => return Ok(claim),
                Tried::Busy(who) if started.elapsed() > PATIENCE => {
                    return Err(Error::refused(format!(
                        "{} has been held for {} seconds by {who}; stop it and try again",
                        path.display(),
                        PATIENCE.as_secs()
                    )));
                }
                Tried::Busy(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn attempt(path: &Path) -> Result<Tried> {
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .map_err(Error::input("create the lock", path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let text = fs::read_to_string(path).unwrap_or_default();
                    let who = match text.trim() {
                        "" => "a process that is just starting".to_owned(),
                        text => text.to_owned(),
                    };
                    return Ok(Tried::Busy(who));
                }
                Err(TryLockError::Error(_)) => {
                    let _ = fs::remove_file(path); // no lock: nobody holds it
                    return Ok(Tried::Taken(Self { held: None }));
                }
            }
            // The one before us deletes the file while it holds it: what we locked may have no name any more.
            let ours = file.metadata().map_err(Error::io("look at", path))?;
            if fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                let write = |_: &Path| file.set_len(0).and_then(|()| file.write_all(holder().as_bytes()));
                let (name, ()) =
                    Temporary::make(&Disk, path.to_path_buf(), write).map_err(Error::io("write", path))?;
                return Ok(Tried::Taken(Self { held: Some((name, file)) }));
            }
        }
    }

    /// Whether no other process can have it.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        fs::write(&path, "left by a killed process, longer than what follows it").unwrap();
        let first = Claim::take(&path, "x").unwrap();
        assert!(first.is_held());
        let error = Claim::take(&path, "the shard x").err().unwrap().to_string();
        let pid = format!("the shard x is being written by pid {} on ", std::process::id());
        assert!(error.starts_with(&pid) && !error.contains("killed"), "{error}");
        drop(first);
        assert!(!path.exists());
    }

    /// Threads that take and delete the same lock file: were an unlinked file taken for the lock, two would be inside.
    #[test]
    fn many_waiters_are_inside_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, inside) = (dir.path().join("x.lock"), dir.path().join("inside"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let _claim = Claim::wait(&path).unwrap();
                        File::create_new(&inside).expect("nobody else is inside");
                        fs::remove_file(&inside).unwrap();
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
