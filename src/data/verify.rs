//! Reads every byte of a corpus and lists every fault.
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::corpus::open_each;
use super::dtype::BadToken;
use super::hashes::{BlockHashes, ContentHashes, hashes_path};
use super::made_with::{Maker, USE_ITS_OWN};
use super::megatron::{Field, Index};
use super::plane_check::{PlaneFound, PlaneSummary, check_plane};
use super::progress::Progress;
use super::shard::{Shard, prefix_of};
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use super::verdict;
use crate::{Error, Result};

/// Faults written out, of each shard and in all; the rest are counted.
const LISTED_PER_SHARD: usize = 20;
const LISTED: usize = 200;
/// A run is what one thread reads and hashes at once.
const RUN_TOKENS: u64 = 1 << 23;
const RUN_BYTES: usize = 1 << 26;

/// What [`verify`] found in a shard.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Shards read, the ones that do not open included.
    pub shards: u64,
    /// Tokens of the shards that open.
    pub tokens: u64,
    /// Documents of the shards that open.
    pub documents: u64,
    /// Largest value met, be it a valid token or not.
    pub largest_token: i64,
    /// Shards whose note has no hashes of their content: whether they are as they were written nobody can say.
    pub without_hashes: u64,
    /// The planes of weights beside them; at most 200.
    pub weights: Vec<PlaneSummary>,
    /// XXH3-128 of all content, 32 hexadecimal digits; `None` when a shard does not open. Over, for each shard in order:
    /// its dtype, its number of tokens, the XXH3-128 of each run of 2^23 tokens, and of each 64 MiB of its `.idx`.
    pub content_hash: Option<String>,
    /// The first faults, at most 20 of each shard and 200 in all.
    pub faults: Vec<Fault>,
    /// Number of all faults, of which `faults` lists the first.
    pub faults_total: u64,
    /// What is odd about shards and no fault; at most 200.
    pub oddities: Vec<String>,
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
    largest: i64,
    /// Whether it was compared with what was written.
    compared: bool,
    weights: Option<PlaneSummary>,
}

/// What was read of one run of tokens.
struct Run {
    faults: Faults,
    hash: u128,
    largest: i64,
    /// Blocks that are not what was written.
    damaged: Vec<u64>,
}

/// Checks structure and every token of the shards that `specs` names. Tokens must be below the smaller of `vocab`
/// and the tokenizer's, or where neither is given, below the vocabulary noted beside the shard. With a tokenizer, a
/// shard made with another one is a fault. Planes of weights beside shards are looked at whole. Where the note beside a shard has hashes, every byte is compared with what was
/// written.
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
        without_hashes: 0,
        weights: Vec::new(),
        content_hash: None,
        faults: Vec::new(),
        faults_total: 0,
        oddities: opened.iter().flat_map(|(_, s)| s).filter_map(Shard::oddity).take(LISTED).collect(),
    };
    let mut hash = Some(Xxh3::new());
    for (path, result) in checked {
        let messages = match result {
            Ok(checked) => {
                if let Some(hash) = &mut hash {
                    hash.update(&checked.hash.to_le_bytes());
                }
                found.largest_token = found.largest_token.max(checked.largest);
                found.without_hashes += u64::from(!checked.compared);
                found.faults_total += checked.faults.total;
                let room = LISTED.saturating_sub(found.weights.len());
                found.weights.extend(checked.weights.into_iter().take(room));
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
        && let Err(e) = Maker::of(&prefix_of(shard.path()), note).check(tokenizer, USE_ITS_OWN)
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
        let mut found = Faults::default();
        check_index(index, shard.bin().len(), &mut found)?;
        if !index.was_looked_at_whole() {
            verdict::keep(shard.fingerprint(), found.total, found.messages.first());
        }
        faults.merge(found);
    }
    let noted = note.as_ref().and_then(|note| note.content.as_ref());
    let written = noted.and_then(|noted| open_hashes(shard, noted, &mut faults));
    let vocab = vocab.or(note.as_ref().map(|note| note.vocab_size)).unwrap_or(u32::MAX);
    let runs = shard.tokens().div_ceil(RUN_TOKENS);
    let runs: Vec<Run> = (0..runs)
        .into_par_iter()
        .map(|run| check_run(shard, run, vocab, written.as_ref(), advance))
        .collect::<Result<_>>()?;

    let mut hash = Xxh3::new();
    hash.update(format!("{} {}\n", shard.dtype(), shard.tokens()).as_bytes());
    let (mut largest, mut damaged) = (0, Vec::new());
    for run in runs {
        hash.update(&run.hash.to_le_bytes());
        largest = largest.max(run.largest);
        faults.merge(run.faults);
        damaged.extend(run.damaged);
    }
    if let Some(written) = &written {
        name_damage(shard, written.block_bytes(), &damaged, &mut faults);
    }
    if let (Some(noted), Some(index)) = (noted, shard.index())
        && format!("{:032x}", xxh3_128(index.file().all()?)) != noted.index
    {
        faults.add(|| {
            format!(
                "{} is not the index that was written with the shard; copy it again, or tokenize again",
                index.path().display()
            )
        });
    }
    if let Some(index) = shard.index() {
        let hashes: Vec<u128> = index.file().all()?.par_chunks(RUN_BYTES).map(xxh3_128).collect();
        hashes.iter().for_each(|h| hash.update(&h.to_le_bytes()));
    }
    let PlaneFound { summary, faults: messages, total } =
        check_plane(shard, note.as_ref().and_then(|note| note.weights.as_ref()))?;
    faults.merge(Faults { messages, total });
    Ok(Checked { faults, hash: hash.digest128(), largest, compared: noted.is_some(), weights: summary })
}

/// The hashes of a shard's blocks as they were written. Hashes that are promised and cannot be had are a fault.
fn open_hashes(shard: &Shard, noted: &ContentHashes, faults: &mut Faults) -> Option<BlockHashes> {
    let prefix = prefix_of(shard.path());
    let opened = BlockHashes::open(&prefix, noted, shard.bin().len());
    let checked = opened.and_then(|hashes| Ok((hashes.is_as_noted(noted)?, hashes)));
    match checked {
        Ok((true, hashes)) => return Some(hashes),
        Ok((false, _)) => faults.add(|| {
            format!(
                "{} is not the file that was written with the note beside it, so the tokens cannot be compared with \
                 it; copy both again, or tokenize again",
                hashes_path(&prefix).display()
            )
        }),
        Err(e) => faults.add(|| e.to_string()),
    }
    None
}

/// One fault for each stretch of damaged blocks.
fn name_damage(shard: &Shard, block_bytes: u64, damaged: &[u64], faults: &mut Faults) {
    let item = shard.dtype().bytes();
    for stretch in damaged.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
        let (start, end) = (first * block_bytes, ((last + 1) * block_bytes).min(shard.bin().len()));
        let (from, to) = (start / item, end / item);
        faults.add(|| {
            let documents = match (shard.document_at(from), shard.document_at(to - 1)) {
                (Ok((a, _)), Ok((b, _))) => format!(", documents {a} to {b}"),
                _ => String::new(),
            };
            format!(
                "{}: bytes {start}..{end} (tokens {from}..{to}{documents}) are not what was written; copy it again, or \
                 tokenize again",
                shard.path().display()
            )
        });
    }
}

/// Hashes one run of tokens, compares its blocks and looks for values outside `0..vocab`.
fn check_run(
    shard: &Shard,
    run: u64,
    vocab: u32,
    written: Option<&BlockHashes>,
    advance: &(impl Fn(u64) + Sync),
) -> Result<Run> {
    let first = run * RUN_TOKENS;
    let bytes = shard.token_bytes(first, RUN_TOKENS.min(shard.tokens() - first))?;
    let mut damaged = Vec::new();
    if let Some(written) = written {
        // A run begins where a block does: both are powers of two, and a run is the larger one.
        let first_block = first * shard.dtype().bytes() / written.block_bytes();
        for (block, content) in (first_block..).zip(bytes.chunks(written.block_bytes() as usize)) {
            if !written.holds(block, content)? {
                damaged.push(block);
            }
        }
    }
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
                largest = slots.iter().take(bad.index).fold(largest, |a, b| a.max(i64::from(*b)));
                largest = largest.max(bad.value);
                at += bad.index + 1;
                continue;
            }
        };
        largest = slots.iter().fold(largest, |a, b| a.max(i64::from(*b)));
        at += read;
    }
    advance(bytes.len() as u64);
    Ok(Run { faults, hash: xxh3_128(bytes), largest, damaged })
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
    for d in 0..index.bounds {
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
