//! Samples as the model takes them.
use rayon::prelude::*;

use super::order::{Order, Piece};
use crate::{Error, Result, stop};

/// Tokens become i32 in a batch: larger vocabularies are cut here, so the casts below lose nothing.
const VOCAB_MAX: u32 = 1 << 31;

/// B sequences of T tokens and the tokens that follow each. Reused from step to step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Input tokens, `[B, T]`.
    pub tokens: Vec<i32>,
    /// Targets [B, T]: `targets[b, t]` follows `tokens[b, t]` in the data. It is `tokens[b, t + 1]`, too, but for the last
    /// one of a piece, where a sample joins two windows.
    pub targets: Vec<i32>,
    /// Row of its sequence in which the document of each input token starts, [B, T]; empty where nobody looks.
    pub documents: Vec<i32>,
    /// Weight of each target, [B, T]; empty where each is 1.
    pub weights: Vec<f32>,
    /// Pieces as they were read, at most [B, T + 1].
    windows: Vec<u32>,
}

/// Fills `batch` with the samples `first..first + sequences` of the training order. Any split of a range of samples
/// into batches, over steps or over ranks, reads the same sequences. Refused when a token is not in `0..vocab`.
pub fn fill_batch(order: &Order, first: u64, sequences: usize, vocab: u32, batch: &mut Batch) -> Result<()> {
    fill(order.seq_len(), sequences, vocab, batch, |i| Ok((order, order.pieces(sample(first, i)?))))
}

/// As `fill_batch`, with windows in stored order: how validation reads.
pub fn fill_windows(
    order: &Order,
    first: u64,
    sequences: usize,
    vocab: u32,
    batch: &mut Batch,
) -> Result<()> {
    let window = |i| Ok((order, vec![order.whole_window(sample(first, i)?)?]));
    fill(order.seq_len(), sequences, vocab, batch, window)
}

fn sample(first: u64, i: usize) -> Result<u64> {
    first.checked_add(i as u64).ok_or_else(|| Error::refused(format!("sample {first} + {i} is past 2^64")))
}

/// `row(i)` gives the pieces of row i of the batch, of `time` targets in all. A request to stop ends it between two.
pub(super) fn fill<'a>(
    time: usize,
    sequences: usize,
    vocab: u32,
    batch: &mut Batch,
    row: impl Fn(usize) -> Result<(&'a Order, Vec<Piece>)> + Sync,
) -> Result<()> {
    if sequences.checked_mul(time + 1).is_none() {
        return Err(Error::refused(format!(
            "a batch of {sequences} × {time} tokens does not fit memory; make it smaller"
        )));
    }
    batch.windows.resize(sequences * (time + 1), 0);
    batch.tokens.resize(sequences * time, 0);
    batch.targets.resize(sequences * time, 0);
    let rows = batch.windows.par_chunks_mut(time + 1);
    let rows = rows.zip(batch.tokens.par_chunks_mut(time)).zip(batch.targets.par_chunks_mut(time));
    rows.enumerate().try_for_each(|(i, ((window, mut tokens), mut targets))| {
        stop::check()?; // there may be a hundred thousand of them
        let (order, pieces) = row(i)?;
        for piece in pieces {
            let count = piece.targets as usize;
            let read = &mut window[..=count];
            order.read_piece(piece, read, vocab.min(VOCAB_MAX))?;
            let (now, later) = tokens.split_at_mut(count);
            now.iter_mut().zip(read.iter()).for_each(|(to, from)| *to = *from as i32);
            tokens = later;
            let (now, later) = targets.split_at_mut(count);
            now.iter_mut().zip(&read[1..]).for_each(|(to, from)| *to = *from as i32);
            targets = later;
        }
        Ok(())
    })
}
