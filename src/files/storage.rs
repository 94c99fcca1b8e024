//! The file system as checkpoints and small files see it. Nothing else writes them, so that every fault can be injected
//! here: [`Disk`] is the real one, [`super::simulate`] has those that fail and lose power.
//!
//! Writing goes through `write`, never through a mapping: on a full disk a mapping is a SIGBUS, not an error.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes handed to one `write` of a large file.
pub const WRITE_PIECE: usize = 8 << 20;

/// What one entry of a directory is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// File name, without its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The calls that writing is made of; each may fail, and each is a place where power may be lost.
pub trait Storage: Sync {
    /// Creates one directory, whose parent exists. An existing one is an error.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a file for writing. An existing one is an error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink + '_>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt + '_>>;
    /// Renames a file or directory; refuses to replace anything.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file, in the place of a file that may be there.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the entries of a directory survive a loss of power.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Deletes a file; an error where there is none.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Deletes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// The entries of a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Bytes that can still be written below `dir`; `None` where the system does not say.
    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>>;
    /// Bytes per `write`; simulated disks choose small ones, so that small files still tear in the middle.
    fn write_piece(&self) -> usize {
        WRITE_PIECE
    }
}

/// A file being written, from its start to its end.
pub trait Sink {
    /// Appends some of `bytes` and says how many, as `write(2)` does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes the contents survive a loss of power. A failed sync is never tried again: the kernel may have
    /// dropped the pages it could not write and report success the second time.
    fn sync(&mut self) -> io::Result<()>;
    /// Whether this name leads to the file: not where another process has put its own there.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

/// A file being read.
pub trait ReadAt: Send + Sync {
    /// Length of the file in bytes.
    fn bytes(&self) -> u64;
    /// Reads some bytes at `offset`, as `pread(2)` does.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink + '_>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt + '_>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Box::new(DiskSource { file, bytes: metadata.len() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        crate::files::rename_new(from, to)
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not Unicode is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        super::space::free_bytes(dir)
    }
}

impl Sink for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let (ours, there) = (self.metadata()?, fs::symlink_metadata(path)?);
        Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }
}

struct DiskSource {
    file: File,
    bytes: u64,
}

impl ReadAt for DiskSource {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, offset)
    }
}

/// Keeps the kind of an error, which callers act on, and adds the place to its text.
fn at(offset: u64, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("at byte {offset}: {error}"))
}

/// Writes all of `bytes`: continues short writes, repeats interrupted ones. `offset` is where they begin.
pub fn write_all(sink: &mut dyn Sink, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(at(offset, ErrorKind::WriteZero.into())),
            Ok(n) => {
                offset += n as u64;
                bytes = &bytes[n.min(bytes.len())..];
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(at(offset, e)),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset`: continues short reads, repeats interrupted ones.
pub fn read_exact_at(source: &dyn ReadAt, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match source.read_at(buffer, offset) {
            Ok(0) => return Err(at(offset, ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                offset += n as u64;
                buffer = buffer.get_mut(n..).unwrap_or_default();
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(at(offset, e)),
        }
    }
    Ok(())
}

/// Reads a file of at most `limit` bytes, so that a wrong file cannot exhaust memory.
pub fn read_small(storage: &dyn Storage, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let source = storage.open(path)?;
    let bytes = source.bytes();
    if bytes > limit as u64 {
        let text = format!("it has {bytes} bytes, where at most {limit} are expected");
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let mut buffer = vec![0; bytes as usize];
    read_exact_at(&*source, &mut buffer, 0)?;
    Ok(buffer)
}

/// Deletes a directory with everything in it.
pub fn remove_tree(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    for DirEntry { name, is_dir } in storage.list(dir)? {
        let path: PathBuf = dir.join(name);
        if is_dir { remove_tree(storage, &path)? } else { storage.remove_file(&path)? }
    }
    storage.remove_dir(dir)
}
