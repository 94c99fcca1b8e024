//! What each of the named inputs gave, and what of it was dropped.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What one of the named inputs, a file or a folder, gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// As it was named.
    pub path: PathBuf,
    /// Files that gave a document.
    pub files: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Lines, rows or values that gave none.
    pub dropped: u64,
}

/// A line, a row or a value that gave no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The file.
    pub file: PathBuf,
    /// Its line there, of Parquet its row, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// How many of those that were dropped are kept one by one.
pub(super) const DROPPED_MAX: usize = 100_000;

/// Says which of the named inputs a text came from that is met later, in order.
#[derive(Debug)]
pub struct TokenCounts {
    given: Arc<[AtomicU64]>,
    source: usize,
    /// Texts of this source that were met.
    met: u64,
    tokens: Vec<u64>,
}

impl TokenCounts {
    /// Of sources that have `given` so many texts by now.
    pub(super) fn new(given: Arc<[AtomicU64]>) -> Self {
        Self { source: 0, met: 0, tokens: vec![0; given.len()], given }
    }

    /// The next text has so many tokens.
    pub fn add(&mut self, tokens: u64) {
        // A text is met after it was given, and those of a source after all of the one before.
        while self.source + 1 < self.given.len()
            && self.given[self.source].load(Ordering::Relaxed) == self.met
        {
            (self.source, self.met) = (self.source + 1, 0);
        }
        self.met += 1;
        self.tokens[self.source] += tokens;
    }

    /// Tokens of each source.
    pub fn tokens(&self) -> &[u64] {
        &self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_the_source_of_their_text() {
        let given: Arc<[AtomicU64]> = [0, 2, 0, 1].map(AtomicU64::new).into();
        let mut counts = TokenCounts::new(given.clone());
        counts.add(5);
        counts.add(7);
        counts.add(11);
        given[3].fetch_add(1, Ordering::Relaxed);
        counts.add(13);
        assert_eq!(counts.tokens(), [0, 12, 0, 24]);
    }
}
