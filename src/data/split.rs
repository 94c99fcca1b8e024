//! Which documents belong to training and which to validation.
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::corpus::Corpus;
use super::permutation::splitmix;
use super::shard::Shard;

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

    /// Which documents of a corpus are of a side; none where all are.
    pub(super) fn filter(&self, corpus: &Corpus, side: Side) -> Option<Filter> {
        let filtered = side == Side::Validation || side == Side::Train && self.fraction > 0.0;
        filtered.then(|| Filter {
            validation: side == Side::Validation,
            threshold: self.threshold(),
            keys: corpus.shards().iter().map(|shard| self.key(shard)).collect(),
        })
    }

    // A hash is uniform in 0..2^64; the cast saturates.
    fn threshold(&self) -> u64 {
        (self.fraction * 2f64.powi(64)) as u64
    }
}

/// The documents of one side of a corpus.
#[derive(Debug)]
pub(super) struct Filter {
    validation: bool,
    threshold: u64,
    keys: Vec<u64>,
}

impl Filter {
    /// Whether a document of a shard is of it.
    pub(super) fn keeps(&self, shard: usize, document: u64) -> bool {
        let validation = self.keys.get(shard).is_some_and(|key| splitmix(*key, document) < self.threshold);
        validation == self.validation
    }
}
