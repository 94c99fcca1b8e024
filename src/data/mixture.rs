//! The sources of a run, and its samples in order.
use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3;

use super::batch::{Batch, fill};
use super::corpus::Corpus;
use super::order::Order;
use super::shares::{Cursor, Dealt, Shares, Turn};
use crate::{Error, Result};

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
    cursor: Cursor,
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
    /// At `cursor`, a position among `shares` of these sources.
    pub fn new(sources: Sources, shares: Shares, cursor: Cursor) -> Self {
        assert_eq!(sources.list.len(), shares.sources(), "every source has its shares");
        Self { sources, shares, cursor }
    }

    /// The sources and how their documents are split.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What part of the samples each source has.
    pub fn shares(&self) -> &Shares {
        &self.shares
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
        let turns: Vec<Turn> = (0..sequences).map(|_| self.shares.next(&mut self.cursor)).collect();
        fill(self.sources.seq_len(), sequences, vocab, batch, |i, out, vocab| {
            let Turn { source, sample } = turns[i];
            self.sources.list[source].order.read(sample, out, vocab)
        })
    }
}
