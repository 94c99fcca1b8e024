//! Which tokens sample `s` of a run consists of: a pure function of (seed, corpus, s).
//!
//! The tokens of a side are cut into windows of `window` + 1 that start `window` apart, so each token is a target once per
//! epoch, except the first of the side and the last (tokens − 1) mod `window`. Each epoch visits the windows in the order of
//! its own keyed permutation, and puts them end to end: a stream of pairs of a token and the one that follows it in the data,
//! `window` of each window. A sample is the next `seq_len` pairs. Windows are at least as long as samples, so a sample joins
//! two of them at most, and two epochs as well as two windows. There is no state and no index file: seeking is free.
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arrangement::Arrangement;
use super::corpus::Corpus;
use super::permutation::Permutation;
use super::piece::{Excerpt, Place};
use super::sorted::Ranking;
use super::split::{Side, Split};
use super::stream::Stream;
use crate::{Error, Result};

/// The order in which a side of a corpus is visited.
#[derive(Debug)]
pub struct Order {
    stream: Stream,
    split: Split,
    seq_len: u64,
    window: u64,
    /// Windows of the side.
    all: u64,
    /// Those of an epoch: all of them, or a part.
    windows: u64,
    seed: u64,
    arrangement: Arrangement,
    /// Of what documents are sorted by.
    ranking: Option<String>,
    /// Pairs before sample 0.
    shift: u64,
}

/// What makes two orders one: the same pair of tokens at every position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderKey {
    /// Fingerprint of the contents, in hex.
    pub corpus: String,
    /// Key of the permutations.
    pub seed: u64,
    /// Targets of a window.
    pub window: u64,
    /// Which documents are left for validation.
    pub split: Split,
    /// How windows are arranged.
    #[serde(default, skip_serializing_if = "Arrangement::is_shuffled")]
    pub order: Arrangement,
    /// Of what documents are sorted by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<String>,
    /// Windows of an epoch, where it is a part of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<u64>,
}

/// Consecutive pairs of a window; those of a sample are of one window or of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Pass over the data, from 0.
    pub epoch: u64,
    /// Window in stored order.
    pub window: u64,
    /// Where its first token lies in the side.
    pub start: u64,
    /// Targets; it has one token more.
    pub targets: u64,
}

/// Where a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Pass over the data, from 0.
    pub epoch: u64,
    /// Window in stored order.
    pub window: u64,
    /// Index into `Corpus::shards` of the first token.
    pub shard: usize,
    /// Document of the first token, inside the shard.
    pub document: u64,
    /// First token, inside the document.
    pub offset: u64,
    /// First token, inside the shard.
    pub token: u64,
}

impl Order {
    /// Samples of `seq_len` targets over one side, in windows as long. Refused when the side holds fewer tokens than one.
    pub fn new(corpus: Arc<Corpus>, side: Side, split: Split, seq_len: usize, seed: u64) -> Result<Self> {
        if seq_len == 0 {
            return Err(Error::refused("the sequence length is 0, expected at least 1"));
        }
        Self::of_stream(
            Stream::new(corpus, side, split)?,
            split,
            seq_len as u64,
            seed,
            (Arrangement::Shuffled, None),
        )
    }

    /// The same in another arrangement, in windows of so many targets, at least as many as a sample has. Refused where what
    /// documents are sorted by cannot be read, or those that shall be packed are not known.
    pub fn arranged(
        corpus: Arc<Corpus>,
        side: Side,
        split: Split,
        (seq_len, window): (usize, usize),
        seed: u64,
        arrangement: Arrangement,
    ) -> Result<Self> {
        let order = match &arrangement {
            Arrangement::Shuffled | Arrangement::Stored => {
                Self { arrangement, ..Self::new(corpus, side, split, seq_len, seed)? }
            }
            Arrangement::Packed => {
                let stream = Stream::packed(corpus, side, split, window as u64, seed)?;
                Self::of_stream(stream, split, seq_len as u64, seed, (arrangement, None))?
            }
            Arrangement::Sorted { key, descending } => {
                let Ranking { documents, fingerprint } = Ranking::new(&corpus, key, *descending)?;
                let stream = Stream::ranked(corpus, side, split, documents)?;
                Self::of_stream(stream, split, seq_len as u64, seed, (arrangement, Some(fingerprint)))?
            }
        };
        if window == seq_len { Ok(order) } else { order.windowed(window) }
    }

    fn of_stream(
        stream: Stream,
        split: Split,
        seq_len: u64,
        seed: u64,
        (arrangement, ranking): (Arrangement, Option<String>),
    ) -> Result<Self> {
        let (window, all, windows, shift) = (0, 0, 0, 0);
        let order = Self { stream, split, seq_len, window, all, windows, seed, arrangement, ranking, shift };
        order.in_windows(seq_len).map_err(|(name, tokens)| {
            Error::refused(format!(
                "{name} {tokens} tokens, one sample takes {seq_len} + 1; add data, change the split, or shorten the sequence"
            ))
        })
    }

    /// The same in windows of so many targets, at least as many as a sample has. Refused when the side holds fewer tokens
    /// than one. What is packed is so into windows of this length already.
    pub fn windowed(self, window: usize) -> Result<Self> {
        assert!(window as u64 >= self.seq_len, "a sample joins two windows at most");
        self.in_windows(window as u64).map_err(|(name, tokens)| {
            Error::refused(format!(
                "{name} {tokens} tokens, one window takes {window} + 1; add data, change the split, or shorten data.window"
            ))
        })
    }

    fn in_windows(self, window: u64) -> Result<Self, (&'static str, u64)> {
        let windows = (self.stream.tokens() - 1) / window;
        match self.stream.side() {
            _ if windows > 0 => Ok(Self { window, all: windows, windows, ..self }),
            Side::All => Err(("the data hold", self.tokens())),
            Side::Train => Err(("the training side of the data holds", self.tokens())),
            Side::Validation => Err(("the validation side of the data holds", self.tokens())),
        }
    }

    /// The same of the first windows alone, those with so many targets: in each epoch they are shuffled among themselves.
    /// Refused where that is less than one or more than there are.
    pub fn subset(self, tokens: u64) -> Result<Self> {
        let windows = tokens / self.window;
        if windows == 0 || windows > self.all {
            return Err(Error::refused(format!(
                "its subset is {tokens} tokens; one window takes {}, and all of them have {}: give a number between",
                self.window,
                self.epoch_tokens()
            )));
        }
        Ok(Self { windows, ..self })
    }

    /// Has sample 0 begin behind so many pairs.
    pub fn shift(&mut self, pairs: u64) {
        self.shift = pairs;
    }

    /// Windows per epoch, at least 1.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Tokens per sample that are predicted; a sample has one more, or two where it joins windows.
    pub fn seq_len(&self) -> usize {
        self.seq_len as usize
    }

    /// Tokens of this side.
    pub fn tokens(&self) -> u64 {
        self.stream.tokens()
    }

    /// Whether some of its tokens may be padding, which counts for nothing.
    pub fn is_packed(&self) -> bool {
        self.stream.is_packed()
    }

    /// How many of its tokens are padding. Takes as long as to open it.
    pub fn padding(&self) -> Result<u64> {
        self.stream.padding()
    }

    /// Targets of an epoch.
    pub fn epoch_tokens(&self) -> u64 {
        self.windows * self.window // fewer than tokens
    }

    /// The corpus it orders.
    pub fn corpus(&self) -> &Arc<Corpus> {
        self.stream.corpus()
    }

    /// What a position in it depends on.
    pub fn key(&self) -> OrderKey {
        let split = if self.split.fraction > 0.0 { self.split } else { Split::NONE };
        OrderKey {
            corpus: format!("{:032x}", self.corpus().fingerprint()),
            seed: self.seed,
            window: self.window,
            split,
            order: self.arrangement.clone(),
            ranking: self.ranking.clone(),
            subset: (self.windows < self.all).then_some(self.windows),
        }
    }

    /// Epoch and window of the first token of a sample. Samples past the first epoch continue with the next epoch's
    /// permutation.
    pub fn window_of(&self, sample: u64) -> (u64, u64) {
        let Piece { epoch, window, .. } = self.pieces(sample)[0];
        (epoch, window)
    }

    /// The pieces of a sample, in order: one, or two.
    pub fn pieces(&self, sample: u64) -> Vec<Piece> {
        let epoch_tokens = u128::from(self.epoch_tokens());
        let mut at = u128::from(self.shift) + u128::from(sample) * u128::from(self.seq_len);
        let (mut pieces, mut rest) = (Vec::with_capacity(2), self.seq_len);
        while rest > 0 {
            // An epoch has at least as many pairs as a sample, so its number fits.
            let (epoch, within) = ((at / epoch_tokens) as u64, (at % epoch_tokens) as u64);
            let window = self.window_at(epoch, within / self.window);
            let offset = within % self.window;
            let targets = rest.min(self.window - offset);
            pieces.push(Piece { epoch, window, start: window * self.window + offset, targets });
            at += u128::from(targets);
            rest -= targets;
        }
        pieces
    }

    fn permutation(&self, windows: u64, epoch: u64) -> Permutation {
        Permutation::new(windows, self.seed, self.corpus().fingerprint(), epoch)
    }

    /// The window that an epoch visits as its i-th.
    fn window_at(&self, epoch: u64, i: u64) -> u64 {
        if !self.arrangement.shuffles() {
            return i;
        }
        let i = self.permutation(self.windows, epoch).apply(i);
        // A part of the windows are those that the first epoch of all of them would begin with.
        if self.windows < self.all { self.permutation(self.all, 0).apply(i) } else { i }
    }

    /// When an epoch visits a window, if it does.
    fn visit_of(&self, epoch: u64, mut window: u64) -> Option<u64> {
        let shuffled = self.arrangement.shuffles();
        if shuffled && self.windows < self.all {
            window = self.permutation(self.all, 0).invert(window);
        }
        let visited = window < self.windows;
        visited.then(|| if shuffled { self.permutation(self.windows, epoch).invert(window) } else { window })
    }

    /// The epochs that the first and the last pair of these samples are of; some samples.
    pub fn epochs_of(&self, samples: &Range<u64>) -> (u64, u64) {
        let last = self.pieces(samples.end - 1);
        (self.window_of(samples.start).0, last[last.len() - 1].epoch)
    }

    /// The samples with a token at these positions of the side in an epoch. A token may be in none, where it is one of those
    /// behind the last window.
    pub fn samples_of(&self, epoch: u64, positions: Range<u64>) -> Vec<Range<u64>> {
        if positions.is_empty() {
            return Vec::new();
        }
        // Window w holds the tokens from w · window to the first of the next window, that one included.
        let first = positions.start.saturating_sub(self.window).div_ceil(self.window);
        let end = self.all.min((positions.end - 1) / self.window + 1);
        let behind = u128::from(epoch) * u128::from(self.epoch_tokens());
        let samples = |window: u64| {
            let begin = window * self.window;
            // Pair i holds the tokens i and i + 1.
            let pairs = positions.start.saturating_sub(begin + 1)..self.window.min(positions.end - begin);
            let visit = self.visit_of(epoch, window)?;
            let at = |pair: u64| behind + u128::from(visit * self.window + pair);
            let sample = |pair: u64| {
                (at(pair).checked_sub(self.shift.into())? / u128::from(self.seq_len)).try_into().ok()
            };
            let end: u64 = sample(pairs.end - 1)?;
            Some(sample(pairs.start).unwrap_or(0)..end + 1)
        };
        (first..end).filter_map(samples).collect()
    }

    /// Where the tokens of a document of `Corpus::shards` lie in the side; none where it is not of this side.
    pub fn positions_of(&self, shard: usize, document: u64) -> Result<Option<Range<u64>>> {
        self.stream.positions_of(shard, document)
    }

    /// What the tokens of a sample are of, document by document, window by window.
    pub fn excerpts(&self, sample: u64) -> Result<Vec<Excerpt>> {
        let mut excerpts = Vec::new();
        for piece in self.pieces(sample) {
            excerpts.extend(self.piece_excerpts(piece)?);
        }
        Ok(excerpts)
    }

    /// The same of a piece: of one token more than it has targets.
    pub fn piece_excerpts(&self, piece: Piece) -> Result<Vec<Excerpt>> {
        self.stream.excerpts(piece.start, piece.targets + 1)
    }

    /// The same of a window in stored order.
    pub fn window_excerpts(&self, window: u64) -> Result<Vec<Excerpt>> {
        self.piece_excerpts(self.whole_window(window)?)
    }

    /// Shard, document and offset of the first token of a sample. Refused when an index on the way is damaged.
    pub fn locate(&self, sample: u64) -> Result<Location> {
        let Piece { epoch, window, start, .. } = self.pieces(sample)[0];
        let Place { shard, document, offset, token } = self.stream.locate(start)?;
        Ok(Location { epoch, window, shard, document, offset, token })
    }

    /// The tokens of a sample, piece by piece. Refused when one is not in `0..vocab`.
    pub fn read(&self, sample: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        let pieces = self.pieces(sample);
        expect_places(out, self.seq_len + pieces.len() as u64)?;
        let mut rest = out;
        for piece in pieces {
            let (now, later) = rest.split_at_mut(piece.targets as usize + 1);
            self.read_piece(piece, now, vocab)?;
            rest = later;
        }
        Ok(())
    }

    /// The tokens of a piece, of which there is one more than targets. Refused when one is not in `0..vocab`.
    pub fn read_piece(&self, piece: Piece, out: &mut [u32], vocab: u32) -> Result<()> {
        expect_places(out, piece.targets + 1)?;
        self.stream.read(piece.start, out, vocab)
    }

    /// The tokens of a window in stored order: how validation reads. Refused past the last window, and when a token is not
    /// in `0..vocab`.
    pub fn read_window(&self, window: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        self.read_piece(self.whole_window(window)?, out, vocab)
    }

    /// A window in stored order. Refused past the last one.
    pub fn whole_window(&self, window: u64) -> Result<Piece> {
        if window >= self.all {
            return Err(Error::refused(format!(
                "window {window} was asked for, there are {} of {} tokens; ask for fewer validation batches",
                self.all, self.window
            )));
        }
        // No overflow: (windows − 1) · window < tokens.
        Ok(Piece { epoch: 0, window, start: window * self.window, targets: self.window })
    }
}

fn expect_places(out: &[u32], tokens: u64) -> Result<()> {
    if out.len() as u64 == tokens {
        return Ok(());
    }
    Err(Error::failed(format!(
        "{tokens} tokens were read into {} places; this is a bug in rewarm, please report it",
        out.len()
    )))
}
