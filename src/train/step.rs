//! One optimizer step.
use crate::Result;
use crate::model::{Model, Pass, Workspace};
use crate::ops::{AdamParam, AdamStep, Ops, Shape};
use crate::optim::AdamSettings;

/// The global batch `[sequences, time]` of a step and how many sequences are computed at once.
#[derive(Clone, Copy)]
pub struct Micro<'a> {
    /// Inputs.
    pub tokens: &'a [i32],
    /// Next tokens; negative ones are ignored.
    pub targets: &'a [i32],
    /// `T`.
    pub time: usize,
    /// Sequences of a micro-batch.
    pub batch: usize,
}

/// What a step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of the batch before the update, nats per token.
    pub loss: f64,
    /// Global gradient norm before clipping.
    pub norm: f64,
    /// Whether the update was made; it is not when the norm is not finite.
    pub applied: bool,
}

/// How the weights change.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// Every tensor with its group's settings.
    pub params: &'a [AdamParam],
    /// β, ε and clipping.
    pub adam: AdamSettings,
    /// Learning rate of this step.
    pub lr: f64,
    /// Updates made before this one.
    pub applied: u64,
}

/// Gradient of the mean loss over the batch, micro-batch by micro-batch, clipping, update.
pub fn train_step(
    model: &Model,
    ops: &mut impl Ops,
    ws: &Workspace,
    input: Micro,
    update: Update,
) -> Result<StepResult> {
    let counted = input.targets.iter().filter(|t| **t >= 0).count().max(1);
    let scale = (1.0 / counted as f64) as f32;
    let rows = input.batch * input.time;
    let mut total = 0.0;
    for (i, (tokens, targets)) in input.tokens.chunks(rows).zip(input.targets.chunks(rows)).enumerate() {
        let shape = Shape { batch: tokens.len() / input.time, time: input.time };
        ops.set_batch(tokens, targets);
        model.forward(ops, ws, shape, Pass::Sequences);
        model.loss_and_gradient(ops, ws, shape, scale, i > 0);
        // Sequence by sequence, so that the split into micro-batches does not change the order of additions.
        let losses = ops.read_stat(ws.loss, shape.rows())?;
        for sequence in losses.chunks(input.time) {
            total += sequence.iter().map(|&x| x as f64).sum::<f64>();
        }
    }
    model.finish_gradient(ops);
    let norm = ops.global_norm(model.table.total)?;
    let applied = norm.is_finite();
    if applied {
        let Update { params, adam, lr, applied } = update;
        let grad_scale = adam.clip_factor(norm);
        ops.adamw(
            params,
            AdamStep { lr, betas: adam.betas, eps: adam.eps, grad_scale, applied: applied + 1 },
        );
    }
    Ok(StepResult { loss: total / counted as f64, norm, applied })
}
