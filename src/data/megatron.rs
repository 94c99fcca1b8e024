//! The `.idx` file of Megatron-LM and GPT-NeoX (`MMapIndexedDataset`): where documents lie in the `.bin`.
//!
//! Layout, little endian, N sequences and M = documents + 1 bounds; nothing in it is aligned, because the
//! header takes 34 bytes:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 9 bytes | `MMIDIDX\0\0` |
//! | 9 | u64 | version = 1 |
//! | 17 | u8 | dtype code |
//! | 18, 26 | u64 | N, M |
//! | 34 | i32 × N | tokens of each sequence |
//! | 34 + 4N | i64 × N | byte offset of each sequence in the `.bin` |
//! | 34 + 12N | i64 × M | first sequence of each document; first 0, last N (less in old merged files) |
//! | 34 + 12N + 8M | i8 × N | modes, written by Megatron multimodal only, not read |
use std::path::{Path, PathBuf};

use strum::Display;

use super::dtype::Dtype;
use super::map::{BLOCK_BYTES, LazyMap, Opening, WHOLE_BYTES};
use crate::{Error, Result};

/// The first nine bytes of a `.idx`.
pub const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";
/// Bytes before the first array.
pub const HEADER_BYTES: u64 = 34;

const REPAIR: &str = "the file is damaged or belongs to another .bin, copy both again or tokenize again";

/// An opened `.idx` whose ends agree with its `.bin`; everything between is checked when it is read.
#[derive(Debug)]
pub(crate) struct Index {
    map: LazyMap,
    pub(crate) dtype: Dtype,
    pub(crate) sequences: u64,
    /// M − 1, or as many as sequences.
    pub(crate) documents: u64,
    /// M.
    pub(crate) bounds: u64,
    /// Whether the document list ends before the sequences do, and each of those is a document.
    by_sequence: bool,
    bin_bytes: u64,
    /// What is odd and was seen at open.
    pub(crate) oddity: Option<String>,
}

/// The arrays of a `.idx`, named as errors name them.
#[derive(Clone, Copy, Display)]
pub(crate) enum Field {
    #[strum(serialize = "sequence length")]
    Size,
    #[strum(serialize = "sequence pointer")]
    Pointer,
    #[strum(serialize = "document index")]
    Document,
}

impl Index {
    /// O(1): the header, the file sizes, the first and last entry of each array, and whether sequences follow each
    /// other: all of them in a small file, in a large one some thousands.
    ///
    /// A document list that ends before the sequences do is what merging left in old versions of Megatron and gpt-neox,
    /// which never read it: they take each sequence for a document, and so does this.
    pub(crate) fn open(file: &Opening, bin_bytes: u64) -> Result<Self> {
        let path = file.path;
        let (dtype, sequences, bounds) = header(file)?;
        let mut index = Self {
            map: LazyMap::new(path.to_path_buf(), file.bytes),
            dtype,
            sequences,
            documents: bounds - 1,
            bounds,
            by_sequence: false,
            bin_bytes,
            oddity: None,
        };
        // Read through the file, not the map: opening maps nothing.
        let entry = |field, i| -> Result<i64> {
            let at = index.offset(field, i);
            match field {
                Field::Size => file.array(at).map(|b| i64::from(i32::from_le_bytes(b))),
                _ => file.array(at).map(i64::from_le_bytes),
            }
        };
        let last = sequences - 1;
        index.expect(Field::Pointer, 0, entry(Field::Pointer, 0)?, 0)?;
        index.expect(Field::Document, 0, entry(Field::Document, 0)?, 0)?;
        let (pointer, size) = (entry(Field::Pointer, last)?, entry(Field::Size, last)?);
        let end = i128::from(pointer) + i128::from(size) * i128::from(dtype.bytes());
        if pointer < 0 || size < 0 || end != i128::from(bin_bytes) {
            return Err(Error::refused(format!(
                "{}: the last sequence starts at byte {pointer} with {size} {dtype} tokens and so ends at byte {end}, \
                 but the .bin has {bin_bytes} bytes; {}",
                path.display(),
                if end > i128::from(bin_bytes) { "the .bin is truncated, copy it again" } else { REPAIR },
            )));
        }
        let ends = entry(Field::Document, bounds - 1)?;
        // The list of a merge is whole as far as it goes; one that turns back is damaged.
        let before = entry(Field::Document, bounds.saturating_sub(2))?;
        if (0..=ends).contains(&before) && i128::from(ends) < i128::from(sequences) {
            (index.documents, index.by_sequence) = (sequences, true);
            index.oddity = Some(format!(
                "its document list ends at sequence {ends} of {sequences}, as in data merged by old versions of Megatron \
                 and gpt-neox; each sequence is read as a document, as they do"
            ));
        } else {
            index.expect(Field::Document, bounds - 1, ends, i128::from(sequences))?;
        }
        let broken = index.broken_chain(file)?;
        index.is_odd(broken);
        Ok(index)
    }

    /// Adds to what is odd.
    pub(crate) fn is_odd(&mut self, more: Option<String>) {
        let all: Vec<String> = self.oddity.take().into_iter().chain(more).collect();
        self.oddity = (!all.is_empty()).then(|| all.join("; "));
    }

    /// Whether opening it saw everything that `data verify` would.
    pub(crate) fn was_looked_at_whole(&self) -> bool {
        self.map.len() <= WHOLE_BYTES
    }

    /// Looks for a sequence that does not begin where the one before ends. Of a file that is not small, at stretches
    /// spread evenly; `data verify` looks everywhere.
    fn broken_chain(&self, file: &Opening) -> Result<Option<String>> {
        const STRETCHES: u64 = 4;
        let small = file.whole().is_some();
        let length = if small { self.sequences } else { self.sequences.min(BLOCK_BYTES / 8) };
        let stretches = if length == self.sequences { 1 } else { STRETCHES };
        let mut sizes = vec![0; 4 * length as usize];
        let mut pointers = vec![0; 8 * length as usize];
        for stretch in 0..stretches {
            let first = (self.sequences - length) * stretch / (stretches - 1).max(1);
            file.read(self.offset(Field::Size, first), &mut sizes)?;
            file.read(self.offset(Field::Pointer, first), &mut pointers)?;
            let (sizes, _) = sizes.as_chunks::<4>();
            let (pointers, _) = pointers.as_chunks::<8>();
            for (i, (size, pair)) in sizes.iter().zip(pointers.windows(2)).enumerate() {
                let [pointer, next] =
                    [i64::from_le_bytes(pair[0]), i64::from_le_bytes(pair[1])].map(i128::from);
                let end = pointer + i128::from(i32::from_le_bytes(*size)) * i128::from(self.dtype.bytes());
                if next != end {
                    let number = first + i as u64 + 1;
                    return Ok(Some(self.describe_break(number, end, next)));
                }
            }
        }
        Ok(None)
    }

    /// Sequence `number` begins at byte `begins`, where `end` was expected.
    fn describe_break(&self, number: u64, end: i128, begins: i128) -> String {
        let what = if begins > end {
            format!(
                "{} bytes of the .bin belong to no sequence and are read with the one before",
                begins - end
            )
        } else {
            format!("it overlaps the one before by {} bytes, which are read once", end - begins)
        };
        format!(
            "its sequence {number} begins at byte {begins}, where the one before ends at byte {end}: {what}; Megatron and \
             gpt-neox read sequences by their bounds, `rewarm data verify` lists all"
        )
    }

    pub(crate) fn path(&self) -> &Path {
        self.map.path()
    }

    pub(crate) fn file(&self) -> &LazyMap {
        &self.map
    }

    /// First token of document `d`; `d == documents` gives the number of tokens.
    pub(crate) fn document_start(&self, d: u64) -> Result<u64> {
        let by_sequence = || i64::try_from(d).unwrap_or(i64::MAX);
        let sequence = if self.by_sequence { by_sequence() } else { self.entry(Field::Document, d)? };
        if sequence < 0 || sequence as u64 > self.sequences {
            let bound = format!("0..={} (sequences)", self.sequences);
            return Err(self.fault(Field::Document, d, sequence, &bound));
        }
        let item = self.dtype.bytes();
        if sequence as u64 == self.sequences {
            return Ok(self.bin_bytes / item);
        }
        let pointer = self.entry(Field::Pointer, sequence as u64)?;
        if pointer < 0 || pointer as u64 > self.bin_bytes || !(pointer as u64).is_multiple_of(item) {
            let bound = format!("a multiple of {item} in 0..={} (bytes of the .bin)", self.bin_bytes);
            return Err(self.fault(Field::Pointer, sequence as u64, pointer, &bound));
        }
        Ok(pointer as u64 / item)
    }

    /// Tokens `start..end` of document `d`.
    pub(crate) fn document(&self, d: u64) -> Result<(u64, u64)> {
        let (start, end) = (self.document_start(d)?, self.document_start(d + 1)?);
        if start > end {
            return Err(Error::refused(format!(
                "{}: document {d} starts at token {start} but the next one starts before it, at token {end}; {REPAIR}",
                self.path().display()
            )));
        }
        Ok((start, end))
    }

    /// Entry `i` of an array.
    pub(crate) fn entry(&self, field: Field, i: u64) -> Result<i64> {
        let out_of_range = || {
            Error::refused(format!(
                "{}: {field} number {i} is past the end of the file; {REPAIR}",
                self.path().display()
            ))
        };
        let limit = match field {
            Field::Document => self.bounds,
            _ => self.sequences,
        };
        if i >= limit {
            return Err(out_of_range());
        }
        let width = if matches!(field, Field::Size) { 4 } else { 8 };
        let bytes = self.map.slice(self.offset(field, i), width)?.ok_or_else(out_of_range)?;
        Ok(match field {
            Field::Size => i64::from(i32::from_le(bytemuck::pod_read_unaligned(bytes))),
            _ => i64::from_le(bytemuck::pod_read_unaligned(bytes)),
        })
    }

    /// The message for an entry outside its bound.
    pub(crate) fn fault(&self, field: Field, i: u64, value: i64, bound: &str) -> Error {
        Error::refused(format!(
            "{}: {field} number {i} is {value}, expected {bound}; {REPAIR}",
            self.path().display()
        ))
    }

    fn expect(&self, field: Field, i: u64, found: i64, expected: i128) -> Result<()> {
        if i128::from(found) == expected {
            return Ok(());
        }
        Err(self.fault(field, i, found, &expected.to_string()))
    }

    // `header` proved that 34 + 12N + 8M fits the file, so none of these overflow for i below the counts.
    fn offset(&self, field: Field, i: u64) -> u64 {
        match field {
            Field::Size => HEADER_BYTES + 4 * i,
            Field::Pointer => HEADER_BYTES + 4 * self.sequences + 8 * i,
            Field::Document => HEADER_BYTES + 12 * self.sequences + 8 * i,
        }
    }
}

/// Dtype, N and M, with N ≥ 1, M ≥ 1 and the arrays filling the file exactly.
fn header(file: &Opening) -> Result<(Dtype, u64, u64)> {
    let (path, bytes) = (file.path, file.bytes);
    let refuse = |message: String| Err(Error::refused(format!("{}: {message}", path.display())));
    if bytes < HEADER_BYTES {
        return refuse(format!("has {bytes} bytes, a .idx header alone takes {HEADER_BYTES}; {REPAIR}"));
    }
    let head: [u8; HEADER_BYTES as usize] = file.array(0)?;
    if head.starts_with(b"TNTIDX\0\0") {
        return refuse(
            "is an index of the old `cached` format; re-create the data with gpt-neox's or Megatron's \
                       `mmap` format, or with `rewarm data tokenize`"
                .into(),
        );
    }
    if !head.starts_with(MAGIC) {
        return refuse(format!(
            "starts with {:?}, expected {MAGIC:?} (MMIDIDX); it is not a Megatron index",
            &head[..9]
        ));
    }
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let (version, code, sequences, bounds) = (word(9), head[17], word(18), word(26));
    if version != 1 {
        return refuse(format!("has version {version}, expected 1; {REPAIR}"));
    }
    let Some(dtype) = Dtype::from_megatron(code) else {
        let kind = if matches!(code, 6 | 7) { "floating point, which tokens cannot be" } else { "unknown" };
        return refuse(format!(
            "has dtype code {code} ({kind}), expected 1 u8, 2 i8, 3 i16, 4 i32, 5 i64 or 8 u16; tokenize again"
        ));
    };
    let needed = sequences
        .checked_mul(12)
        .and_then(|a| bounds.checked_mul(8)?.checked_add(a)?.checked_add(HEADER_BYTES));
    let fits = needed.is_some_and(|n| n == bytes || n.checked_add(sequences) == Some(bytes));
    if !fits {
        let needed = needed.map_or("more than 2^64".into(), |n| n.to_string());
        return refuse(format!(
            "promises {sequences} sequences and {bounds} document bounds, which take {needed} bytes, \
             but the file has {bytes}; {REPAIR}"
        ));
    }
    if sequences == 0 || bounds == 0 {
        return refuse(format!(
            "holds {sequences} sequences and {bounds} document bounds, expected at least 1 of each: the shard is \
             empty or damaged; leave it out or tokenize again"
        ));
    }
    Ok((dtype, sequences, bounds))
}

/// `prefix` + `.idx` or `.bin`; a prefix may itself contain dots.
pub(crate) fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}
