//! Learning, step by step beside the cpu backend; and what a step costs in launches.
use crate::rig::{Sizes, cpu, gpu, load, weights};
use rewarm::backend::cpu::MixedCpu;
use rewarm::backend::gpu::Gpu;
use rewarm::device::{EmulatedDevice, EmulatedSettings};
use rewarm::model::{Model, Pass, Purpose, Recompute, Workspace};
use rewarm::ops::{AdamSettings, Backend, Shape, Update, Work};
use rewarm::optim::assign;
use rewarm::train::{Micro, StepResult, train_step};
use std::sync::OnceLock;

const STEPS: usize = 50;
const SHAPE: Shape = Shape { batch: 4, time: 64 };

/// Losses and norms of training on the bytes of a text.
fn train(model: &Model, ops: &mut dyn Backend, ws: &Workspace) -> Vec<StepResult> {
    let text = include_bytes!("text.txt");
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    let step = |step: usize| {
        let window = |i: usize| &text[(step * SHAPE.batch + i) * 37 % (text.len() - 65)..][..65];
        let of = |part: fn(&[u8]) -> &[u8]| -> Vec<i32> {
            (0..SHAPE.batch).flat_map(|i| part(window(i))).map(|&b| i32::from(b)).collect()
        };
        let (tokens, targets) = (of(|w| &w[..64]), of(|w| &w[1..]));
        let input = Micro::new(&tokens, &targets, SHAPE.time, 2);
        let lr = 3e-3 * ((step + 1) as f64 / 5.0).min(1.0);
        train_step(model, ops, ws, input, &params, Update::new(adam, lr, step as u64)).unwrap()
    };
    (0..STEPS).map(step).collect()
}

fn sizes(parallel: bool) -> Sizes {
    Sizes { parallel, ..Sizes::new(64, 2) }
}

fn workspace(model: &Model) -> Workspace {
    Workspace::new(&model.config, Shape { batch: 2, ..SHAPE }, 128, Purpose::Train(Recompute::None))
}

fn on_a_device(model: &Model) -> Vec<StepResult> {
    let ws = workspace(model);
    train(model, &mut gpu(model, &ws, &weights(model, 3), EmulatedSettings::default(), true), &ws)
}

fn on_the_processor(model: &Model) -> Vec<StepResult> {
    let ws = workspace(model);
    let mut ops = MixedCpu::new(&model.config, &model.table, &ws);
    load(&mut ops, &weights(model, 3)).unwrap();
    train(model, &mut ops, &ws)
}

/// With master weights, on the device: computed once for both who compare.
fn mixed(parallel: bool) -> &'static [StepResult] {
    static COMPUTED: [OnceLock<Vec<StepResult>>; 2] = [OnceLock::new(), OnceLock::new()];
    COMPUTED[usize::from(parallel)].get_or_init(|| on_a_device(&sizes(parallel).model()))
}

#[test]
fn fifty_steps_beside_the_cpu() {
    for parallel in [true, false] {
        let model = sizes(parallel).model();
        let ws = workspace(&model);
        let exact = train(&model, &mut cpu(&model, &ws, &weights(&model, 3)), &ws);
        let found = mixed(parallel);
        assert!(exact[0].loss - exact[STEPS - 1].loss >= 2.0, "too little was learned to compare: {exact:?}");
        let apart = exact.iter().zip(found).map(|(e, f)| (e.loss - f.loss).abs());
        let worst = apart.fold(0.0, f64::max);
        println!("loss {:.3} to {:.3}, at most {worst:.4} apart", exact[0].loss, exact[STEPS - 1].loss);
        assert!(worst <= 0.02, "{worst}");
    }
}

/// The bound is that of the protocol for a GPU: the mean over the steps.
#[test]
fn fifty_steps_in_bf16_beside_mixed() {
    for parallel in [false, true] {
        let (model, low) = (sizes(parallel).model(), sizes(parallel).low());
        are_beside(mixed(parallel), &on_a_device(&low));
        are_beside(&on_the_processor(&model), &on_the_processor(&low));
    }
}

fn are_beside(mixed: &[StepResult], low: &[StepResult]) {
    assert!(mixed[0].loss - mixed[STEPS - 1].loss >= 2.0, "too little was learned to compare: {mixed:?}");
    let apart: Vec<f64> = mixed.iter().zip(low).map(|(a, b)| (a.loss - b.loss).abs()).collect();
    let (mean, worst) = (apart.iter().sum::<f64>() / STEPS as f64, apart.iter().copied().fold(0.0, f64::max));
    println!(
        "loss {:.3} and {:.3} in the end, {mean:.4} apart on average, at most {worst:.4}",
        mixed[STEPS - 1].loss,
        low[STEPS - 1].loss
    );
    assert!(mean > 0.0 && mean <= 0.02, "{mean}");
}

/// Kernels and products of one micro-batch.
fn launches(layers: usize, parallel: bool, epilogues: bool) -> u64 {
    let model = Sizes { layers, parallel, ..Sizes::new(64, 2) }.model();
    let shape = Shape { batch: 1, time: 8 };
    let ws = Workspace::new(&model.config, shape, 8, Purpose::Train(Recompute::None));
    let settings = EmulatedSettings { epilogues, ..EmulatedSettings::default() };
    let device = Box::new(EmulatedDevice::new(settings).unwrap());
    let mut gpu = Gpu::new(device, &model.config, &model.table, &ws, true).unwrap();
    load(&mut gpu, &weights(&model, 3)).unwrap();
    let before = gpu.launches();
    gpu.set_batch(&[1; 8], &[2; 8], 1.0);
    gpu.perform(Work::MicroBatch { shape, accumulate: false }, &mut |ops| {
        model.forward(ops, &ws, shape, Pass::Sequences);
        model.loss_and_gradient(ops, &ws, shape, false);
    });
    gpu.read_stat(ws.loss, 8).unwrap();
    gpu.launches() - before
}

#[test]
fn launches_per_layer() {
    // Where products sum all biases that no kernel sums on its way, no launch is left for them.
    for (parallel, epilogues, most) in
        [(true, false, 20), (true, true, 19), (false, false, 27), (false, true, 25)]
    {
        let (two, three) = (launches(2, parallel, epilogues), launches(3, parallel, epilogues));
        let layer = three - two;
        println!(
            "parallel {parallel}, epilogues {epilogues}: {layer} a layer, {} beside them",
            two - 2 * layer
        );
        assert!(layer <= most, "{layer} launches a layer");
    }
}
