//! Writing one file, in large pieces.
use crate::files::storage::{Sink, Storage, write_all};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// What a file must have to be the one that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Where tensors begin that have hashes of their own, of every byte up to the end of the file, in the order of their
    /// names; `None` in a file without such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<u64>,
    /// XXH3-128 of what comes before the tensors, else of the contents; 32 lowercase hex digits.
    pub xxh3_128: String,
}

/// The text of a hash in manifests: 32 lowercase hex digits.
pub fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

/// A file that is written once, from its start, through a buffer.
pub struct Output<'a> {
    sink: Box<dyn Sink + 'a>,
    path: PathBuf,
    buffer: Vec<u8>,
    piece: usize,
    written: u64,
}

impl<'a> Output<'a> {
    /// Creates `path`, which does not exist.
    pub fn create(storage: &'a dyn Storage, path: &Path) -> Result<Self> {
        let sink = storage.create(path).map_err(Error::io("create", path))?;
        let piece = storage.write_piece();
        Ok(Self { sink, path: path.into(), buffer: Vec::new(), piece, written: 0 })
    }

    /// Appends `bytes` to the file.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.piece - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == self.piece {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        write_all(&mut *self.sink, &self.buffer, self.written).map_err(Error::io("write", &self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and makes the contents durable; gives their length.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.sink.sync().map_err(Error::io("sync", &self.path))?;
        Ok(self.written)
    }
}

/// Writes a small file whole, durably.
pub fn write_file(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<FileRecord> {
    let mut output = Output::create(storage, path)?;
    output.put(bytes)?;
    Ok(FileRecord { bytes: output.finish()?, head_bytes: None, xxh3_128: hex(xxh3_128(bytes)) })
}
