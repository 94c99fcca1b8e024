//! The sources of a run, and its samples in order.
use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::batch::{Batch, fill};
use super::corpus::Corpus;
use super::documents::Boundaries;
use super::left_out::LeftOut;
use super::order::{Order, Piece};
use super::shard::{Shard, prefix_of};
use super::shares::{Cursor, Dealt, Shares, Turn};
use super::weights::{LossWeights, fill_weights};
use crate::{Error, Result, stop};

/// A named part of the training data.
#[derive(Debug)]
pub struct Source {
    /// Name in the log and of its held-out set.
    pub name: String,
    /// The order of its samples.
    pub order: Order,
}

/// What a run reads, in a fixed order; at least one source.
#[derive(Debug)]
pub struct Sources {
    list: Vec<Source>,
}

/// Sources and their shares, at a position: which tokens the next samples of a run consist of.
///
/// Every source goes through its own epochs, so none repeats or drops a sample within one, whatever becomes of shares.
#[derive(Debug)]
pub struct Mixture {
    sources: Sources,
    shares: Shares,
    left_out: Vec<LeftOut>,
    cursor: Cursor,
    documents: Boundaries,
    /// Of every source; none where each target has weight 1.
    weights: Vec<Option<LossWeights>>,
    /// The source of each sequence of the last batch.
    rows: Vec<usize>,
}

impl Sources {
    /// Refused where two name the same shard: its documents would be repeated within an epoch.
    pub fn new(list: Vec<Source>) -> Result<Self> {
        assert!(!list.is_empty(), "a run reads something");
        let mut seen = HashMap::new();
        for source in &list {
            for shard in source.order.corpus().shards() {
                if let Some(other) = seen.insert(shard.identity(), &source.name) {
                    return Err(Error::refused(format!(
                        "{} is named by the sources {other:?} and {:?}; name each shard once, a larger weight is what \
                         repeats data",
                        shard.path().display(),
                        source.name
                    )));
                }
            }
        }
        Ok(Self { list })
    }

    /// The sources, in order.
    pub fn list(&self) -> &[Source] {
        &self.list
    }

    /// Whether there are several.
    pub fn are_mixed(&self) -> bool {
        self.list.len() > 1
    }

    /// The corpora of all sources, in order.
    pub fn corpora(&self) -> impl Iterator<Item = &Corpus> {
        self.list.iter().map(|source| &**source.order.corpus())
    }

    /// Tokens per sample that are predicted.
    pub fn seq_len(&self) -> usize {
        self.list[0].order.seq_len()
    }

    /// Whose turn the next sample is, and the sample of that source's order that is read.
    pub fn turn(&self, shares: &Shares, left_out: &[LeftOut], cursor: &mut Cursor) -> Turn {
        let (position, source) = {
            let next = shares.next(cursor).source;
            (cursor.dealt().position(next) - 1, next)
        };
        let sample = left_out[source].next(&self.list[source].order, position);
        if sample > position {
            cursor.pass(source, sample - position);
        }
        Turn { source, sample }
    }

    /// Source and number of the shard whose path ends like this, with or without the extension of its file.
    pub fn find_shard(&self, name: &str) -> Result<(usize, usize)> {
        let named = Path::new(name);
        let is = |path: &Path| path.ends_with(named) || prefix_of(path).ends_with(named);
        let all = || {
            self.list.iter().enumerate().flat_map(|(source, of)| {
                of.order.corpus().shards().iter().enumerate().map(move |(i, shard)| ((source, i), shard))
            })
        };
        let listed = |shards: Vec<&Shard>| {
            const SHOWN: usize = 5;
            let mut paths: Vec<_> =
                shards.iter().take(SHOWN).map(|shard| shard.path().display().to_string()).collect();
            paths.extend((shards.len() > SHOWN).then(|| format!("{} more", shards.len() - SHOWN)));
            paths.join(", ")
        };
        let found: Vec<_> = all().filter(|(_, shard)| is(shard.path())).collect();
        match found[..] {
            [(place, _)] => Ok(place),
            [] => Err(Error::refused(format!(
                "no shard of the training data is called {name}; they are {}",
                listed(all().map(|(_, shard)| shard).collect())
            ))),
            _ => Err(Error::refused(format!(
                "several shards of the training data are called {name}; write more of the path of one: {}",
                listed(found.into_iter().map(|(_, shard)| shard).collect())
            ))),
        }
    }

    /// Has the samples of each source begin where they do in phases that go on from others.
    pub fn begin(&mut self, dealt: &Dealt) {
        self.list.iter_mut().enumerate().for_each(|(i, source)| source.order.shift(dealt.shift(i)));
    }

    /// Of the contents of all sources in order; of one source, that of its corpus.
    pub fn fingerprint(&self) -> u128 {
        if let [only] = &self.list[..] {
            return only.order.corpus().fingerprint();
        }
        let mut hash = Xxh3::new();
        self.corpora().for_each(|corpus| hash.update(&corpus.fingerprint().to_le_bytes()));
        hash.digest128()
    }
}

impl Mixture {
    /// At `cursor`, a position among `shares` of these sources, of which each leaves something out.
    pub fn new(sources: Sources, shares: Shares, left_out: Vec<LeftOut>, cursor: Cursor) -> Self {
        assert_eq!(sources.list.len(), shares.sources(), "every source has its shares");
        assert_eq!(sources.list.len(), left_out.len(), "every source says what it leaves out");
        Self {
            sources,
            shares,
            left_out,
            cursor,
            documents: Boundaries::IGNORED,
            weights: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Batches say where documents start, where somebody looks.
    pub fn with_documents(self, documents: Boundaries) -> Self {
        Self { documents, ..self }
    }

    /// Batches have the weights of targets: those of each source, where it has some.
    pub fn with_weights(self, weights: Vec<Option<LossWeights>>) -> Self {
        Self { weights, ..self }
    }

    /// Who looks at documents.
    pub fn documents(&self) -> Boundaries {
        self.documents
    }

    /// The sources and how their documents are split.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What part of the samples each source has.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// What each source leaves out.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// What was dealt out so far.
    pub fn dealt(&self) -> &Dealt {
        self.cursor.dealt()
    }

    /// What was dealt out last, where it was not used: back to an earlier position.
    pub fn rewind(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// Where each source stands.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Fills `batch` with the next samples. Any split of a range of samples into batches, over steps or over ranks, reads
    /// the same sequences. Refused when a token is not in `0..vocab`.
    pub fn fill(&mut self, sequences: usize, vocab: u32, batch: &mut Batch) -> Result<()> {
        let Self { sources, shares, left_out, cursor, .. } = self;
        let turns: Vec<Turn> = (0..sequences).map(|_| sources.turn(shares, left_out, cursor)).collect();
        let order = |i: usize| &self.sources.list[turns[i].source].order;
        fill(self.sources.seq_len(), sequences, vocab, batch, |i| {
            Ok((order(i), order(i).pieces(turns[i].sample)))
        })?;
        self.rows = turns.iter().map(|turn| turn.source).collect();
        self.annotate(&turns, batch)
    }

    /// The source of each sequence of the batch that was filled last, by its place among the sources.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// What goes with the tokens: where documents start, and the weights of targets, as far as anybody asks.
    fn annotate(&self, turns: &[Turn], batch: &mut Batch) -> Result<()> {
        let time = self.sources.seq_len();
        let documents = self.documents.are_seen();
        let weighted = !self.weights.is_empty() || self.sources.list.iter().any(|of| of.order.is_packed());
        batch.documents.clear();
        batch.documents.resize(if documents { batch.tokens.len() } else { 0 }, 0);
        batch.weights.clear();
        batch.weights.resize(if weighted { batch.tokens.len() } else { 0 }, 1.0);
        if !documents && !weighted {
            return Ok(());
        }
        let mut starts = batch.documents.chunks_mut(time);
        let mut weights = batch.weights.chunks_mut(time);
        let rows: Vec<_> = turns
            .iter()
            .zip(batch.tokens.chunks(time))
            .map(|row| (row, starts.next(), weights.next()))
            .collect();
        rows.into_par_iter().try_for_each(|((turn, tokens), starts, weights)| {
            stop::check()?;
            let order = &self.sources.list[turn.source].order;
            let (mut starts, mut weights, mut at) =
                (starts.unwrap_or_default(), weights.unwrap_or_default(), 0);
            // Where windows are joined that do not lie side by side, a document begins.
            let pieces = order.pieces(turn.sample);
            for pieces in pieces.chunk_by(|a, b| a.start + a.targets == b.start) {
                let piece = Piece { targets: pieces.iter().map(|piece| piece.targets).sum(), ..pieces[0] };
                let count = piece.targets as usize;
                let excerpts = order.piece_excerpts(piece)?;
                if documents {
                    let now;
                    (now, starts) = starts.split_at_mut(count);
                    self.documents.find(order.corpus(), &excerpts, &tokens[at..at + count], now);
                    now.iter_mut().for_each(|start| *start += at as i32);
                }
                if weighted {
                    let now;
                    (now, weights) = weights.split_at_mut(count);
                    let planes = self.weights.get(turn.source).and_then(Option::as_ref);
                    fill_weights(planes, &excerpts, now)?;
                }
                at += count;
            }
            Ok(())
        })
    }
}
