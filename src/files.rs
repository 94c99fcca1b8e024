//! Files that are there whole or not at all, however many processes write them at once.
//!
//! Content goes to a file whose name no other process has, and takes its place by a rename. A killed process leaves
//! that file behind: nobody mistakes it for the real one, and nobody writes to it again.
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// What is appended to a file's name while it is being written; the process and a number follow.
const UNFINISHED: &str = ".tmp-";

/// Names that must not outlive this process.
static TEMPORARY: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn temporary() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a file that goes with this value, or with the process where it ends itself meanwhile.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// What `make` makes at `path`.
    pub(crate) fn make<T>(path: PathBuf, make: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let mut names = temporary();
        let made = make(&path)?;
        names.insert(path.clone());
        Ok((Self(path), made))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// It has another name now, and stays.
    fn keep(mut self) {
        temporary().remove(&self.0);
        self.0.clear();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // One that was kept has no name. Best effort on the way out of an error.
        if temporary().remove(&self.0) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Deletes what is temporary, at the end of the process: whoever makes or drops such a file from here on waits for that.
pub(crate) fn take_away_temporary() {
    let names = temporary();
    names.iter().for_each(|path| drop(fs::remove_file(path)));
    std::mem::forget(names);
}

/// A file under a name of its own. Dropped before it took its place, it is deleted.
#[derive(Debug)]
pub struct Draft {
    file: File,
    name: Temporary,
    target: PathBuf,
}

impl Draft {
    /// A new, empty file beside `target`.
    pub fn create(target: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let mut name = target.as_os_str().to_owned();
            name.push(format!(
                "{UNFINISHED}{}-{}",
                std::process::id(),
                NUMBER.fetch_add(1, Ordering::Relaxed)
            ));
            let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
            match Temporary::make(PathBuf::from(name), create) {
                Ok((name, file)) => return Ok(Self { file, name, target: target.to_path_buf() }),
                // Of a process with our number: one that was killed, or one in another container.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// With this content, durably.
    pub fn of(target: &Path, content: &[u8]) -> io::Result<Self> {
        let mut draft = Self::create(target)?;
        draft.write_all(content)?;
        draft.sync()?;
        Ok(draft)
    }

    /// What it will be called.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the contents survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Takes the place of whatever is there.
    pub fn replace(self) -> io::Result<()> {
        self.check()?;
        fs::rename(self.name.path(), &self.target)?;
        self.name.keep();
        Ok(())
    }

    /// Takes its place. An error of the kind `AlreadyExists` where that is taken.
    pub fn place(self) -> io::Result<()> {
        self.check()?;
        rename_new(self.name.path(), &self.target)?;
        self.name.keep();
        Ok(())
    }

    /// Whether the name still leads to what was written.
    fn check(&self) -> io::Result<()> {
        let (ours, there) = (self.file.metadata()?, fs::symlink_metadata(self.name.path())?);
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
            return Ok(());
        }
        Err(io::Error::other("another process replaced it while it was written"))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a file whole or not at all, also when the process or the machine dies on the way, and replaces what is
/// there: behind a link, what the link leads to. A pipe or a device is written to as it is.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let there = fs::metadata(path).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return OpenOptions::new().write(true).open(path)?.write_all(content);
        }
        let target = if there.is_some() { fs::canonicalize(path)? } else { path.to_path_buf() };
        let draft = Draft::of(&target, content)?;
        if let Some(there) = there {
            draft.file.set_permissions(there.permissions())?;
        }
        draft.replace()?;
        sync_folder_of(&target)
    };
    write().map_err(Error::io("write", path))
}

/// As [`write_whole`], of a file that is not there; refused otherwise, also where it came meanwhile.
pub fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    match Draft::of(path, content).and_then(Draft::place).and_then(|()| sync_folder_of(path)) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            Err(Error::refused(format!("{} exists; choose another file or delete it", path.display())))
        }
        done => done.map_err(Error::io("write", path)),
    }
}

/// Whether a file of this name is a draft that a killed process left, or that is being written.
pub fn is_draft(name: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let numbers = name.rsplit_once(UNFINISHED).and_then(|(_, numbers)| numbers.split_once('-'));
    numbers.is_some_and(|(pid, number)| digits(pid) && digits(number))
}

/// Renames a file or directory; `AlreadyExists` where `to` is taken.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that cannot.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_unless_there(from, to),
        Err(e) => Err(e.into()),
    }
}

/// Two steps, between which another process may come: only what a lock protects is sure.
fn rename_unless_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == ErrorKind::NotFound => fs::rename(from, to),
        Err(e) => Err(e),
    }
}

/// `$XDG_CACHE_HOME/rewarm`, or `~/.cache/rewarm`.
pub fn cache_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("rewarm"))
}

/// The folder that a path lies in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes what was renamed survive a loss of power.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn two_writers_of_one_name_never_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (a, b) = (vec![b'a'; 300_000], vec![b'b'; 200_000]);
        std::thread::scope(|scope| {
            for content in [&a, &b] {
                scope.spawn(|| (0..50).for_each(|_| write_whole(&path, content).unwrap()));
            }
            for _ in 0..200 {
                if let Ok(found) = fs::read(&path) {
                    assert!(found == a || found == b, "{} bytes, a mixture", found.len());
                }
            }
        });
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn what_came_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let draft = Draft::of(&path, b"ours").unwrap();
        assert!(
            is_draft(draft.name.path().to_str().unwrap()) && !is_draft("file.tmp-x-1") && !is_draft("file")
        );
        write_new(&path, b"theirs").unwrap();
        assert_eq!(draft.place().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(write_new(&path, b"more").unwrap_err().to_string().contains("exists; choose another"));
        assert_eq!(rename_unless_there(&path, &path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"theirs".to_vec(), vec!["file".into()]));
        // A draft that somebody else put in our place is not given out as ours.
        let draft = Draft::create(&path).unwrap();
        fs::remove_file(draft.name.path()).unwrap();
        fs::write(draft.name.path(), "foreign").unwrap();
        assert!(draft.replace().unwrap_err().to_string().contains("another process"));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn links_permissions_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        write_whole(Path::new("/dev/null"), b"gone").unwrap();
        assert_eq!(names(dir.path()), ["file", "link"]);
    }
}
