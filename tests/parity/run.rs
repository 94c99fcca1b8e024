//! The product's model on its cpu backend, from weights to what tests look at.
use crate::reference::model::{Params, params_of};
use rewarm::backend::cpu::Cpu;
use rewarm::model::{Model, Pass, Purpose, Recompute, Workspace};
use rewarm::ops::{Backend, Part, Shape, State};

/// `[B, T]` tokens and targets.
pub struct Batch {
    pub shape: Shape,
    pub tokens: Vec<i32>,
    pub targets: Vec<i32>,
}

impl Batch {
    /// Targets that count.
    pub fn counted(&self) -> usize {
        self.targets.iter().filter(|t| **t >= 0).count()
    }
}

/// What a forward and a backward pass give.
pub struct Outputs {
    /// `[R, V]`.
    pub logits: Vec<f32>,
    /// `[R]`.
    pub losses: Vec<f32>,
    /// Of the mean loss, by name.
    pub gradients: Params<f32>,
}

impl Outputs {
    /// Mean loss of a batch.
    pub fn loss(&self, batch: &Batch) -> f64 {
        self.losses.iter().map(|&x| x as f64).sum::<f64>() / batch.counted() as f64
    }
}

/// A backend with these weights (a flat buffer).
pub fn cpu(model: &Model, ws: &Workspace, weights: &[f32]) -> Cpu {
    let mut cpu = Cpu::new(&model.config, &model.table, ws);
    cpu.write_part(Part::Weights, weights).unwrap();
    cpu
}

/// A workspace for training on a batch, its logits in chunks that end inside of a sequence.
pub fn workspace(model: &Model, shape: Shape) -> Workspace {
    Workspace::new(&model.config, shape, shape.time / 2 + 1, Purpose::Train(Recompute::None))
}

/// Everything about one batch.
pub fn outputs(model: &Model, ops: &mut dyn Backend, ws: &Workspace, batch: &Batch) -> Outputs {
    let rows = batch.shape.rows();
    let scale = (1.0 / batch.counted() as f64) as f32;
    ops.set_batch(&batch.tokens, &batch.targets, scale);
    model.forward(ops, ws, batch.shape, Pass::Sequences);
    let mut logits = Vec::new();
    for row in 0..rows {
        model.logits(ops, ws, row);
        logits.extend(ops.read_act(ws.logits, 1).unwrap());
    }
    model.loss_and_gradient(ops, ws, batch.shape, false);
    model.finish_gradient(ops);
    let gradients = params_of(&model.table, &ops.gradients().unwrap());
    Outputs { logits, losses: ops.read_stat(ws.loss, rows).unwrap(), gradients }
}

/// The same on a new [`Cpu`].
pub fn cpu_outputs(model: &Model, weights: &[f32], batch: &Batch) -> Outputs {
    let ws = workspace(model, batch.shape);
    outputs(model, &mut cpu(model, &ws, weights), &ws, batch)
}

/// Logits of one sequence generated token by token: `[T, V]`.
pub fn decoded(model: &Model, weights: &[f32], tokens: &[i32]) -> Vec<f32> {
    let one = Shape { batch: 1, time: 1 };
    let ws = Workspace::new(&model.config, Shape { batch: 1, time: tokens.len() }, 1, Purpose::Generate);
    let mut cpu = cpu(model, &ws, weights);
    let mut logits = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        cpu.set_batch(&[token], &[-1], 0.0);
        model.forward(&mut cpu, &ws, one, Pass::Token(position));
        model.logits(&mut cpu, &ws, 0);
        logits.extend(cpu.read_act(ws.logits, 1).unwrap());
    }
    logits
}
