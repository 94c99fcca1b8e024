//! Reads every byte of a corpus and lists every fault.
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::corpus::open_each;
use super::dtype::BadToken;
use super::megatron::{Field, Index};
use super::progress::Progress;
use super::shard::{Shard, prefix_of};
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use crate::{Error, Result};

/// Faults written out, of each shard and in all; the rest are counted.
const LISTED_PER_SHARD: usize = 20;
const LISTED: usize = 200;
/// A run is what one thread reads and hashes at once.
const RUN_TOKENS: u64 = 1 << 23;
const RUN_BYTES: usize = 1 << 26;

/// What `verify` found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Shards read, the ones that do not open included.
    pub shards: u64,
    /// Tokens of the shards that open.
    pub tokens: u64,
    /// Documents of the shards that open.
    pub documents: u64,
    /// Largest valid token met.
    pub largest_token: u32,
    /// XXH3-128 of all content, 32 hexadecimal digits; `None` when a shard does not open. Over, for each shard in order:
    /// its dtype, its number of tokens, the XXH3-128 of each run of 2^23 tokens, and of each 64 MiB of its `.idx`.
    pub content_hash: Option<String>,
    /// The first faults, at most 20 of each shard and 200 in all.
    pub faults: Vec<Fault>,
    /// All faults.
    pub faults_total: u64,
}

/// Something wrong with a shard.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// The file of tokens.
    pub shard: PathBuf,
    /// Field, value and bound.
    pub message: String,
}

#[derive(Default)]
struct Faults {
    messages: Vec<String>,
    total: u64,
}

impl Faults {
    fn add(&mut self, message: impl FnOnce() -> String) {
        self.total += 1;
        if self.messages.len() < LISTED_PER_SHARD {
            self.messages.push(message());
        }
    }

    fn merge(&mut self, other: Self) {
        self.total += other.total;
        let room = LISTED_PER_SHARD.saturating_sub(self.messages.len());
        self.messages.extend(other.messages.into_iter().take(room));
    }
}

struct Checked {
    faults: Faults,
    hash: u128,
    largest: u32,
}

/// Checks structure and every token of the shards that `specs` names. Tokens must be below the smaller of `vocab`
/// and the tokenizer's, or where neither is given, below the vocabulary noted beside the shard. With a tokenizer, a
/// shard made with another one is a fault.
///
/// Faults are part of the answer; an error means that the naming is wrong or that reading failed.
pub fn verify<S: AsRef<str>>(
    specs: &[S],
    vocab: Option<u32>,
    tokenizer: Option<&TextTokenizer>,
    progress: &mut Progress,
) -> Result<Verification> {
    let opened = open_each(specs)?;
    let progress = Mutex::new(progress);
    let advance = |bytes: u64| progress.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
    let limit = vocab.into_iter().chain(tokenizer.map(TextTokenizer::vocab_size)).min();
    let checked: Vec<(&Path, Result<Checked, String>)> = opened
        .par_iter()
        .map(|(path, shard)| {
            let checked = match shard {
                Ok(shard) => check(shard, limit, tokenizer, &advance).map(Ok)?,
                Err(e) => Err(e.to_string()),
            };
            Ok((path.as_path(), checked))
        })
        .collect::<Result<_>>()?;

    let mut found = Verification {
        shards: opened.len() as u64,
        tokens: opened.iter().flat_map(|(_, s)| s).map(Shard::tokens).fold(0, u64::saturating_add),
        documents: opened.iter().flat_map(|(_, s)| s).map(Shard::documents).fold(0, u64::saturating_add),
        largest_token: 0,
        content_hash: None,
        faults: Vec::new(),
        faults_total: 0,
    };
    let mut hash = Some(Xxh3::new());
    for (path, result) in checked {
        let messages = match result {
            Ok(checked) => {
                if let Some(hash) = &mut hash {
                    hash.update(&checked.hash.to_le_bytes());
                }
                found.largest_token = found.largest_token.max(checked.largest);
                found.faults_total += checked.faults.total;
                checked.faults.messages
            }
            Err(message) => {
                hash = None;
                found.faults_total += 1;
                vec![message]
            }
        };
        let room = LISTED.saturating_sub(found.faults.len());
        let listed = messages.into_iter().take(room);
        found.faults.extend(listed.map(|message| Fault { shard: path.to_path_buf(), message }));
    }
    found.content_hash = hash.map(|hash| format!("{:032x}", hash.digest128()));
    Ok(found)
}

fn check(
    shard: &Shard,
    vocab: Option<u32>,
    tokenizer: Option<&TextTokenizer>,
    advance: &(impl Fn(u64) + Sync),
) -> Result<Checked> {
    let mut faults = Faults::default();
    let note = match TokenizedInfo::load(prefix_of(shard.path())) {
        Ok(note) => note,
        Err(e) => {
            faults.add(|| e.to_string());
            None
        }
    };
    if let (Some(note), Some(tokenizer)) = (&note, tokenizer)
        && let Err(e) = note.check_tokenizer(tokenizer)
    {
        faults.add(|| e.to_string());
    }
    if let Some(note) = &note
        && (note.tokens, note.documents) != (shard.tokens(), shard.documents())
    {
        faults.add(|| {
            format!(
                "the note beside it promises {} tokens in {} documents, the shard has {} in {}; they do not belong \
                 together, tokenize again",
                note.tokens,
                note.documents,
                shard.tokens(),
                shard.documents()
            )
        });
    }
    if let Some(index) = shard.index() {
        check_index(index, shard.bin().len(), &mut faults)?;
    }
    let vocab = vocab.or(note.map(|note| note.vocab_size)).unwrap_or(u32::MAX);
    let runs = shard.tokens().div_ceil(RUN_TOKENS);
    let runs: Vec<Checked> =
        (0..runs).into_par_iter().map(|run| check_run(shard, run, vocab, advance)).collect::<Result<_>>()?;

    let mut hash = Xxh3::new();
    hash.update(format!("{} {}\n", shard.dtype(), shard.tokens()).as_bytes());
    let mut largest = 0;
    for run in runs {
        hash.update(&run.hash.to_le_bytes());
        largest = largest.max(run.largest);
        faults.merge(run.faults);
    }
    if let Some(index) = shard.index() {
        let hashes: Vec<u128> = index.file().all()?.par_chunks(RUN_BYTES).map(xxh3_128).collect();
        hashes.iter().for_each(|h| hash.update(&h.to_le_bytes()));
    }
    Ok(Checked { faults, hash: hash.digest128(), largest })
}

/// Hashes one run of tokens and looks for values outside `0..vocab`.
fn check_run(shard: &Shard, run: u64, vocab: u32, advance: &(impl Fn(u64) + Sync)) -> Result<Checked> {
    let first = run * RUN_TOKENS;
    let bytes = shard.token_bytes(first, RUN_TOKENS.min(shard.tokens() - first))?;
    let (mut faults, mut largest) = (Faults::default(), 0);
    let item = shard.dtype().bytes() as usize;
    let mut buffer = vec![0; 8192];
    let mut at = 0usize;
    while let Some(rest) = bytes.get(at * item..)
        && !rest.is_empty()
    {
        let count = buffer.len().min(rest.len() / item);
        let Some(slots) = buffer.get_mut(..count) else { break };
        let read = match shard.dtype().decode(rest, slots, vocab) {
            Ok(()) => count,
            Err(bad) => {
                let position = first + at as u64;
                faults.add(|| shard.bad_token(position, BadToken { ..bad }, vocab).to_string());
                // What was read before it is valid; go on behind it.
                largest = slots.iter().take(bad.index).fold(largest, |a, b| a.max(*b));
                at += bad.index + 1;
                continue;
            }
        };
        largest = slots.iter().fold(largest, |a, b| a.max(*b));
        at += read;
    }
    advance(bytes.len() as u64);
    Ok(Checked { faults, hash: xxh3_128(bytes), largest })
}

/// Sequences must tile the `.bin` in order, and documents must be ascending runs of sequences.
fn check_index(index: &Index, bin_bytes: u64, faults: &mut Faults) -> Result<()> {
    let mut expected = 0i128;
    for i in 0..index.sequences {
        let (size, pointer) = (index.entry(Field::Size, i)?, index.entry(Field::Pointer, i)?);
        if size < 0 {
            faults.add(|| index.fault(Field::Size, i, size, "0 or more").to_string());
        }
        if i128::from(pointer) != expected {
            let bound = format!("{expected}, the end of the sequence before (bytes)");
            faults.add(|| index.fault(Field::Pointer, i, pointer, &bound).to_string());
        }
        // From the stored pointer, so that one wrong entry is one or two faults and not all that follow.
        expected = i128::from(pointer) + i128::from(size.max(0)) * i128::from(index.dtype.bytes());
        if expected > i128::from(bin_bytes) {
            let bound =
                format!("at most {bin_bytes} (bytes of the .bin) at its end, which is byte {expected}");
            faults.add(|| index.fault(Field::Pointer, i, pointer, &bound).to_string());
        }
    }
    let mut before = 0;
    for d in 0..=index.documents {
        let sequence = index.entry(Field::Document, d)?;
        if sequence < before || sequence as u64 > index.sequences {
            let bound =
                format!("{before}..={} (not before the last one, within the sequences)", index.sequences);
            faults.add(|| index.fault(Field::Document, d, sequence, &bound).to_string());
        }
        before = sequence.clamp(0, i64::try_from(index.sequences).unwrap_or(i64::MAX));
    }
    Ok(())
}

impl Verification {
    /// Refused when there are faults.
    pub fn into_result(self) -> Result<Self> {
        if self.faults_total == 0 {
            return Ok(self);
        }
        Err(Error::refused(format!(
            "{} faults in {} shards; copy the shards named above again, or tokenize again",
            self.faults_total, self.shards
        )))
    }
}
