//! One file of tokens, memory-mapped, with bounds-checked access.
use std::path::{Path, PathBuf};

use strum::Display;

use super::dtype::{BadToken, Dtype};
use super::map::{LazyMap, Opening};
use super::megatron::{Index, with_suffix};
use super::{fingerprint, foreign, llmc, npy, verdict};
use crate::{Error, Result};

/// How a shard is laid out on disk. Its name is part of fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Format {
    /// `.bin` + `.idx` of Megatron-LM and GPT-NeoX.
    Megatron,
    /// llm.c with a 1024-byte header.
    #[strum(serialize = "llm.c")]
    LlmC,
    /// u16 tokens, nothing else.
    RawU16,
    /// u32 tokens, nothing else.
    RawU32,
    /// NumPy's, one array of integers.
    Npy,
}

/// An opened shard. Opening is O(1) in its size; files are mapped when first read.
#[derive(Debug)]
pub struct Shard {
    format: Format,
    dtype: Dtype,
    tokens: u64,
    /// Byte of the first token.
    start: u64,
    bin: LazyMap,
    index: Option<Index>,
    fingerprint: u128,
    identity: (u64, u64),
}

impl Shard {
    /// Opens the file of tokens at `bin`; Megatron's `.idx` is expected beside it. What is named as raw and has NumPy's
    /// header is read as that says.
    pub fn open(bin: &Path, format: Format) -> Result<Self> {
        let file = Opening::new(bin)?;
        let bytes = file.bytes;
        if bytes == 0 {
            return Err(Error::refused(format!("{} is empty; copy it again or leave it out", bin.display())));
        }
        let raw = matches!(format, Format::RawU16 | Format::RawU32);
        let format = if raw && npy::is_npy(&file)? { Format::Npy } else { format };
        let idx = (format == Format::Megatron).then(|| index_path(bin));
        let idx = idx.as_deref().map(Opening::new).transpose()?;
        let mut index = idx.as_ref().map(|idx| Index::open(idx, bytes)).transpose()?;
        let (dtype, start, tokens) = match (format, &index) {
            (_, Some(index)) => (index.dtype, 0, whole_tokens(bin, bytes, index.dtype)?),
            (Format::LlmC, None) => {
                let (dtype, tokens) = llmc::header(&file)?;
                (dtype, llmc::HEADER_BYTES, tokens)
            }
            (Format::Npy, None) => npy::header(&file)?,
            (Format::RawU32 | Format::RawU16 | Format::Megatron, None) => {
                foreign::refuse(&file)?;
                let dtype = if format == Format::RawU32 { Dtype::U32 } else { Dtype::U16 };
                (dtype, 0, whole_tokens(bin, bytes, dtype)?)
            }
        };
        let files = std::iter::once(&file).chain(&idx);
        let identity = file.identity;
        let fingerprint = fingerprint::of_shard(&format.to_string(), dtype, tokens, files)?;
        if let Some(index) = index.as_mut().filter(|index| !index.was_looked_at_whole()) {
            index.is_odd(verdict::recall(fingerprint));
        }
        Ok(Self {
            format,
            dtype,
            tokens,
            start,
            bin: LazyMap::new(bin.to_path_buf(), bytes),
            index,
            fingerprint,
            identity,
        })
    }

    /// The file of tokens.
    pub fn path(&self) -> &Path {
        self.bin.path()
    }

    /// The layout that the file was recognised as.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The stored integer type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of tokens, at least 1.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Number of documents; a shard without an index is one document.
    pub fn documents(&self) -> u64 {
        self.index.as_ref().map_or(1, |index| index.documents)
    }

    /// Whether the documents inside are known.
    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Identity by sizes and samples of the content; see `data/fingerprint.rs` for what it covers.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Of the file of tokens, whatever path leads to it: its device and its number there.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Tokens `start..end` of document `d`. Refused when `d` or the index entries are out of bounds.
    pub fn document(&self, d: u64) -> Result<(u64, u64)> {
        if d >= self.documents() {
            return Err(Error::refused(format!(
                "{}: document {d} was asked for, it has {}",
                self.path().display(),
                self.documents()
            )));
        }
        match &self.index {
            Some(index) => index.document(d),
            None => Ok((0, self.tokens)),
        }
    }

    /// The document that holds `token` and the token it starts at. O(log documents).
    pub fn document_at(&self, token: u64) -> Result<(u64, u64)> {
        let Some(index) = &self.index else { return Ok((0, 0)) };
        // Invariant: document `low` starts at or before `token`, document `high` after it (or is past the last).
        let (mut low, mut high) = (0, index.documents);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if index.document_start(middle)? <= token { low = middle } else { high = middle }
        }
        let (start, end) = index.document(low)?;
        if !(start..end).contains(&token) {
            return Err(Error::refused(format!(
                "{}: no document holds token {token} (document {low} is {start}..{end}); its documents are not in \
                 order, run `rewarm data verify` and tokenize again",
                index.path().display()
            )));
        }
        Ok((low, start))
    }

    /// Fills `out` with the tokens from `first` on. Refused when they pass the end, or when one is negative or not
    /// below `vocab`.
    pub fn read(&self, first: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        let bytes = self.token_bytes(first, out.len() as u64)?;
        self.dtype.decode(bytes, out, vocab).map_err(|bad| self.bad_token(first, bad, vocab))
    }

    /// The stored bytes of tokens `first..first + count`.
    pub(crate) fn token_bytes(&self, first: u64, count: u64) -> Result<&[u8]> {
        let past_end = || {
            Error::refused(format!(
                "{}: tokens {first}..+{count} were asked for, it has {}",
                self.path().display(),
                self.tokens
            ))
        };
        if first.checked_add(count).is_none_or(|end| end > self.tokens) {
            return Err(past_end());
        }
        // No overflow: first + count ≤ tokens, and start + tokens · item is at most the size of the file.
        let item = self.dtype.bytes();
        self.bin.slice(self.start + first * item, count * item)?.ok_or_else(past_end)
    }

    pub(crate) fn bad_token(&self, first: u64, bad: BadToken, vocab: u32) -> Error {
        let position = first.saturating_add(bad.index as u64);
        let place = match self.document_at(position) {
            Ok((document, start)) if self.has_index() => {
                format!(" (document {document}, {} in)", position - start)
            }
            _ => String::new(),
        };
        Error::refused(format!(
            "{}: token {position}{place} is {}, expected 0..{vocab}; the data were made with another tokenizer or are \
             damaged, run `rewarm data verify`",
            self.path().display(),
            bad.value
        ))
    }

    /// What is odd about it and no fault, where something was seen at open.
    pub fn oddity(&self) -> Option<String> {
        let index = self.index.as_ref()?;
        index.oddity.as_ref().map(|oddity| format!("{}: {oddity}", index.path().display()))
    }

    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    pub(crate) fn bin(&self) -> &LazyMap {
        &self.bin
    }
}

/// `.idx` beside a `.bin`.
pub(crate) fn index_path(bin: &Path) -> PathBuf {
    with_suffix(&prefix_of(bin), ".idx")
}

/// The path without a last `.bin` or `.idx`; other dots belong to the name.
pub fn prefix_of(path: &Path) -> PathBuf {
    match path.extension().and_then(|e| e.to_str()) {
        Some("bin" | "idx") => path.with_extension(""),
        _ => path.to_path_buf(),
    }
}

fn whole_tokens(path: &Path, bytes: u64, dtype: Dtype) -> Result<u64> {
    let item = dtype.bytes();
    if !bytes.is_multiple_of(item) {
        return Err(Error::refused(format!(
            "{} has {bytes} bytes, which is not a whole number of {dtype} tokens of {item} bytes; it is truncated or \
             of another type, copy it again",
            path.display()
        )));
    }
    Ok(bytes / item)
}
