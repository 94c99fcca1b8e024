//! One optimizer step.
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
    /// The documents that the tokens are of.
    pub documents: Documents<'a>,
}

impl<'a> Micro<'a> {
    /// Every sequence is one document.
    pub fn new(tokens: &'a [i32], targets: &'a [i32], time: usize, batch: usize) -> Self {
        Self { tokens, targets, time, batch, documents: Documents::NONE }
    }
}

/// What a step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the batch before the update, nats per token.
    pub loss: f64,
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
    /// Targets that are not ignored.
    counted: usize,
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
    let counted = input.targets.iter().filter(|t| **t >= 0).count().max(1);
    let scale = (1.0 / counted as f64) as f32;
    let rows = input.batch * input.time;
    prepare_step(model, ops, ws, input.tokens.len() / input.time, input.batch, input.time);
    for (i, (tokens, targets)) in input.tokens.chunks(rows).zip(input.targets.chunks(rows)).enumerate() {
        let (shape, accumulate) = (Shape { batch: tokens.len() / input.time, time: input.time }, i > 0);
        let documents = input.documents.part(i * rows..i * rows + tokens.len());
        ops.set_inputs(Inputs { documents, ..Inputs::new(tokens, targets, scale) });
        let work = Work::MicroBatch { shape, accumulate };
        ops.perform(work, &mut |ops| micro_batch(model, ops, ws, shape, accumulate));
        ops.keep_losses(ws.loss, shape.rows());
    }
    model.finish_gradient(ops);
    ops.update(params, update);
    Issued { time: input.time, rows: input.targets.len(), counted }
}

/// Waits for the oldest step that was issued.
pub fn finish_step(ops: &mut dyn Backend, issued: Issued) -> Result<StepResult> {
    let Outcome { losses, norm, norm_l1, applied } = ops.outcome()?;
    assert_eq!(losses.len(), issued.rows, "the backend keeps the losses of all micro-batches");
    // Sequence by sequence, so that the split into micro-batches does not change the order of additions.
    let sequences = losses.chunks(issued.time).map(|s| s.iter().map(|&x| x as f64).sum::<f64>());
    let bad_row = sequences.clone().position(|loss| !loss.is_finite());
    let loss = sequences.sum::<f64>() / issued.counted as f64;
    Ok(StepResult { loss, norm, norm_l1, applied, bad_row })
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
