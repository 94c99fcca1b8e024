//! Loss on named validation sets.
use super::breakdown::ByEnd;
use super::forgetting::Since;
use crate::config::Role;
use crate::data::{
    Batch, Boundaries, Corpus, LossWeights, Order, Side, Split, TextTokenizer, TokenBytes, fill_weights,
};
use crate::model::{Model, Pass, Workspace};
use crate::ops::{Backend, Inputs, Ops, Shape, Work};
use crate::stop;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;
use std::sync::Arc;

/// Windows of a set that [`Evaluation::sample`] takes.
const SAMPLED: u64 = 8;

/// A validation set: some of its windows, evenly spread, the same ones each time.
pub struct Evaluation {
    /// Name in metrics and reports.
    pub name: String,
    /// What its loss is compared for.
    pub role: Option<Role>,
    /// Which documents of its corpus, and how they are divided.
    pub part: (Side, Split),
    order: Order,
    /// Windows evaluated.
    sequences: u64,
    /// Bytes of text by token, where the tokenizer is known.
    token_bytes: Option<TokenBytes>,
    documents: Boundaries,
    weights: Option<LossWeights>,
}

/// The result of one set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvalResult {
    /// Name of the set.
    pub eval: String,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Standard error of the loss, of windows as independent draws; of one window there is none.
    pub standard_error: Option<f64>,
    /// Mean loss of the targets that end a text, and of all others, where that token is known and met.
    #[serde(flatten)]
    pub by_end: Option<ByEnd>,
    /// Perplexity, `e^loss`.
    pub perplexity: f64,
    /// Bits per byte of the text that the predicted tokens stand for, where their tokenizer is known and byte-level.
    pub bits_per_byte: Option<f64>,
    /// Number of tokens that were predicted and whose weight is not 0.
    pub tokens: u64,
    /// Against the evaluation before the first step of a run that has said what for.
    #[serde(flatten, skip_deserializing)]
    pub since: Option<Since>,
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
            role: None,
            part: (side, split),
            order,
            sequences,
            token_bytes,
            documents: Boundaries::IGNORED,
            weights: None,
        })
    }

    /// The same set, compared for this.
    pub fn with_role(self, role: Option<Role>) -> Self {
        Self { role, ..self }
    }

    /// Which windows of which tokens it is, and with which weights, as far as fingerprints go: losses of others are not
    /// compared with its own.
    pub fn identity(&self) -> String {
        let weights = self.weights.as_ref().map_or(String::new(), |w| format!(" {:032x}", w.fingerprint()));
        format!("{:032x} {}{weights}", self.corpus().fingerprint(), self.sequences)
    }

    /// The same set, its documents treated as in the run that asks. Refused where they are looked at and not known.
    pub fn with_documents(self, documents: Boundaries) -> Result<Self> {
        documents.check(self.corpus()).map_err(|e| e.within(&format!("validation set {:?}", self.name)))?;
        Ok(Self { documents, ..self })
    }

    /// The same set, its targets weighted where it has weights and `weighted` asks for them.
    pub fn with_weights(self, weighted: bool) -> Result<Self> {
        let weights = if weighted { LossWeights::open(self.corpus())? } else { None };
        Ok(Self { weights, ..self })
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

    /// Prepares [`Evaluation::sample`] on the backend.
    pub fn prepare_sample(&self, model: &Model, ops: &mut dyn Backend, ws: &Workspace) {
        let shape = Shape { batch: 1, time: self.order.seq_len() };
        ops.prepare(Work::Evaluation { shape }, &mut |ops| losses(model, ops, ws, shape));
    }

    /// Runs a few of its windows, evenly spread, the same ones however many are evaluated, each by itself whatever the
    /// micro-batch. `look` is called behind each, with the number of its rows.
    pub fn sample(
        &self,
        model: &Model,
        ops: &mut dyn Backend,
        ws: &Workspace,
        look: &mut dyn FnMut(&mut dyn Backend, usize) -> Result<()>,
    ) -> Result<()> {
        let shape = Shape { batch: 1, time: self.order.seq_len() };
        let (all, mut batch) = (self.order.windows(), Batch::default());
        let count = SAMPLED.min(all);
        for i in 0..count {
            stop::check()?;
            self.read([i * all / count].into_iter(), model.config.vocab_size as u32, &mut batch)?;
            ops.set_inputs(self.inputs(&batch));
            ops.perform(Work::Evaluation { shape }, &mut |ops| losses(model, ops, ws, shape));
            look(ops, shape.rows())?;
        }
        Ok(())
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

    /// What it is read from.
    pub fn corpus(&self) -> &Corpus {
        self.order.corpus()
    }

    /// Runs it with the model's current weights.
    pub fn run(&self, model: &Model, ops: &mut dyn Backend, ws: &Workspace) -> Result<EvalResult> {
        let time = self.order.seq_len();
        let (mut batch, mut sums) = (Batch::default(), Sums::default());
        let mut bytes = self.weights.is_none().then_some(0);
        for first in (0..self.sequences).step_by(ws.shape.batch) {
            stop::check()?; // a device computes what was issued
            let shape = Shape { batch: ws.shape.batch.min((self.sequences - first) as usize), time };
            let numbers = (first..).take(shape.batch).map(|i| self.window(i));
            let more = self.read(numbers, model.config.vocab_size as u32, &mut batch)?;
            bytes = bytes.zip(more).map(|(sum, more)| sum + more);
            ops.set_inputs(self.inputs(&batch));
            ops.perform(Work::Evaluation { shape }, &mut |ops| losses(model, ops, ws, shape));
            sums.add(&ops.read_stat(ws.loss, shape.rows())?, &batch, time, self.documents.end_of_text());
        }
        if sums.tokens == 0 {
            return Err(Error::refused(format!(
                "all {} targets of validation set {:?} that are evaluated have weight 0; write weights above 0 \
                 (PREFIX.weights), evaluate more of its sequences, or leave the set out",
                self.sequences * time as u64,
                self.name
            )));
        }
        let [losses, of_ends] = sums.losses;
        let loss = losses / sums.counted[0];
        let bits_per_byte = bytes.filter(|bytes| *bytes > 0).map(|bytes| losses / LN_2 / bytes as f64);
        Ok(EvalResult {
            eval: self.name.clone(),
            loss,
            by_end: ByEnd::of([of_ends, losses], [sums.counted[1], sums.counted[0]]),
            standard_error: standard_error(&sums.means),
            perplexity: loss.exp(),
            bits_per_byte,
            tokens: sums.tokens,
            since: None,
        })
    }

    /// What a backend is given of a batch.
    fn inputs<'a>(&self, batch: &'a Batch) -> Inputs<'a> {
        let (weights, documents) = (&batch.weights[..], self.documents.of(&batch.documents));
        // Without a gradient the scale is that of the weights alone, which tell masked targets by it.
        Inputs { weights, documents, ..Inputs::new(&batch.tokens, &batch.targets, 1.0) }
    }

    /// The windows of these numbers, and the bytes of the texts of their targets, where they are known.
    fn read(&self, numbers: impl Iterator<Item = u64>, vocab: u32, batch: &mut Batch) -> Result<Option<u64>> {
        let time = self.order.seq_len();
        let (mut window, mut bytes) = (vec![0; time + 1], Some(0));
        let Batch { tokens, targets, documents, weights, .. } = batch;
        tokens.clear();
        targets.clear();
        documents.clear();
        weights.clear();
        for number in numbers {
            self.order.read_window(number, &mut window, vocab)?;
            let counted = self.token_bytes.as_ref().and_then(|table| table.sum(&window[1..]));
            bytes = bytes.zip(counted).map(|(sum, more)| sum + more);
            let before = tokens.len();
            tokens.extend(window[..time].iter().map(|&t| t as i32));
            targets.extend(window[1..].iter().map(|&t| t as i32));
            let excerpts = || self.order.window_excerpts(number);
            if self.documents.are_seen() {
                documents.resize(tokens.len(), 0);
                self.documents.find(self.corpus(), &excerpts()?, &tokens[before..], &mut documents[before..]);
            }
            if let Some(of) = &self.weights {
                weights.resize(tokens.len(), 0.0);
                fill_weights(Some(of), &excerpts()?, &mut weights[before..])?;
            }
        }
        Ok(bytes)
    }
}

/// What is added up over the batches of a set.
#[derive(Default)]
struct Sums {
    /// Losses times the sizes of their weights, of all targets and of those that end a text.
    losses: [f64; 2],
    /// Sizes of those weights.
    counted: [f64; 2],
    /// Targets whose weight is not 0.
    tokens: u64,
    /// Mean loss of each window of which something counts.
    means: Vec<f64>,
}

impl Sums {
    /// Adds the losses of a batch of sequences of `time` tokens, `end` of which ends a text.
    fn add(&mut self, losses: &[f32], batch: &Batch, time: usize, end: Option<i32>) {
        let size = |row: usize| batch.weights.get(row).map_or(1.0, |w| f64::from(w.abs()));
        let sum = |rows: &mut dyn Iterator<Item = usize>| {
            let add = |[loss, size_of]: [f64; 2], row: usize| {
                [loss + size(row) * f64::from(losses[row]), size_of + size(row)]
            };
            rows.fold([0.0; 2], add)
        };
        let [loss, counted] = sum(&mut (0..losses.len()));
        let ends = |row: &usize| end.is_some_and(|end| batch.targets[*row] == end);
        let [of_ends, ends] = sum(&mut (0..losses.len()).filter(ends));
        self.losses = [self.losses[0] + loss, self.losses[1] + of_ends];
        self.counted = [self.counted[0] + counted, self.counted[1] + ends];
        self.tokens += (0..losses.len()).filter(|row| size(*row) > 0.0).count() as u64;
        let windows = (0..losses.len()).step_by(time).map(|first| sum(&mut (first..first + time)));
        self.means
            .extend(windows.filter(|[_, counted]| *counted > 0.0).map(|[loss, counted]| loss / counted));
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

    /// Two windows of four targets, of which token 9 ends a text and some weigh 0, against sums by hand.
    #[test]
    fn losses_of_ends_are_told_from_the_rest() {
        let losses = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
        let targets = vec![3, 9, 3, 9, 3, 3, 3, 9];
        let sums_of = |weights: &[f32], end: Option<i32>| {
            let (mut batch, mut sums) = (Batch::default(), Sums::default());
            batch.targets.clone_from(&targets);
            batch.weights.extend_from_slice(weights);
            sums.add(&losses, &batch, 4, end);
            let by_end = ByEnd::of([sums.losses[1], sums.losses[0]], [sums.counted[1], sums.counted[0]]);
            (sums.losses[0], sums.tokens, sums.means, by_end)
        };
        let ends = |loss_end_of_text, loss_within_text| Some(ByEnd { loss_end_of_text, loss_within_text });
        let plain = (255.0, 8, vec![3.75, 60.0]);
        let (loss, tokens, means, by_end) = sums_of(&[], Some(9));
        assert_eq!(((loss, tokens, means), by_end), (plain.clone(), ends(138.0 / 3.0, 117.0 / 5.0)));
        let (loss, tokens, means, by_end) = sums_of(&[], None);
        assert_eq!(((loss, tokens, means), by_end), (plain, None));
        // The sizes of weights count: -2 as 2. The second window has nothing that counts.
        let (loss, tokens, means, by_end) = sums_of(&[1.0, -2.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0], Some(9));
        assert_eq!((loss, tokens, means, by_end), (7.0, 3, vec![2.0], ends(2.0, 2.0)));
    }

    /// Against arithmetic: 1, 2, 3, 4 have a sample variance of 5/3.
    #[test]
    fn standard_errors() {
        assert_eq!(standard_error(&[1.0, 2.0, 3.0, 4.0]), Some((5f64 / 3.0 / 4.0).sqrt()));
        assert_eq!(standard_error(&[2.5; 7]), Some(0.0));
        assert_eq!((standard_error(&[1.0]), standard_error(&[])), (None, None));
    }
}
