//! Writes Megatron `.bin` + `.idx`, whole or not at all.
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::dtype::Dtype;
use super::megatron::{MAGIC, with_suffix};
use crate::{Error, Result};

/// A shard under construction: `<prefix>.bin.tmp` until `finish`. Dropped unfinished, it leaves nothing behind.
///
/// Memory: 4 bytes per document for the index, which goes out at the end.
#[derive(Debug)]
pub struct ShardWriter {
    prefix: PathBuf,
    dtype: Dtype,
    bin: Option<BufWriter<File>>,
    /// Tokens of each document.
    sizes: Vec<i32>,
    tokens: u64,
    scratch: Vec<u8>,
}

impl ShardWriter {
    /// For ids below `vocab_size`: u16 below 65,500 as gpt-neox chooses, otherwise i32. Refused when the shard exists.
    pub fn create(prefix: &Path, vocab_size: u32) -> Result<Self> {
        for suffix in [".bin", ".idx"] {
            refuse_existing(&with_suffix(prefix, suffix))?;
        }
        if let Some(folder) = prefix.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let path = with_suffix(prefix, ".bin.tmp");
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let dtype = if vocab_size < 65_500 { Dtype::U16 } else { Dtype::I32 };
        let bin = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self {
            prefix: prefix.to_path_buf(),
            dtype,
            bin,
            sizes: Vec::new(),
            tokens: 0,
            scratch: Vec::new(),
        })
    }

    /// The stored integer type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Documents so far.
    pub fn documents(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// Tokens so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Appends one document. Refused when it has 2^31 tokens or more, or an id does not fit the type.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        let size = i32::try_from(ids.len()).map_err(|_| {
            Error::refused(format!(
                "a document has {} tokens, the format allows 2147483647; split it",
                ids.len()
            ))
        })?;
        let limit = if self.dtype == Dtype::U16 { u32::from(u16::MAX) } else { i32::MAX as u32 };
        if let Some(id) = ids.iter().find(|id| **id > limit) {
            return Err(Error::refused(format!(
                "the id {id} does not fit {}; this tokenizer cannot be stored",
                self.dtype
            )));
        }
        self.scratch.clear();
        match self.dtype {
            Dtype::U16 => self.scratch.extend(ids.iter().flat_map(|id| (*id as u16).to_le_bytes())),
            _ => self.scratch.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
        }
        if let Some(bin) = &mut self.bin {
            bin.write_all(&self.scratch)
                .map_err(Error::io("write", with_suffix(&self.prefix, ".bin.tmp")))?;
        }
        self.sizes.push(size);
        self.tokens += ids.len() as u64;
        Ok(())
    }

    /// Writes the index and gives both files their names. The `.idx` comes last: a shard exists when it does.
    pub fn finish(mut self) -> Result<()> {
        let name = |suffix: &str| with_suffix(&self.prefix, suffix);
        let (bin, idx, bin_tmp, idx_tmp) = (name(".bin"), name(".idx"), name(".bin.tmp"), name(".idx.tmp"));
        if let Some(writer) = self.bin.take() {
            let file = writer.into_inner().map_err(|e| Error::io("write", &bin_tmp)(e.into_error()))?;
            file.sync_all().map_err(Error::io("sync", &bin_tmp))?;
        }
        let result = self.write_index(&idx_tmp).and_then(|()| {
            // Someone else may have made them since `create`.
            refuse_existing(&bin)?;
            refuse_existing(&idx)?;
            fs::rename(&bin_tmp, &bin).map_err(Error::io("rename", &bin_tmp))?;
            fs::rename(&idx_tmp, &idx).map_err(Error::io("rename", &idx_tmp))
        });
        if result.is_err() {
            remove(&[&bin_tmp, &idx_tmp]);
        }
        result.and_then(|()| sync_folder(&self.prefix))
    }

    fn write_index(&self, path: &Path) -> Result<()> {
        let io = || Error::io("write", path);
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let documents = self.documents();
        let code = if self.dtype == Dtype::U16 { 8u8 } else { 4 };
        let head = [
            &MAGIC[..],
            &1u64.to_le_bytes(),
            &[code],
            &documents.to_le_bytes(),
            &(documents + 1).to_le_bytes(),
        ];
        out.write_all(&head.concat()).map_err(io())?;
        for size in &self.sizes {
            out.write_all(&size.to_le_bytes()).map_err(io())?;
        }
        let mut pointer = 0u64;
        for size in &self.sizes {
            out.write_all(&pointer.to_le_bytes()).map_err(io())?;
            pointer += u64::from(size.unsigned_abs()) * self.dtype.bytes();
        }
        // Each document is one sequence.
        for sequence in 0..=documents {
            out.write_all(&sequence.to_le_bytes()).map_err(io())?;
        }
        let file = out.into_inner().map_err(|e| io()(e.into_error()))?;
        file.sync_all().map_err(Error::io("sync", path))
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        if self.bin.take().is_some() {
            remove(&[&with_suffix(&self.prefix, ".bin.tmp")]);
        }
    }
}

/// Writes a small file beside a shard through a temporary name.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let tmp = with_suffix(path, ".tmp");
    let write = || {
        let mut file = File::create(&tmp)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&tmp, path)
    };
    write().map_err(Error::io("write", path))
}

fn refuse_existing(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} exists already and is not overwritten; choose another output prefix or remove it",
        path.display()
    )))
}

fn remove(paths: &[&Path]) {
    for path in paths {
        // Best effort on the way out of an error: a leftover .tmp is harmless and overwritten next time.
        let _ = fs::remove_file(path);
    }
}

/// Makes the renames durable.
fn sync_folder(prefix: &Path) -> Result<()> {
    let folder = match prefix.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
}
