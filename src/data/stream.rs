//! The documents of one side of a split as one stream of tokens.
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::corpus::Corpus;
use super::packing::Packing;
use super::piece::{Excerpt, Piece, Place, windows};
use super::recent::Recent;
use super::shard::Shard;
use super::split::{Filter, Side, Split};
use crate::{Error, Result};

/// Documents per entry of the prefix sums: 8 bytes of memory per 1024 documents, and at most 1023 hashes to find one.
const BLOCK_DOCUMENTS: u64 = 1024;

/// The documents of one side as one stream of tokens: as they are stored, or in another order.
#[derive(Debug)]
pub struct Stream {
    corpus: Arc<Corpus>,
    side: Side,
    /// None: everything.
    filter: Option<Filter>,
    layout: Layout,
    /// Tokens of the side in blocks `0..=b`.
    ends: Vec<u64>,
}

/// In what order documents come, and what the blocks of the prefix sums are.
#[derive(Debug)]
enum Layout {
    /// As they are stored. First block of each shard, which is one block where everything is taken.
    Stored(Vec<usize>),
    /// As listed, of which blocks are parts.
    Ranked(Vec<(u32, u32)>),
    /// Whole in windows. A block is documents of the corpus that are packed together, and `last` the one behind whose windows
    /// a target of the last one is.
    Packed { packing: Packing, last: usize, recent: Recent<Vec<Piece>> },
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
        let filter = split.filter(&corpus, side);
        let (mut first_block, mut blocks) = (Vec::with_capacity(corpus.shards().len()), 0usize);
        for shard in corpus.shards() {
            first_block.push(blocks);
            let of_shard = shard.documents().div_ceil(BLOCK_DOCUMENTS) as usize;
            blocks += if filter.is_some() { of_shard } else { 1 };
        }
        Self::laid_out(
            Self { corpus, side, filter, layout: Layout::Stored(first_block), ends: Vec::new() },
            blocks,
            split,
        )
    }

    /// The same with its documents as `ranking` has them.
    pub fn ranked(
        corpus: Arc<Corpus>,
        side: Side,
        split: Split,
        mut ranking: Vec<(u32, u32)>,
    ) -> Result<Self> {
        let filter = split.filter(&corpus, side);
        ranking.retain(|&(shard, document)| keeps(filter.as_ref(), shard as usize, document.into()));
        let blocks = ranking.len().div_ceil(BLOCK_DOCUMENTS as usize);
        Self::laid_out(
            Self { corpus, side, filter, layout: Layout::Ranked(ranking), ends: Vec::new() },
            blocks,
            split,
        )
    }

    /// The same with its documents, in an order by `seed`, packed into windows of so many tokens: one that fits into a window
    /// is within one, a longer one begins with one. What is left of a window is padding. Refused where a shard does not know
    /// its documents.
    pub fn packed(corpus: Arc<Corpus>, side: Side, split: Split, window: u64, seed: u64) -> Result<Self> {
        let packing = Packing::new(&corpus, window, seed)?;
        let (filter, blocks) = (split.filter(&corpus, side), packing.blocks());
        Self::laid_out(
            Self {
                corpus,
                side,
                filter,
                layout: Layout::Packed { packing, last: usize::MAX, recent: Recent::new(blocks) },
                ends: Vec::new(),
            },
            blocks,
            split,
        )
    }

    fn laid_out(mut self, blocks: usize, split: Split) -> Result<Self> {
        self.ends = match (&self.layout, &self.filter) {
            (Layout::Stored(_), None) => self.corpus.shards().iter().map(Shard::tokens).collect(),
            _ => (0..blocks)
                .into_par_iter()
                .map(|block| self.block_tokens(block))
                .collect::<Result<Vec<_>>>()?,
        };
        let mut total = 0u64;
        for end in &mut self.ends {
            // No overflow: the tokens of a corpus are fewer than 2^63, and packing less than doubles them.
            total += *end;
            *end = total;
        }
        if total == 0 {
            return Err(self.empty(split));
        }
        if let Layout::Packed { last, .. } = &mut self.layout {
            // One token more, in the last block that has any.
            *last = self.ends.partition_point(|end| *end < total);
            self.ends[*last..].iter_mut().for_each(|end| *end += 1);
        }
        Ok(self)
    }

    /// Tokens in the stream, at least 1; padding included.
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

    /// Whether some of its tokens may be padding.
    pub fn is_packed(&self) -> bool {
        matches!(self.layout, Layout::Packed { .. })
    }

    /// How many of its tokens are padding. Packs all documents again.
    pub fn padding(&self) -> Result<u64> {
        let of_block = |block| {
            let mut padding = 0;
            self.pieces(block, |piece| {
                padding += if piece.padding { piece.tokens } else { 0 };
                Ok(true)
            })?;
            Ok(padding)
        };
        if self.is_packed() { (0..self.ends.len()).into_par_iter().map(of_block).sum() } else { Ok(0) }
    }

    /// Fills `out` with the tokens from `position` on. Refused when they pass the end of the stream, or when one is
    /// not in `0..vocab`.
    pub fn read(&self, position: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        let mut rest = out;
        self.walk(position, |piece| {
            let take = rest.len().min(usize::try_from(piece.tokens).unwrap_or(usize::MAX));
            let (now, later) = std::mem::take(&mut rest).split_at_mut(take);
            let (read, repeated) = now.split_at_mut(if piece.padding { take.min(1) } else { take });
            self.shard(piece.shard)?.read(piece.start, read, vocab)?;
            repeated.fill(read.first().copied().unwrap_or(0));
            rest = later;
            Ok(!rest.is_empty())
        })?;
        if rest.is_empty() { Ok(()) } else { Err(self.past_end(position)) }
    }

    /// The shard, document and offset of the token at `position`.
    pub fn locate(&self, position: u64) -> Result<Place> {
        Ok(self.excerpts(position, 1)?[0].place)
    }

    /// What the `count` tokens from `position` on are of, document by document.
    pub fn excerpts(&self, position: u64, count: u64) -> Result<Vec<Excerpt>> {
        let (mut rest, mut found) = (count, Vec::new());
        self.walk(position, |mut piece| {
            let shard = self.shard(piece.shard)?;
            while piece.tokens > 0 && rest > 0 {
                let token = piece.start;
                let (document, start) = match piece.document {
                    Some(document) => (document, shard.document(document)?.0),
                    None => shard.document_at(token)?,
                };
                let of_document =
                    if piece.padding { piece.tokens } else { shard.document(document)?.1 - token };
                let tokens = of_document.min(piece.tokens).min(rest);
                let place = Place { shard: piece.shard, document, offset: token - start, token };
                found.push(Excerpt { place, tokens, padding: piece.padding });
                (piece, rest) = (piece.behind(tokens), rest - tokens);
            }
            Ok(rest > 0)
        })?;
        if rest == 0 { Ok(found) } else { Err(self.past_end(position)) }
    }

    /// Where the tokens of a document lie in the stream; none where it is of the other side.
    pub fn positions_of(&self, shard: usize, document: u64) -> Result<Option<Range<u64>>> {
        let (start, end) = self.shard(shard)?.document(document)?;
        let block = match &self.layout {
            Layout::Ranked(ranked) => {
                let rank = ranked.iter().position(|ranked| *ranked == (shard as u32, document as u32));
                let Some(rank) = rank else { return Ok(None) };
                rank / BLOCK_DOCUMENTS as usize
            }
            _ if !keeps(self.filter.as_ref(), shard, document) => return Ok(None),
            Layout::Packed { packing, .. } => packing.block_of(shard, document),
            Layout::Stored(first_block) => {
                let first = first_block.get(shard).copied().unwrap_or(0);
                if self.filter.is_none() {
                    let before = self.before(first);
                    return Ok(Some(before + start..before + end));
                }
                first + (document / BLOCK_DOCUMENTS) as usize
            }
        };
        let mut position = self.before(block);
        self.pieces(block, |piece| {
            let found = piece.shard == shard && piece.document == Some(document);
            position += if found { 0 } else { piece.tokens };
            Ok(!found)
        })?;
        Ok(Some(position..position + (end - start)))
    }

    /// Tokens before a block.
    fn before(&self, block: usize) -> u64 {
        block.checked_sub(1).and_then(|b| self.ends.get(b)).copied().unwrap_or(0)
    }

    /// Visits the non-empty pieces from `position` on until `visit` answers false.
    fn walk(&self, position: u64, mut visit: impl FnMut(Piece) -> Result<bool>) -> Result<()> {
        let first = self.ends.partition_point(|end| *end <= position);
        let mut skip = position - self.before(first);
        let mut going = true;
        let mut block = first;
        while going && block < self.ends.len() {
            self.pieces(block, |piece| {
                if skip >= piece.tokens {
                    skip -= piece.tokens;
                    return Ok(true);
                }
                going = visit(piece.behind(std::mem::take(&mut skip)))?;
                Ok(going)
            })?;
            block += 1;
        }
        Ok(())
    }

    /// Visits the pieces of a block that belong to the side until `visit` answers false.
    fn pieces(&self, block: usize, mut visit: impl FnMut(Piece) -> Result<bool>) -> Result<()> {
        let of_document = |shard: usize, document: u64| {
            let (start, end) = self.shard(shard)?.document(document)?;
            Ok(Piece { shard, document: Some(document), start, tokens: end - start, padding: false })
        };
        match &self.layout {
            Layout::Ranked(ranked) => {
                let size = BLOCK_DOCUMENTS as usize;
                let listed = ranked.iter().skip(block * size).take(size);
                visit_all(
                    listed.map(|(shard, document)| of_document(*shard as usize, (*document).into())),
                    visit,
                )
            }
            Layout::Packed { packing, last, recent } => {
                let pieces = recent.get(block, || {
                    let of_side = packing.documents(block);
                    let of_side =
                        of_side.filter(|(shard, document)| keeps(self.filter.as_ref(), *shard, *document));
                    let documents = of_side.map(|(shard, document)| of_document(shard, document));
                    Ok(windows(&documents.collect::<Result<Vec<_>>>()?, packing.window))
                })?;
                let behind = pieces.last().filter(|_| block == *last).map(|piece| piece.padding(1));
                visit_all(pieces.iter().copied().chain(behind).map(Ok), visit)
            }
            Layout::Stored(first_block) => {
                // The last shard that starts at or before the block; every shard has at least one block.
                let shard = first_block.partition_point(|first| *first <= block).saturating_sub(1);
                let opened = self.shard(shard)?;
                let Some(filter) = &self.filter else {
                    let (document, tokens) = (None, opened.tokens());
                    return visit(Piece { shard, document, start: 0, tokens, padding: false }).map(|_| ());
                };
                let inside = block - first_block.get(shard).copied().unwrap_or(0);
                let first = inside as u64 * BLOCK_DOCUMENTS;
                let documents = first..opened.documents().min(first + BLOCK_DOCUMENTS);
                let of_side = documents.filter(|document| filter.keeps(shard, *document));
                visit_all(of_side.map(|document| of_document(shard, document)), visit)
            }
        }
    }

    fn block_tokens(&self, block: usize) -> Result<u64> {
        let mut tokens = 0u64;
        self.pieces(block, |piece| {
            // No overflow: documents do not overlap, so the sum is at most the tokens of the shard.
            tokens += piece.tokens;
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

    fn empty(&self, split: Split) -> Error {
        let name = if self.side == Side::Validation { "validation" } else { "training" };
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

fn keeps(filter: Option<&Filter>, shard: usize, document: u64) -> bool {
    filter.is_none_or(|filter| filter.keeps(shard, document))
}

fn visit_all(
    pieces: impl Iterator<Item = Result<Piece>>,
    mut visit: impl FnMut(Piece) -> Result<bool>,
) -> Result<()> {
    for piece in pieces {
        if !visit(piece?)? {
            break;
        }
    }
    Ok(())
}
