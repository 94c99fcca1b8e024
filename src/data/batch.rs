//! Samples as the model takes them.
use rayon::prelude::*;

use super::order::Order;
use crate::{Error, Result, stop};

/// Tokens become i32 in a batch: larger vocabularies are cut here, so the casts below lose nothing.
const VOCAB_MAX: u32 = 1 << 31;

/// B sequences of T tokens and the tokens that follow each. Reused from step to step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Input tokens, `[B, T]`.
    pub tokens: Vec<i32>,
    /// Targets [B, T]: `targets[b, t]` follows `tokens[b, t]` in the data.
    pub targets: Vec<i32>,
    /// Row of its sequence in which the document of each input token starts, [B, T]; empty where nobody looks.
    pub documents: Vec<i32>,
    /// Weight of each target, [B, T]; empty where each is 1.
    pub weights: Vec<f32>,
    /// Windows [B, T + 1].
    windows: Vec<u32>,
}

/// Fills `batch` with the samples `first..first + sequences` of the training order. Any split of a range of samples
/// into batches, over steps or over ranks, reads the same sequences. Refused when a token is not in `0..vocab`.
pub fn fill_batch(order: &Order, first: u64, sequences: usize, vocab: u32, batch: &mut Batch) -> Result<()> {
    let time = order.seq_len();
    fill(time, sequences, vocab, batch, |i, out, vocab| order.read(sample(first, i)?, out, vocab))
}

/// As `fill_batch`, with windows in stored order: how validation reads.
pub fn fill_windows(
    order: &Order,
    first: u64,
    sequences: usize,
    vocab: u32,
    batch: &mut Batch,
) -> Result<()> {
    let time = order.seq_len();
    fill(time, sequences, vocab, batch, |i, out, vocab| order.read_window(sample(first, i)?, out, vocab))
}

fn sample(first: u64, i: usize) -> Result<u64> {
    first.checked_add(i as u64).ok_or_else(|| Error::refused(format!("sample {first} + {i} is past 2^64")))
}

/// `read(i, out, vocab)` gives window i of the batch, `time` + 1 tokens below `vocab`. A request to stop ends it between two.
pub(super) fn fill(
    time: usize,
    sequences: usize,
    vocab: u32,
    batch: &mut Batch,
    read: impl Fn(usize, &mut [u32], u32) -> Result<()> + Sync,
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
    rows.enumerate().try_for_each(|(i, ((window, tokens), targets))| {
        stop::check()?; // there may be a hundred thousand of them
        read(i, window, vocab.min(VOCAB_MAX))?;
        for (to, from) in tokens.iter_mut().zip(window.iter()) {
            *to = *from as i32;
        }
        for (to, from) in targets.iter_mut().zip(window.iter().skip(1)) {
            *to = *from as i32;
        }
        Ok(())
    })
}
