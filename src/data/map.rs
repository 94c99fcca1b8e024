//! Read-only files, mapped when first touched: 10,000 shards open without 20,000 maps.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
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

    /// Size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// The whole file.
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

/// Reads from a file during open, when nothing is mapped yet.
pub(crate) fn read_at<const N: usize>(file: &mut File, path: &Path, at: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at)).map_err(Error::input("read", path))?;
    file.read_exact(&mut bytes).map_err(Error::input("read", path))?;
    Ok(bytes)
}

/// Opens a file the user named and returns its size in bytes; a directory is refused.
pub(crate) fn open_sized(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path).map_err(Error::input("open", path))?;
    let metadata = file.metadata().map_err(Error::input("read the size of", path))?;
    if !metadata.is_file() {
        return Err(Error::refused(format!("{} is not a regular file; name a token shard", path.display())));
    }
    Ok((file, metadata.len()))
}
