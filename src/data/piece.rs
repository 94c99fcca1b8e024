//! Parts of a stream of tokens, and where they are stored.
use super::packing::{Bin, best_fit};

/// Tokens of one shard that follow each other, or one token again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Index of the shard in `Corpus::shards`.
    pub shard: usize,
    /// Known when documents were looked at one by one.
    pub document: Option<u64>,
    /// Token inside the shard.
    pub start: u64,
    /// How many, at least 1 but for documents without any.
    pub tokens: u64,
    /// Whether every token is the one at `start`.
    pub padding: bool,
}

impl Piece {
    /// The last token, so many times.
    pub(super) fn padding(&self, tokens: u64) -> Self {
        Self { start: self.behind(self.tokens - 1).start, tokens, padding: true, ..*self }
    }

    /// What is left behind so many tokens.
    pub(super) fn behind(self, tokens: u64) -> Self {
        let start = if self.padding { self.start } else { self.start + tokens };
        Self { start, tokens: self.tokens - tokens, ..self }
    }
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

/// Tokens of one document that follow each other, or what fills a window up behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Where the first of them is stored.
    pub place: Place,
    /// How many there are, at least 1.
    pub tokens: u64,
    /// Whether each of them is that first one again: padding, which counts for nothing.
    pub padding: bool,
}

impl Excerpt {
    /// Whether another begins where this one ends, in the same document.
    pub fn goes_on_in(&self, other: &Self) -> bool {
        let end = Place {
            offset: self.place.offset + self.tokens,
            token: self.place.token + self.tokens,
            ..self.place
        };
        !self.padding && end == other.place
    }
}

/// Documents in windows, each filled up.
pub(super) fn windows(documents: &[Piece], window: u64) -> Vec<Piece> {
    let lengths: Vec<u64> = documents.iter().map(|document| document.tokens).collect();
    let mut pieces = Vec::with_capacity(documents.len() + documents.len() / 4);
    for Bin { items, space } in best_fit(&lengths, window) {
        pieces.extend(items.iter().map(|item| documents[*item]));
        let last = pieces[pieces.len() - 1];
        pieces.extend((space > 0).then(|| last.padding(space)));
    }
    pieces
}
