//! Read-only files, mapped when first touched: 10,000 shards open without 20,000 maps.
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memmap2::Mmap;

use crate::{Error, Result};

/// A file of known size whose map is made on first access and then kept.
#[derive(Debug)]
pub(crate) struct LazyMap {
    path: PathBuf,
    bytes: u64,
    map: OnceLock<Mmap>,
}

impl LazyMap {
    /// `bytes` is the size found at open; a different size at mapping time is refused.
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes, map: OnceLock::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// All bytes of the file; an error where it has become shorter meanwhile.
    pub(crate) fn all(&self) -> Result<&[u8]> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let file = File::open(&self.path).map_err(Error::input("open", &self.path))?;
        // SAFETY: the map is read-only and only viewed as bytes, for which every content is valid. A shard must
        // not be shortened while a run reads it (the kernel would raise SIGBUS); writers here use rename.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &self.path))?;
        if map.len() as u64 != self.bytes {
            return Err(Error::refused(format!(
                "{} has {} bytes but had {} when it was opened: it was changed during the run, start again",
                self.path.display(),
                map.len(),
                self.bytes
            )));
        }
        Ok(self.map.get_or_init(|| map))
    }

    /// `len` bytes from `at`, or `None` when they are not all inside the file.
    pub(crate) fn slice(&self, at: u64, len: u64) -> Result<Option<&[u8]>> {
        let range =
            usize::try_from(at).ok().zip(at.checked_add(len).and_then(|end| usize::try_from(end).ok()));
        let all = self.all()?;
        Ok(range.and_then(|(start, end)| all.get(start..end)))
    }
}

/// A file during open, when nothing is mapped yet. System calls are what opening thousands of shards costs, so a small
/// file is read once and whole, a large one by its first block and then where it is asked.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) path: &'a Path,
    file: File,
    /// Size of the file in bytes, when it was opened.
    pub(crate) bytes: u64,
    /// Device and number of the file there.
    pub(crate) identity: (u64, u64),
    /// The whole file up to `WHOLE_BYTES`, otherwise its first `BLOCK_BYTES`.
    head: Vec<u8>,
}

/// Files up to this size are read whole at open.
pub(crate) const WHOLE_BYTES: u64 = 256 * 1024;
/// What is read of larger ones at a time.
pub(crate) const BLOCK_BYTES: u64 = 4096;

impl<'a> Opening<'a> {
    /// Opens a file the user named; a directory is refused.
    pub(crate) fn new(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::input("open", path))?;
        let metadata = file.metadata().map_err(Error::input("read the size of", path))?;
        if !metadata.is_file() {
            return Err(Error::refused(format!(
                "{} is not a regular file; name a token shard",
                path.display()
            )));
        }
        let bytes = metadata.len();
        let identity = (metadata.dev(), metadata.ino());
        let mut head = vec![0; if bytes <= WHOLE_BYTES { bytes } else { BLOCK_BYTES } as usize];
        file.read_exact_at(&mut head, 0).map_err(Error::input("read", path))?;
        Ok(Self { path, file, bytes, identity, head })
    }

    /// `out.len()` bytes from `at`.
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let start = usize::try_from(at).ok();
        let held = start.and_then(|start| self.head.get(start..start.checked_add(out.len())?));
        match held {
            Some(held) => out.copy_from_slice(held),
            None => self.file.read_exact_at(out, at).map_err(Error::input("read", self.path))?,
        }
        Ok(())
    }

    /// As `read`, for a fixed number of bytes.
    pub(crate) fn array<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.read(at, &mut out)?;
        Ok(out)
    }

    /// The whole file if it is small.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.bytes <= WHOLE_BYTES).then_some(self.head.as_slice())
    }
}
