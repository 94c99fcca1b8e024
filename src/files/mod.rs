//! Files that are there whole or not at all, however many processes write them at once.
//!
//! Everything that lasts is written through [`Storage`]: on the real [`Disk`], or on one of [`simulate`] that fails or loses
//! power. Small files take their place by [`write_whole`] and [`write_new`], large ones as a [`Draft`].
mod draft;
pub mod simulate;
mod space;
pub mod storage;

pub use draft::{Draft, is_draft};
pub(crate) use draft::{Temporary, take_away_temporary};
pub use storage::{Disk, Storage};

use crate::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes a file whole or not at all, also when the process or the machine dies on the way, and replaces what is
/// there: behind a link, what the link leads to. A pipe or a device is written to as it is.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let there = fs::metadata(path).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            return OpenOptions::new().write(true).open(path)?.write_all(content);
        }
        let target = if there.is_some() { fs::canonicalize(path)? } else { path.to_path_buf() };
        let draft = Draft::of(&Disk, &target, content)?;
        if let Some(there) = there {
            fs::set_permissions(draft.path(), there.permissions())?;
        }
        draft.replace()
    };
    write().map_err(Error::io("write", path))
}

/// As [`write_whole`], of a file that is not there; refused otherwise, also where it came meanwhile.
pub fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    match Draft::of(&Disk, path, content).and_then(Draft::place).and_then(|()| sync_folder_of(path)) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            Err(Error::refused(format!("{} exists; choose another file or delete it", path.display())))
        }
        done => done.map_err(Error::io("write", path)),
    }
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
        let draft = Draft::of(&Disk, &path, b"ours").unwrap();
        assert!(is_draft(draft.path().to_str().unwrap()) && !is_draft("file.tmp-x-1") && !is_draft("file"));
        write_new(&path, b"theirs").unwrap();
        assert_eq!(draft.place().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(write_new(&path, b"more").unwrap_err().to_string().contains("exists; choose another"));
        assert_eq!(rename_unless_there(&path, &path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).unwrap(), names(dir.path())), (b"theirs".to_vec(), vec!["file".into()]));
        // A draft that somebody else put in our place is not given out as ours.
        let draft = Draft::create(&Disk, &path).unwrap();
        fs::remove_file(draft.path()).unwrap();
        fs::write(draft.path(), "foreign").unwrap();
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
