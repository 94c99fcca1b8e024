//! One optimizer step.
use super::breakdown::{Breakdown, ByEnd, SourceLoss};
use crate::Result;
use crate::model::{Model, Pass, Workspace};
use crate::ops::{AdamParam, Backend, Documents, Inputs, Ops, Outcome, Shape, Update, Work};

/// The global batch `[sequences, time]` of a step and how many sequences are computed at once.
#[derive(Clone, Copy)]
pub struct Micro<'a> {
    /// Input tokens, `[B, T]`.
    pub tokens: &'a [i32],
    /// Next tokens; negative ones are ignored.
    pub targets: &'a [i32],
    /// `T`, the length of each sequence.
    pub time: usize,
    /// Sequences of a micro-batch.
    pub batch: usize,
    /// The weight of each target ([`Inputs::weights`]); empty where each is 1.
    pub weights: &'a [f32],
    /// The documents that the tokens are of.
    pub documents: Documents<'a>,
    /// The token that ends a text, whose losses are reported by themselves.
    pub end_of_text: Option<i32>,
    /// The source of each sequence, whose losses are reported by themselves; empty where nobody asks.
    pub sources: &'a [usize],
}

impl<'a> Micro<'a> {
    /// Every sequence is one document.
    pub fn new(tokens: &'a [i32], targets: &'a [i32], time: usize, batch: usize) -> Self {
        let (weights, documents) = (&[][..], Documents::NONE);
        Self { tokens, targets, time, batch, weights, documents, end_of_text: None, sources: &[] }
    }

    /// How much each target counts in the mean of the losses.
    fn shares(&self) -> Vec<f32> {
        let share = |(i, target): (usize, &i32)| match self.weights.get(i) {
            _ if *target < 0 => 0.0,
            Some(weight) => weight.abs(),
            None => 1.0,
        };
        self.targets.iter().enumerate().map(share).collect()
    }
}

/// What a step reports.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the batch before the update, nats per token.
    pub loss: f64,
    /// The same of the targets that end a text, and of all others.
    pub by_end: Option<ByEnd>,
    /// The same of each source of which something counts, in order; none where [`Micro::sources`] names none.
    pub by_source: Vec<SourceLoss>,
    /// Global gradient norm before clipping.
    pub norm: f64,
    /// Sum of the absolute values of the gradient before clipping.
    pub norm_l1: f64,
    /// Whether the update was made; it is not when the norm is not finite.
    pub applied: bool,
    /// The first sequence of the batch whose loss is not finite.
    pub bad_row: Option<usize>,
}

/// A step that was issued, and whose result was not yet asked for.
pub struct Issued {
    time: usize,
    rows: usize,
    /// How much the losses of all rows count, each by its weight where there are weights.
    counted: f64,
    /// Sizes of the weights; empty where each is 1 or 0.
    sizes: Vec<f32>,
    /// Of what losses are reported besides.
    breakdown: Breakdown,
}

fn micro_batch(model: &Model, ops: &mut dyn Ops, ws: &Workspace, shape: Shape, accumulate: bool) {
    model.forward(ops, ws, shape, Pass::Sequences);
    model.loss_and_gradient(ops, ws, shape, accumulate);
}

/// Prepares every micro-batch of a step of so many sequences of `time` tokens, `batch` at once: all before the first of
/// them, beside which nothing can be prepared.
pub fn prepare_step(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    sequences: usize,
    batch: usize,
    time: usize,
) {
    for first in (0..sequences).step_by(batch) {
        let (shape, accumulate) = (Shape { batch: batch.min(sequences - first), time }, first > 0);
        let work = Work::MicroBatch { shape, accumulate };
        ops.prepare(work, &mut |ops| micro_batch(model, ops, ws, shape, accumulate));
    }
}

/// Gradient of the mean loss over the batch, micro-batch by micro-batch, clipping, update.
pub fn issue_step(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    input: Micro,
    params: &[AdamParam],
    update: Update,
) -> Issued {
    // Known of the whole step before any of it is computed, so the split into micro-batches changes nothing.
    let shares = input.shares();
    let counted = shares.iter().map(|&share| f64::from(share)).sum::<f64>();
    // Where nothing counts there is no gradient.
    let scale = if counted > 0.0 { (1.0 / counted) as f32 } else { 0.0 };
    let breakdown = Breakdown::new((input.targets, input.end_of_text), (input.sources, input.time), &shares);
    let rows = input.batch * input.time;
    prepare_step(model, ops, ws, input.tokens.len() / input.time, input.batch, input.time);
    for (i, (tokens, targets)) in input.tokens.chunks(rows).zip(input.targets.chunks(rows)).enumerate() {
        let (shape, accumulate) = (Shape { batch: tokens.len() / input.time, time: input.time }, i > 0);
        let of_batch = i * rows..i * rows + tokens.len();
        let documents = input.documents.part(of_batch.clone());
        let weights = input.weights.get(of_batch).unwrap_or_default();
        ops.set_inputs(Inputs { weights, documents, ..Inputs::new(tokens, targets, scale) });
        let work = Work::MicroBatch { shape, accumulate };
        ops.perform(work, &mut |ops| micro_batch(model, ops, ws, shape, accumulate));
        ops.keep_losses(ws.loss, shape.rows());
    }
    model.finish_gradient(ops);
    ops.update(params, update);
    let sizes = if input.weights.is_empty() { Vec::new() } else { shares };
    Issued { time: input.time, rows: input.targets.len(), counted, sizes, breakdown }
}

/// Waits for the oldest step that was issued.
pub fn finish_step(ops: &mut dyn Backend, issued: Issued) -> Result<StepResult> {
    let Outcome { mut losses, norm, norm_l1, applied } = ops.outcome()?;
    assert_eq!(losses.len(), issued.rows, "the backend keeps the losses of all micro-batches");
    losses.iter_mut().zip(&issued.sizes).for_each(|(loss, size)| *loss *= size);
    // Sequence by sequence, so that the split into micro-batches does not change the order of additions.
    let sequences = losses.chunks(issued.time).map(|s| s.iter().map(|&x| x as f64).sum::<f64>());
    let bad_row = sequences.clone().position(|loss| !loss.is_finite());
    let total = sequences.sum::<f64>();
    let loss = if issued.counted > 0.0 { total / issued.counted } else { total };
    let (by_end, by_source) = issued.breakdown.of(&losses, [total, issued.counted]);
    Ok(StepResult { loss, by_end, by_source, norm, norm_l1, applied, bad_row })
}

/// [`issue_step`] and then [`finish_step`], for those who have nothing to do between.
pub fn train_step(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    input: Micro,
    params: &[AdamParam],
    update: Update,
) -> Result<StepResult> {
    let issued = issue_step(model, ops, ws, input, params, update);
    finish_step(ops, issued)
}
