//! Which documents belong to training and which to validation, and each side as one stream of tokens.
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::corpus::Corpus;
use super::permutation::splitmix;
use super::shard::Shard;
use crate::{Error, Result};

/// Documents per entry of the prefix sums: 8 bytes of memory per 1024 documents, and at most 1023 hashes to find one.
const BLOCK_DOCUMENTS: u64 = 1024;

/// A part of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Every document; the split is not looked at.
    All,
    /// The documents that are not held out.
    Train,
    /// The documents held out.
    Validation,
}

/// How documents are divided. A document's side depends on the seed, the content fingerprint of its shard and its
/// number there; so adding, renaming or reordering shards moves no document, and a larger fraction holds out a
/// superset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Share of documents held out for validation, in 0..1. With 0 everything is trained on.
    pub fraction: f64,
    /// Key of the hash.
    pub seed: u64,
}

impl Split {
    /// No document is held out.
    pub const NONE: Self = Self { fraction: 0.0, seed: 0 };

    /// The part of the hash that is the same for all documents of a shard.
    pub(super) fn key(&self, shard: &Shard) -> u64 {
        xxh3_64_with_seed(&shard.fingerprint().to_le_bytes(), self.seed)
    }

    /// Whether a document of the shard with this key is held out.
    pub(super) fn holds_out(&self, key: u64, document: u64) -> bool {
        splitmix(key, document) < self.threshold()
    }

    // A hash is uniform in 0..2^64; the cast saturates.
    fn threshold(&self) -> u64 {
        (self.fraction * 2f64.powi(64)) as u64
    }
}

/// The documents of one side, in stored order, as one stream of tokens.
#[derive(Debug)]
pub struct Stream {
    corpus: Arc<Corpus>,
    side: Side,
    /// `None`: everything. Otherwise the wanted side and one key per shard.
    filter: Option<Filter>,
    /// Documents of the side in an order that is not the stored one; blocks are of this list then.
    ranked: Option<Vec<(u32, u32)>>,
    /// First block of each shard, which is one block where everything is taken.
    first_block: Vec<usize>,
    /// Tokens of the side in blocks `0..=b`.
    ends: Vec<u64>,
}

#[derive(Debug)]
struct Filter {
    validation: bool,
    threshold: u64,
    keys: Vec<u64>,
}

impl Filter {
    fn keeps(&self, shard: usize, document: u64) -> bool {
        let validation = self.keys.get(shard).is_some_and(|key| splitmix(*key, document) < self.threshold);
        validation == self.validation
    }
}

/// Consecutive tokens of one shard.
#[derive(Clone, Copy, Debug)]
struct Piece {
    shard: usize,
    /// Known when documents were looked at one by one.
    document: Option<u64>,
    start: u64,
    end: u64,
}

/// Where a token of a stream is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the shard in `Corpus::shards`.
    pub shard: usize,
    /// Document inside the shard.
    pub document: u64,
    /// Token inside the document.
    pub offset: u64,
    /// Token inside the shard.
    pub token: u64,
}

/// Consecutive tokens of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Where the first of them is stored.
    pub place: Place,
    /// How many there are, at least 1.
    pub tokens: u64,
}

impl Excerpt {
    /// Whether another begins where this one ends, in the same document.
    pub fn goes_on_in(&self, other: &Self) -> bool {
        let end = Place {
            offset: self.place.offset + self.tokens,
            token: self.place.token + self.tokens,
            ..self.place
        };
        end == other.place
    }
}

impl Stream {
    /// Without a split this looks at no document. With one it reads every document boundary once, in parallel, and
    /// keeps 8 bytes per 1024 documents. Refused when the fraction is not in 0..1 or leaves the side empty.
    pub fn new(corpus: Arc<Corpus>, side: Side, split: Split) -> Result<Self> {
        if !(0.0..1.0).contains(&split.fraction) {
            return Err(Error::refused(format!(
                "the validation fraction is {}, expected 0 or more and less than 1",
                split.fraction
            )));
        }
        Self::in_order(corpus, side, split, None)
    }

    /// The same with its documents as `ranking` has them.
    pub fn ranked(corpus: Arc<Corpus>, side: Side, split: Split, ranking: Vec<(u32, u32)>) -> Result<Self> {
        Self::in_order(corpus, side, split, Some(ranking))
    }

    fn in_order(
        corpus: Arc<Corpus>,
        side: Side,
        split: Split,
        mut ranked: Option<Vec<(u32, u32)>>,
    ) -> Result<Self> {
        let filtered = side == Side::Validation || side == Side::Train && split.fraction > 0.0;
        let filter = filtered.then(|| Filter {
            validation: side == Side::Validation,
            threshold: split.threshold(),
            keys: corpus.shards().iter().map(|shard| split.key(shard)).collect(),
        });
        let mut first_block = Vec::with_capacity(corpus.shards().len());
        let mut blocks = 0usize;
        for shard in corpus.shards() {
            first_block.push(blocks);
            blocks += if filtered { shard.documents().div_ceil(BLOCK_DOCUMENTS) as usize } else { 1 };
        }
        if let Some(ranked) = &mut ranked {
            let keeps = |&(shard, document): &(u32, u32)| {
                filter.as_ref().is_none_or(|f| f.keeps(shard as usize, document.into()))
            };
            ranked.retain(keeps);
            blocks = ranked.len().div_ceil(BLOCK_DOCUMENTS as usize);
        }
        let by_documents = filtered || ranked.is_some();
        let mut stream = Self { corpus, side, filter, ranked, first_block, ends: Vec::new() };
        let mut ends = if by_documents {
            (0..blocks).into_par_iter().map(|block| stream.block_tokens(block)).collect::<Result<Vec<_>>>()?
        } else {
            stream.corpus.shards().iter().map(Shard::tokens).collect()
        };
        let mut total = 0u64;
        for end in &mut ends {
            // No overflow: the sum is at most the tokens of the corpus.
            total += *end;
            *end = total;
        }
        stream.ends = ends;
        if total == 0 {
            return Err(stream.empty(side, split));
        }
        Ok(stream)
    }

    /// Tokens in the stream, at least 1.
    pub fn tokens(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Which documents they are of.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The corpus it is a part of.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// Fills `out` with the tokens from `position` on. Refused when they pass the end of the stream, or when one is
    /// not in `0..vocab`.
    pub fn read(&self, position: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        let mut rest = out;
        self.walk(position, |piece| {
            let take = rest.len().min(usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX));
            let (now, later) = std::mem::take(&mut rest).split_at_mut(take);
            self.shard(piece.shard)?.read(piece.start, now, vocab)?;
            rest = later;
            Ok(!rest.is_empty())
        })?;
        if rest.is_empty() { Ok(()) } else { Err(self.past_end(position)) }
    }

    /// The shard, document and offset of the token at `position`.
    pub fn locate(&self, position: u64) -> Result<Place> {
        let mut found = None;
        self.walk(position, |piece| {
            found = Some(piece);
            Ok(false)
        })?;
        let piece = found.ok_or_else(|| self.past_end(position))?;
        let shard = self.shard(piece.shard)?;
        let (document, start) = match piece.document {
            Some(document) => (document, shard.document(document)?.0),
            None => shard.document_at(piece.start)?,
        };
        Ok(Place { shard: piece.shard, document, offset: piece.start - start, token: piece.start })
    }

    /// What the `count` tokens from `position` on are of, document by document.
    pub fn excerpts(&self, position: u64, count: u64) -> Result<Vec<Excerpt>> {
        let (mut rest, mut found) = (count, Vec::new());
        self.walk(position, |piece| {
            let shard = self.shard(piece.shard)?;
            let mut token = piece.start;
            while token < piece.end && rest > 0 {
                let (document, start) = match piece.document {
                    Some(document) => (document, shard.document(document)?.0),
                    None => shard.document_at(token)?,
                };
                let tokens = (shard.document(document)?.1.min(piece.end) - token).min(rest);
                let place = Place { shard: piece.shard, document, offset: token - start, token };
                found.push(Excerpt { place, tokens });
                (token, rest) = (token + tokens, rest - tokens);
            }
            Ok(rest > 0)
        })?;
        if rest == 0 { Ok(found) } else { Err(self.past_end(position)) }
    }

    /// Where the tokens of a document lie in the stream; none where it is of the other side.
    pub fn positions_of(&self, shard: usize, document: u64) -> Result<Option<Range<u64>>> {
        let (start, end) = self.shard(shard)?.document(document)?;
        if let Some(ranked) = &self.ranked {
            let wanted = (shard as u32, document as u32);
            let Some(rank) = ranked.iter().position(|ranked| *ranked == wanted) else { return Ok(None) };
            let first = rank - rank % BLOCK_DOCUMENTS as usize;
            let before =
                (first / BLOCK_DOCUMENTS as usize).checked_sub(1).map_or(0, |block| self.ends[block]);
            let lengths = ranked[first..rank].iter().map(|(shard, document)| {
                let (start, end) = self.shard(*shard as usize)?.document((*document).into())?;
                Ok(end - start)
            });
            let position = before + lengths.sum::<Result<u64>>()?;
            return Ok(Some(position..position + (end - start)));
        }
        let first = self.first_block.get(shard).copied().unwrap_or(0);
        let before = |block: usize| block.checked_sub(1).and_then(|b| self.ends.get(b)).copied().unwrap_or(0);
        let Some(filter) = &self.filter else {
            return Ok(Some(before(first) + start..before(first) + end));
        };
        if !filter.keeps(shard, document) {
            return Ok(None);
        }
        let block = first + (document / BLOCK_DOCUMENTS) as usize;
        let mut position = before(block);
        self.pieces(block, |piece| {
            let earlier = piece.document.is_some_and(|other| other < document);
            position += if earlier { piece.end - piece.start } else { 0 };
            Ok(earlier)
        })?;
        Ok(Some(position..position + (end - start)))
    }

    /// Visits the non-empty pieces from `position` on until `visit` answers false.
    fn walk(&self, position: u64, mut visit: impl FnMut(Piece) -> Result<bool>) -> Result<()> {
        let first = self.ends.partition_point(|end| *end <= position);
        let before = first.checked_sub(1).and_then(|b| self.ends.get(b)).copied().unwrap_or(0);
        let mut skip = position - before;
        let mut going = true;
        let mut block = first;
        while going && block < self.ends.len() {
            self.pieces(block, |mut piece| {
                let tokens = piece.end - piece.start;
                if skip >= tokens {
                    skip -= tokens;
                    return Ok(true);
                }
                piece.start += std::mem::take(&mut skip);
                going = visit(piece)?;
                Ok(going)
            })?;
            block += 1;
        }
        Ok(())
    }

    /// Visits the pieces of a block that belong to the side until `visit` answers false.
    fn pieces(&self, block: usize, mut visit: impl FnMut(Piece) -> Result<bool>) -> Result<()> {
        if let Some(ranked) = &self.ranked {
            let of_block =
                ranked.iter().skip(block * BLOCK_DOCUMENTS as usize).take(BLOCK_DOCUMENTS as usize);
            for (shard, document) in of_block.map(|(shard, document)| (*shard as usize, u64::from(*document)))
            {
                let (start, end) = self.shard(shard)?.document(document)?;
                if !visit(Piece { shard, document: Some(document), start, end })? {
                    break;
                }
            }
            return Ok(());
        }
        // The last shard that starts at or before the block; every shard has at least one block.
        let shard = self.first_block.partition_point(|first| *first <= block).saturating_sub(1);
        let opened = self.shard(shard)?;
        let Some(filter) = &self.filter else {
            return visit(Piece { shard, document: None, start: 0, end: opened.tokens() }).map(|_| ());
        };
        let inside = block - self.first_block.get(shard).copied().unwrap_or(0);
        let first = inside as u64 * BLOCK_DOCUMENTS;
        for document in first..opened.documents().min(first + BLOCK_DOCUMENTS) {
            if filter.keeps(shard, document) {
                let (start, end) = opened.document(document)?;
                if !visit(Piece { shard, document: Some(document), start, end })? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn block_tokens(&self, block: usize) -> Result<u64> {
        let mut tokens = 0u64;
        self.pieces(block, |piece| {
            // No overflow: documents do not overlap, so the sum is at most the tokens of the shard.
            tokens += piece.end - piece.start;
            Ok(true)
        })?;
        Ok(tokens)
    }

    fn shard(&self, index: usize) -> Result<&Shard> {
        let shards = self.corpus.shards();
        shards
            .get(index)
            .ok_or_else(|| Error::refused(format!("shard {index} of {} was asked for", shards.len())))
    }

    fn past_end(&self, position: u64) -> Error {
        Error::refused(format!(
            "the tokens asked for from position {position} on pass the end of the data, which hold {}; the shards were \
             changed, run `rewarm data verify`",
            self.tokens()
        ))
    }

    fn empty(&self, side: Side, split: Split) -> Error {
        let name = if side == Side::Validation { "validation" } else { "training" };
        let indexed = self.corpus.shards().iter().all(Shard::has_index);
        let unit = if indexed { "" } else { " (a shard without a .idx counts as one document)" };
        Error::refused(format!(
            "a validation fraction of {} with seed {} leaves no tokens for {name}: there are only {} documents{unit}; \
             change the fraction or the seed, or name validation data of its own",
            split.fraction,
            split.seed,
            self.corpus.documents()
        ))
    }
}
