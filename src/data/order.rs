//! Which tokens sample `s` of a run consists of: a pure function of (seed, corpus, s).
//!
//! The stream of a side is cut into windows of `seq_len` + 1 tokens that start `seq_len` apart, so each token is a
//! target once per epoch, except the first of the stream and the last (tokens − 1) mod `seq_len`. Each epoch visits the
//! windows in the order of its own keyed permutation. There is no state and no index file: seeking is free.
use std::ops::Range;
use std::sync::Arc;

use super::corpus::Corpus;
use super::permutation::Permutation;
use super::split::{Excerpt, Side, Split, Stream};
use crate::{Error, Result};

/// The order in which a side of a corpus is visited.
#[derive(Debug)]
pub struct Order {
    stream: Stream,
    seq_len: u64,
    windows: u64,
    seed: u64,
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
    /// Windows of `seq_len` + 1 tokens over one side. Refused when the side holds fewer tokens than one window.
    pub fn new(corpus: Arc<Corpus>, side: Side, split: Split, seq_len: usize, seed: u64) -> Result<Self> {
        if seq_len == 0 {
            return Err(Error::refused("the sequence length is 0, expected at least 1"));
        }
        let stream = Stream::new(corpus, side, split)?;
        let seq_len = seq_len as u64;
        let windows = (stream.tokens() - 1) / seq_len;
        if windows == 0 {
            let name = match side {
                Side::All => "the data hold",
                Side::Train => "the training side of the data holds",
                Side::Validation => "the validation side of the data holds",
            };
            return Err(Error::refused(format!(
                "{name} {} tokens, one sample takes {seq_len} + 1; add data, change the split, or shorten the sequence",
                stream.tokens()
            )));
        }
        Ok(Self { stream, seq_len, windows, seed })
    }

    /// Windows per epoch, at least 1.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Tokens per sample that are predicted; a sample has one more.
    pub fn seq_len(&self) -> usize {
        self.seq_len as usize
    }

    /// Tokens of this side.
    pub fn tokens(&self) -> u64 {
        self.stream.tokens()
    }

    /// The corpus it orders.
    pub fn corpus(&self) -> &Arc<Corpus> {
        self.stream.corpus()
    }

    /// Whether every sample is the same as in another.
    pub fn is_that_of(&self, other: &Self) -> bool {
        let same = |order: &Self| (order.corpus().fingerprint(), order.tokens(), order.seq_len, order.seed);
        same(self) == same(other)
    }

    /// Epoch and window of a sample. Samples past the first epoch continue with the next epoch's permutation.
    pub fn window_of(&self, sample: u64) -> (u64, u64) {
        let (epoch, i) = (sample / self.windows, sample % self.windows);
        let permutation = Permutation::new(self.windows, self.seed, self.corpus().fingerprint(), epoch);
        (epoch, permutation.apply(i))
    }

    /// The sample of an epoch that is this window.
    pub fn sample_of(&self, epoch: u64, window: u64) -> u64 {
        let permutation = Permutation::new(self.windows, self.seed, self.corpus().fingerprint(), epoch);
        epoch * self.windows + permutation.invert(window)
    }

    /// The windows with a token of a document of `Corpus::shards`; none where it is not of this side. Its last token may
    /// be in none, where it is one of those behind the last window.
    pub fn windows_with(&self, shard: usize, document: u64) -> Result<Option<Range<u64>>> {
        let Some(tokens) = self.stream.positions_of(shard, document)? else { return Ok(None) };
        // Window w holds the tokens from w · seq_len to the first of the next window, that one included.
        let first = tokens.start.saturating_sub(self.seq_len).div_ceil(self.seq_len);
        let end = if tokens.is_empty() { first } else { (tokens.end - 1) / self.seq_len + 1 };
        Ok(Some(first.min(self.windows)..end.min(self.windows)))
    }

    /// What the `seq_len` + 1 tokens of a sample are of, document by document.
    pub fn excerpts(&self, sample: u64) -> Result<Vec<Excerpt>> {
        self.window_excerpts(self.window_of(sample).1)
    }

    /// The same of a window in stored order.
    pub fn window_excerpts(&self, window: u64) -> Result<Vec<Excerpt>> {
        self.stream.excerpts(window * self.seq_len, self.seq_len + 1)
    }

    /// Shard, document and offset of the first token of a sample. Refused when an index on the way is damaged.
    pub fn locate(&self, sample: u64) -> Result<Location> {
        let (epoch, window) = self.window_of(sample);
        let place = self.stream.locate(window * self.seq_len)?;
        let super::split::Place { shard, document, offset, token } = place;
        Ok(Location { epoch, window, shard, document, offset, token })
    }

    /// The `seq_len` + 1 tokens of a sample. Refused when one is not in `0..vocab`.
    pub fn read(&self, sample: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        self.read_window(self.window_of(sample).1, out, vocab)
    }

    /// The `seq_len` + 1 tokens of a window in stored order: how validation reads. Refused past the last window,
    /// and when a token is not in `0..vocab`.
    pub fn read_window(&self, window: u64, out: &mut [u32], vocab: u32) -> Result<()> {
        if out.len() as u64 != self.seq_len + 1 {
            return Err(Error::failed(format!(
                "a window was read into {} places, it has {}; this is a bug in rewarm, please report it",
                out.len(),
                self.seq_len + 1
            )));
        }
        if window >= self.windows {
            return Err(Error::refused(format!(
                "window {window} was asked for, there are {} of {} tokens; ask for fewer validation batches",
                self.windows, self.seq_len
            )));
        }
        // No overflow: (windows − 1) · seq_len < tokens.
        self.stream.read(window * self.seq_len, out, vocab)
    }
}
