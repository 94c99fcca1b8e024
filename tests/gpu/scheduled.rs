//! What changes from step to step reaches the device in the record of the step, captured or not; frozen tensors stay.
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, weights, workspace};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Workspace};
use rewarm::ops::{AdamParam, AdamSettings, Backend, Shape, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, StepResult, train_step};

const SHAPE: Shape = Shape { batch: 1, time: 24 };
const STEPS: u64 = 6;

/// A quarter of the tensors is frozen, and the decay of some matrices follows the rate. The decay is strong, so that
/// six steps tell.
fn params(model: &Model) -> Vec<AdamParam> {
    let mut params = assign(&model.table, &[], 30.0);
    for (i, p) in params.iter_mut().enumerate() {
        (p.lr_mult, p.decay_follows_rate) = (f64::from(u8::from(i % 4 != 3)), i % 8 == 5);
    }
    params
}

/// Nothing in it is the same in two steps.
fn update(step: u64) -> Update {
    let t = step as f64 / STEPS as f64;
    let adam = AdamSettings { betas: [0.5 + 0.4 * t, 0.8 + 0.15 * t], eps: 1e-8, clip: 1.0 };
    Update { decay_scale: [1.0 - t, t], ..Update::new(adam, 1e-2 * (1.0 - 0.5 * t), step) }
}

/// Trains with the updates of these steps, and gives what is left of weights and moments.
fn train(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    updates: impl Fn(u64) -> Update,
) -> (Vec<StepResult>, [Vec<f32>; 3]) {
    let (params, mut random) = (params(model), Random::new(7));
    let step = |step| {
        // Steps of one micro-batch, then of two.
        let sequences = if step < STEPS / 2 { 1 } else { 2 };
        let [tokens, targets] =
            [(); 2].map(|()| random.tokens(sequences * SHAPE.time, model.config.vocab_size));
        let input = Micro::new(&tokens, &targets, SHAPE.time, 1);
        train_step(model, ops, ws, input, &params, updates(step)).unwrap()
    };
    let results = (0..STEPS).map(step).collect();
    let state = ops.state().unwrap();
    (results, [&state.w, &state.m, &state.v].map(|flat| flat.to_vec()))
}

/// Distance of two states' trained weights.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn the_record_carries_what_is_scheduled() {
    let model = Sizes::new(64, 2).model();
    let (ws, w) = (workspace(&model, SHAPE), weights(&model, 3));
    let exact = |updates: fn(u64) -> Update| train(&model, &mut cpu(&model, &ws, &w), &ws, updates);
    let (results, expected) = exact(update);
    let run =
        |graphs| train(&model, &mut gpu(&model, &ws, &w, EmulatedSettings::default(), graphs), &ws, update);
    let (found_results, found) = run(true);
    assert!((&found_results, &found) == (&run(false).0, &run(false).1), "captured, and not");
    for (i, (e, f)) in results.iter().zip(&found_results).enumerate() {
        // The gradients of frozen tensors are no part of the norm.
        assert!((e.norm / f.norm - 1.0).abs() < 2e-2, "step {i}: norm {} and {}", e.norm, f.norm);
    }
    for (p, param) in model.table.params.iter().zip(params(&model)).filter(|(_, p)| p.is_frozen()) {
        let zeros = vec![0.0; param.place.rows * param.place.cols];
        for state in [&expected, &found] {
            let after = state.each_ref().map(|flat| p.gather(flat));
            assert!(after == [p.gather(&w), zeros.clone(), zeros.clone()], "{} changed", p.name);
        }
    }
    // It is nearest to the run in which nothing stays as it was at first.
    let other: [fn(u64) -> Update; 4] = [
        |step| Update { lr: 1e-2, ..update(step) },
        |step| Update { decay_scale: [1.0, update(step).decay_scale[1]], ..update(step) },
        |step| Update { decay_scale: [update(step).decay_scale[0], 1.0], ..update(step) },
        |step| Update { adam: AdamSettings { betas: [0.5, 0.8], ..update(step).adam }, ..update(step) },
    ];
    let scheduled = apart(&expected[0], &found[0]);
    for (i, constant) in other.into_iter().enumerate() {
        let distance = apart(&exact(constant).1[0], &found[0]);
        println!("{i}: {distance:.3} to a run without, {scheduled:.3} with");
        assert!(distance > 1.2 * scheduled, "{i}: {distance:.3} to a run without, {scheduled:.3} with");
    }
}
