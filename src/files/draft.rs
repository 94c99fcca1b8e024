//! Content under a name that no other process has, which takes its place by a rename. A killed process leaves that file
//! behind: nobody mistakes it for the real one, and nobody writes to it again.
use super::folder_of;
use super::storage::{Sink, Storage};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is appended to a file's name while it is being written; the process and a number follow.
const UNFINISHED: &str = ".tmp-";

/// Names that must not outlive this process.
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a file that goes with this value, or with the process where it ends itself meanwhile.
pub(crate) struct Temporary<'a> {
    storage: &'a dyn Storage,
    path: PathBuf,
}

impl<'a> Temporary<'a> {
    /// What `make` makes at `path`.
    pub(crate) fn make<T>(
        storage: &'a dyn Storage,
        path: PathBuf,
        make: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        let mut names = temporary();
        let made = make(&path)?;
        names.insert(path.clone());
        Ok((Self { storage, path }, made))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It has another name now, and stays.
    fn keep(mut self) {
        temporary().remove(&self.path);
        self.path.clear();
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // One that was kept has no name. Best effort on the way out of an error.
        if temporary().remove(&self.path) {
            let _ = self.storage.remove_file(&self.path);
        }
    }
}

/// Deletes what is temporary, at the end of the process: whoever makes or drops such a file from here on waits for that.
pub(crate) fn take_away_temporary() {
    let names = temporary();
    names.iter().for_each(|path| drop(fs::remove_file(path)));
    std::mem::forget(names);
}

impl fmt::Debug for Temporary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Temporary({})", self.path.display())
    }
}

/// A file under a name of its own. Dropped before it took its place, it is deleted.
pub struct Draft<'a> {
    storage: &'a dyn Storage,
    sink: Box<dyn Sink + 'a>,
    name: Temporary<'a>,
    target: PathBuf,
}

impl<'a> Draft<'a> {
    /// A new, empty file beside `target`.
    pub fn create(storage: &'a dyn Storage, target: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let mut name = target.as_os_str().to_owned();
            name.push(format!(
                "{UNFINISHED}{}-{}",
                std::process::id(),
                NUMBER.fetch_add(1, Ordering::Relaxed)
            ));
            match Temporary::make(storage, PathBuf::from(name), |path| storage.create(path)) {
                Ok((name, sink)) => return Ok(Self { storage, sink, name, target: target.to_path_buf() }),
                // Of a process with our number: one that was killed, or one in another container.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// With this content, durably.
    pub fn of(storage: &'a dyn Storage, target: &Path, content: &[u8]) -> io::Result<Self> {
        let mut draft = Self::create(storage, target)?;
        content.chunks(storage.write_piece()).try_for_each(|piece| draft.write_all(piece))?;
        draft.sync()?;
        Ok(draft)
    }

    /// What it is called so far.
    pub fn path(&self) -> &Path {
        self.name.path()
    }

    /// What it will be called.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the contents survive a loss of power.
    pub fn sync(&mut self) -> io::Result<()> {
        self.sink.sync()
    }

    /// Takes the place of whatever is there, durably.
    pub fn replace(self) -> io::Result<()> {
        self.check()?;
        self.storage.replace(self.name.path(), &self.target)?;
        self.name.keep();
        self.storage.sync_dir(folder_of(&self.target))
    }

    /// Takes its place. An error of the kind `AlreadyExists` where that is taken.
    pub fn place(self) -> io::Result<()> {
        self.check()?;
        self.storage.rename(self.name.path(), &self.target)?;
        self.name.keep();
        Ok(())
    }

    /// Whether the name still leads to what was written.
    fn check(&self) -> io::Result<()> {
        if self.sink.is_at(self.name.path())? {
            return Ok(());
        }
        Err(io::Error::other("another process replaced it while it was written"))
    }
}

impl fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({})", self.path().display())
    }
}

impl Write for Draft<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a file of this name is a draft that a killed process left, or that is being written.
pub fn is_draft(name: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let numbers = name.rsplit_once(UNFINISHED).and_then(|(_, numbers)| numbers.split_once('-'));
    numbers.is_some_and(|(pid, number)| digits(pid) && digits(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::simulate::{Crash, Fault, Faulty, Memory};

    const FILE: &str = "/run/config.toml";

    fn write(storage: &dyn Storage, content: &[u8]) -> io::Result<()> {
        Draft::of(storage, Path::new(FILE), content)?.replace()
    }

    /// Long enough to be written in pieces.
    fn content(of: u8) -> Vec<u8> {
        vec![of; 10_000]
    }

    /// After a loss of power at any time the file is one of the two that were written, and the later one from when that
    /// was said to be there: (images, other contents, lost).
    fn after_losses(crash: &Crash) -> [u64; 3] {
        for (step, of) in [(1, b'a'), (2, b'b')] {
            write(crash, &content(of)).unwrap();
            crash.mark(step);
        }
        let (mut other, mut lost) = (0, 0);
        let images = crash.images(|disk, marked| {
            let there = disk.get(Path::new(FILE));
            let step = [(1, b'a'), (2, b'b')].iter().find(|(_, of)| there.as_ref() == Some(&content(*of)));
            match (there.is_some(), step) {
                (true, None) => other += 1,
                (_, found) if found.map(|(step, _)| *step) < marked => lost += 1,
                _ => {}
            }
        });
        [images, other, lost]
    }

    #[test]
    fn a_loss_of_power_leaves_the_file_before_or_after() {
        let root = Path::new("/run");
        let [images, other, lost] = after_losses(&Crash::new(root));
        assert!(images > 20, "{images}");
        assert_eq!((other, lost), (0, 0));
        // The enumeration finds a protocol without either sync.
        assert!(after_losses(&Crash::ignoring(root, true, false))[1] > 0);
        assert!(after_losses(&Crash::ignoring(root, false, true))[2] > 0);
    }

    #[test]
    fn a_failed_call_leaves_the_file_before_or_after_and_no_draft() {
        let before = || {
            let disk = Memory::new(Path::new("/run"));
            disk.put(Path::new(FILE), content(b'a'));
            disk
        };
        let all = Faulty::counting(&before()).calls();
        let disk = before();
        let counted = Faulty::counting(&disk);
        write(&counted, &content(b'b')).unwrap();
        assert!(counted.calls() > all + 6);
        for fault in [Fault::Error(ErrorKind::StorageFull), Fault::Death, Fault::Short, Fault::Interrupt] {
            for at in 0..counted.calls() {
                let disk = before();
                let faulty = Faulty::new(&disk, at, fault);
                let done = write(&faulty, &content(b'b'));
                let there = disk.get(Path::new(FILE)).unwrap();
                assert!(there == content(b'a') || there == content(b'b'), "{fault:?} at {at}");
                assert!(done.is_err() || there == content(b'b'), "{fault:?} at {at}");
                let drafts = disk.tree().len() - 2;
                assert!(drafts == 0 || fault == Fault::Death, "{fault:?} at {at}: {drafts} drafts stay");
            }
        }
    }
}
