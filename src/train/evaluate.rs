//! Loss on named validation sets.
use crate::data::{Corpus, Order, Side, Split};
use crate::model::{Model, Pass, Workspace};
use crate::ops::{Ops, Shape, Work};
use crate::{Error, Result};
use serde::Serialize;
use std::sync::Arc;

/// A validation set: some of its windows, evenly spread, the same ones each time.
pub struct Evaluation {
    /// Name in metrics and reports.
    pub name: String,
    order: Order,
    /// Windows evaluated.
    sequences: u64,
    /// Bytes of text per token, where the shards say.
    bytes_per_token: Option<f64>,
}

/// The result of one set.
#[derive(Clone, Debug, Serialize)]
pub struct EvalResult {
    /// Name of the set.
    pub eval: String,
    /// Nats per token.
    pub loss: f64,
    /// `e^loss`.
    pub perplexity: f64,
    /// Bits per byte of text, where the shards say how many bytes their tokens stand for.
    pub bits_per_byte: Option<f64>,
    /// Tokens predicted.
    pub tokens: u64,
}

impl Evaluation {
    /// At most `sequences` windows (0: all) of one side of a corpus.
    pub fn new(
        name: &str,
        corpus: Arc<Corpus>,
        side: Side,
        split: Split,
        time: usize,
        sequences: usize,
    ) -> Result<Self> {
        let bytes_per_token = corpus.bytes_per_token()?;
        let order = Order::new(corpus, side, split, time, 0)
            .map_err(|e| Error::refused(format!("validation set {name:?}: {e}")))?;
        let all = order.windows();
        let sequences = if sequences == 0 { all } else { all.min(sequences as u64) };
        Ok(Self { name: name.to_string(), order, sequences, bytes_per_token })
    }

    /// Runs it with the model's current weights.
    pub fn run(&self, model: &Model, ops: &mut dyn Ops, ws: &Workspace) -> Result<EvalResult> {
        let time = self.order.seq_len();
        let vocab = model.config.vocab_size as u32;
        let mut window = vec![0u32; time + 1];
        let mut total = 0.0;
        for first in (0..self.sequences).step_by(ws.shape.batch) {
            let shape = Shape { batch: ws.shape.batch.min((self.sequences - first) as usize), time };
            let (mut tokens, mut targets) = (Vec::new(), Vec::new());
            for i in 0..shape.batch as u64 {
                // Evenly spread: window i of n is at i/n of the set.
                let at = (first + i) as u128 * self.order.windows() as u128 / self.sequences as u128;
                self.order.read_window(at as u64, &mut window, vocab)?;
                tokens.extend(window[..time].iter().map(|&t| t as i32));
                targets.extend(window[1..].iter().map(|&t| t as i32));
            }
            ops.set_batch(&tokens, &targets, 0.0);
            ops.perform(Work::Evaluation { shape }, &mut |ops| {
                model.forward(ops, ws, shape, Pass::Sequences);
                model.loss(ops, ws, shape);
            });
            total += ops.read_stat(ws.loss, shape.rows())?.iter().map(|&x| x as f64).sum::<f64>();
        }
        let tokens = self.sequences * time as u64;
        let loss = total / tokens as f64;
        let bits_per_byte = self.bytes_per_token.map(|bytes| loss / std::f64::consts::LN_2 / bytes);
        Ok(EvalResult { eval: self.name.clone(), loss, perplexity: loss.exp(), bits_per_byte, tokens })
    }
}
