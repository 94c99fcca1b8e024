//! Training steps of a small model, against the cpu backend.
use super::judge::Judgement;
use super::rounded::{judge_gradients, rounded, rounded_weights};
use crate::Result;
use crate::backend::cpu::Cpu;
use crate::backend::gpu::Gpu;
use crate::device::Device;
use crate::model::{Init, Model, ModelConfig, Purpose, Recompute, Workspace, initial_weights, preset};
use crate::ops::{AdamSettings, Backend, Part, Shape, Update};
use crate::optim::assign;
use crate::reference::random::Random;
use crate::train::{Micro, StepResult, train_step};

/// Name of the row.
pub const NAME: &str = "step";

/// Of losses and of the global norm.
const LOSS_BOUND: f64 = 1e-2;
/// Two micro-batches of two sequences.
const SHAPE: Shape = Shape { batch: 2, time: 65 };
const SEQUENCES: usize = 4;

/// The form of the residual, which is all that differs.
pub fn residual(parallel: bool) -> &'static str {
    if parallel { "parallel" } else { "sequential" }
}

/// What a step left.
pub struct StepVerdict {
    /// The judgement of the tensor that is nearest to its bound, or beyond it.
    pub judgement: Judgement,
    /// Kernels and products of one more step.
    pub launches: u64,
}

/// Results of two steps, and the gradients of the first.
struct Steps {
    first: StepResult,
    gradients: Vec<f32>,
    second: StepResult,
}

fn model(parallel: bool) -> Model {
    Model::new(ModelConfig {
        vocab_size: 512,
        hidden_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 512,
        max_position_embeddings: SHAPE.time,
        use_parallel_residual: parallel,
        ..preset("pythia-14m").expect("a preset")
    })
}

/// Every part of the model matters: norms and biases are not what they are initialised to.
fn weights(model: &Model) -> Vec<f32> {
    let mut w = initial_weights(&model.config, &model.table, Init::Normal, 3);
    let mut random = Random::new(3);
    for p in model.table.params.iter().filter(|p| p.shape.len() == 1) {
        let noise: Vec<f32> = random.normals(p.shape[0], 0.0, 0.1);
        let values: Vec<f32> = p.gather(&w).iter().zip(noise).map(|(w, n)| w + n).collect();
        p.scatter(&values, &mut w);
    }
    w
}

/// Step `index` on tokens of its own.
fn step(model: &Model, ops: &mut dyn Backend, ws: &Workspace, index: u64) -> Result<StepResult> {
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    let mut random = Random::new(5 + index);
    let tokens = random.tokens(SEQUENCES * SHAPE.time, model.config.vocab_size);
    let mut targets = random.tokens(SEQUENCES * SHAPE.time, model.config.vocab_size);
    targets.iter_mut().step_by(7).for_each(|t| *t = -1);
    let input = Micro::new(&tokens, &targets, SHAPE.time, SHAPE.batch);
    train_step(model, ops, ws, input, &params, Update::new(adam, 1e-3, index))
}

fn steps(model: &Model, ops: &mut dyn Backend, ws: &Workspace, weights: &[f32]) -> Result<Steps> {
    ops.write_part(Part::Weights, weights)?;
    let first = step(model, ops, ws, 0)?;
    let gradients = ops.gradients()?.into_owned();
    Ok(Steps { first, gradients, second: step(model, ops, ws, 1)? })
}

/// Runs them on the device, on the processor, and on one that rounds as a naive GPU would.
pub fn run(device: Box<dyn Device>, parallel: bool) -> Result<StepVerdict> {
    let model = model(parallel);
    let ws = Workspace::new(&model.config, SHAPE, SHAPE.time / 2 + 1, Purpose::Train(Recompute::None));
    let cpu = || Cpu::new(&model.config, &model.table, &ws);
    let weights = weights(&model);
    let exact = steps(&model, &mut cpu(), &ws, &weights)?;
    let naive = steps(&model, &mut rounded(cpu()), &ws, &rounded_weights(&model, &weights))?;
    let mut gpu = Gpu::new(device, &model.config, &model.table, &ws, true)?;
    // Products that sum them have rows of their own.
    gpu.sum_biases_in_products(false);
    let found = steps(&model, &mut gpu, &ws, &weights)?;
    let before = gpu.launches();
    step(&model, &mut gpu, &ws, 2)?;
    let launches = gpu.launches() - before;
    gpu.check_red_zones()?;
    Ok(StepVerdict { judgement: worst(&model, &found, &naive, &exact), launches })
}

fn worst(model: &Model, found: &Steps, naive: &Steps, exact: &Steps) -> Judgement {
    let judgement = |what: &str, error, bound| Judgement { what: what.to_owned(), error, bound };
    let relative = |a: f64, b: f64| (a - b).abs() / b.abs();
    let number =
        |what: &str, of: fn(&Steps) -> f64| judgement(what, relative(of(found), of(exact)), LOSS_BOUND);
    let mut all = vec![
        number("loss", |s| s.first.loss),
        number("norm", |s| s.first.norm),
        number("second loss", |s| s.second.loss),
    ];
    all.extend(judge_gradients(model, &found.gradients, &naive.gradients, &exact.gradients));
    all.into_iter().max_by(|a, b| a.share().total_cmp(&b.share())).expect("three at least")
}
