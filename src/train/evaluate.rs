//! Loss on named validation sets.
use crate::data::{Boundaries, Corpus, Order, Side, Split, TextTokenizer, TokenBytes};
use crate::model::{Model, Pass, Workspace};
use crate::ops::{Backend, Inputs, Ops, Shape, Work};
use crate::stop;
use crate::{Error, Result};
use serde::Serialize;
use std::f64::consts::LN_2;
use std::sync::Arc;

/// A validation set: some of its windows, evenly spread, the same ones each time.
pub struct Evaluation {
    /// Name in metrics and reports.
    pub name: String,
    /// Which documents of its corpus, and how they are divided.
    pub part: (Side, Split),
    order: Order,
    /// Windows evaluated.
    sequences: u64,
    /// Bytes of text by token, where the tokenizer is known.
    token_bytes: Option<TokenBytes>,
    documents: Boundaries,
}

/// The result of one set.
#[derive(Clone, Debug, Serialize)]
pub struct EvalResult {
    /// Name of the set.
    pub eval: String,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Standard error of the loss, of windows as independent draws; of one window there is none.
    pub standard_error: Option<f64>,
    /// Perplexity, `e^loss`.
    pub perplexity: f64,
    /// Bits per byte of the text that the predicted tokens stand for, where their tokenizer is known and byte-level.
    pub bits_per_byte: Option<f64>,
    /// Number of tokens that were predicted.
    pub tokens: u64,
}

impl Evaluation {
    /// At most `sequences` windows (0: all) of one side of a corpus. `tokenizer` is the model's, for data that do not say
    /// with what they were made.
    pub fn new(
        name: &str,
        corpus: Arc<Corpus>,
        side: Side,
        split: Split,
        time: usize,
        sequences: usize,
        tokenizer: Option<&TextTokenizer>,
    ) -> Result<Self> {
        let token_bytes = TokenBytes::of_corpus(&corpus, tokenizer)?;
        let order = Order::new(corpus, side, split, time, 0)
            .map_err(|e| Error::refused(format!("validation set {name:?}: {e}")))?;
        let all = order.windows();
        let sequences = if sequences == 0 { all } else { all.min(sequences as u64) };
        Ok(Self {
            name: name.to_string(),
            part: (side, split),
            order,
            sequences,
            token_bytes,
            documents: Boundaries::IGNORED,
        })
    }

    /// The same set, its documents treated as in the run that asks. Refused where they are looked at and not known.
    pub fn with_documents(self, documents: Boundaries) -> Result<Self> {
        documents.check(self.corpus()).map_err(|e| e.within(&format!("validation set {:?}", self.name)))?;
        Ok(Self { documents, ..self })
    }

    /// Prepares it on the backend.
    pub fn prepare(&self, model: &Model, ops: &mut dyn Backend, ws: &Workspace) {
        let (most, time) = (ws.shape.batch as u64, self.order.seq_len());
        for batch in [self.sequences.min(most), self.sequences % most] {
            let shape = Shape { batch: batch as usize, time };
            if batch > 0 {
                ops.prepare(Work::Evaluation { shape }, &mut |ops| losses(model, ops, ws, shape));
            }
        }
    }

    /// Refuses tokens that are not in `0..vocab` in the first windows.
    pub fn check_tokens(&self, vocab: u32) -> Result<()> {
        const MOST: u64 = 64;
        let mut window = vec![0; self.order.seq_len() + 1];
        let mut check = |i| self.order.read_window(self.window(i), &mut window, vocab);
        (0..self.sequences.min(MOST))
            .try_for_each(|i| check(i).map_err(|e| e.within(&format!("validation set {:?}", self.name))))
    }

    /// Evenly spread: window `i` of n is at i/n of the set.
    fn window(&self, i: u64) -> u64 {
        (i as u128 * self.order.windows() as u128 / self.sequences as u128) as u64
    }

    /// Adds where the documents of sequence `i` start, whose tokens are the last ones there.
    fn find_documents(&self, i: u64, tokens: &[i32], starts: &mut Vec<i32>) -> Result<()> {
        if self.documents.are_seen() {
            let known = starts.len();
            starts.resize(tokens.len(), 0);
            let excerpts = self.order.window_excerpts(self.window(i))?;
            self.documents.find(self.corpus(), &excerpts, &tokens[known..], &mut starts[known..]);
        }
        Ok(())
    }

    /// What it is read from.
    pub fn corpus(&self) -> &Corpus {
        self.order.corpus()
    }

    /// Runs it with the model's current weights.
    pub fn run(&self, model: &Model, ops: &mut dyn Backend, ws: &Workspace) -> Result<EvalResult> {
        let time = self.order.seq_len();
        let vocab = model.config.vocab_size as u32;
        let mut window = vec![0u32; time + 1];
        let mut total = 0.0;
        let mut bytes = Some(0);
        // Mean loss of each window.
        let mut means = Vec::with_capacity(self.sequences as usize);
        for first in (0..self.sequences).step_by(ws.shape.batch) {
            stop::check()?; // a device computes what was issued
            let shape = Shape { batch: ws.shape.batch.min((self.sequences - first) as usize), time };
            let (mut tokens, mut targets, mut starts) = (Vec::new(), Vec::new(), Vec::new());
            for i in 0..shape.batch as u64 {
                self.order.read_window(self.window(first + i), &mut window, vocab)?;
                let counted = self.token_bytes.as_ref().and_then(|table| table.sum(&window[1..]));
                bytes = bytes.zip(counted).map(|(sum, more)| sum + more);
                tokens.extend(window[..time].iter().map(|&t| t as i32));
                targets.extend(window[1..].iter().map(|&t| t as i32));
                self.find_documents(first + i, &tokens, &mut starts)?;
            }
            let documents = self.documents.of(&starts);
            ops.set_inputs(Inputs { documents, ..Inputs::new(&tokens, &targets, 0.0) });
            ops.perform(Work::Evaluation { shape }, &mut |ops| losses(model, ops, ws, shape));
            let rows = ops.read_stat(ws.loss, shape.rows())?;
            let sum = |rows: &[f32]| rows.iter().map(|&x| x as f64).sum::<f64>();
            total += sum(&rows);
            means.extend(rows.chunks(time).map(|window| sum(window) / time as f64));
        }
        let tokens = self.sequences * time as u64;
        let loss = total / tokens as f64;
        let bits_per_byte = bytes.filter(|bytes| *bytes > 0).map(|bytes| total / LN_2 / bytes as f64);
        Ok(EvalResult {
            eval: self.name.clone(),
            loss,
            standard_error: standard_error(&means),
            perplexity: loss.exp(),
            bits_per_byte,
            tokens,
        })
    }
}

fn losses(model: &Model, ops: &mut dyn Ops, ws: &Workspace, shape: Shape) {
    model.forward(ops, ws, shape, Pass::Sequences);
    model.loss(ops, ws, shape);
}

/// Of the mean of independent draws: `√(Σ(x − mean)² / (n(n − 1)))`.
fn standard_error(draws: &[f64]) -> Option<f64> {
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let squares = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (draws.len() > 1).then(|| (squares / (n * (n - 1.0))).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against arithmetic: 1, 2, 3, 4 have a sample variance of 5/3.
    #[test]
    fn standard_errors() {
        assert_eq!(standard_error(&[1.0, 2.0, 3.0, 4.0]), Some((5f64 / 3.0 / 4.0).sqrt()));
        assert_eq!(standard_error(&[2.5; 7]), Some(0.0));
        assert_eq!((standard_error(&[1.0]), standard_error(&[])), (None, None));
    }
}
