//! One step: losses and every gradient.
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, weights, workspace};
use crate::rounded::{Rounded, rounded_weights};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Gelu, Model, Pass, Workspace};
use rewarm::ops::{Ops, Shape};

/// Losses of a batch, and its gradients.
pub struct Step {
    pub losses: Vec<f32>,
    pub gradients: Vec<f32>,
}

pub fn step(model: &Model, ops: &mut dyn Ops, ws: &Workspace, shape: Shape) -> Step {
    let mut random = Random::new(5);
    let mut losses = Vec::new();
    // Two micro-batches, the second one added to the first, some targets ignored.
    for i in 0..2 {
        let tokens = random.tokens(shape.rows(), model.config.vocab_size);
        let mut targets = random.tokens(shape.rows(), model.config.vocab_size);
        targets.iter_mut().step_by(7).for_each(|t| *t = -1);
        ops.set_batch(&tokens, &targets, 1.0 / shape.rows() as f32);
        ops.perform(rewarm::ops::Work::MicroBatch { shape, accumulate: i > 0 }, &mut |ops| {
            model.forward(ops, ws, shape, Pass::Sequences);
            model.loss_and_gradient(ops, ws, shape, i > 0);
        });
        losses.extend(ops.read_stat(ws.loss, shape.rows()).unwrap());
    }
    model.finish_gradient(ops);
    Step { losses, gradients: ops.gradients().unwrap().into_owned() }
}

fn length(x: impl Iterator<Item = f32>) -> f64 {
    x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Relative error of a tensor.
fn distance(found: &[f32], exact: &[f32]) -> f64 {
    length(found.iter().zip(exact).map(|(a, b)| a - b)) / length(exact.iter().copied())
}

fn check(sizes: Sizes, time: usize) {
    let model = sizes.model();
    let shape = Shape { batch: 2, time };
    let ws = workspace(&model, shape);
    let w = weights(&model, 3);
    let exact = step(&model, &mut cpu(&model, &ws, &w), &ws, shape);
    let naive = step(&model, &mut Rounded(cpu(&model, &ws, &rounded_weights(&model, &w))), &ws, shape);
    let found = step(&model, &mut gpu(&model, &ws, &w, EmulatedSettings::default(), true), &ws, shape);
    let mut worst = (0.0f64, 0.0f64, String::new());
    for p in &model.table.params {
        let [e, n, f] = [&exact, &naive, &found].map(|s| p.gather(&s.gradients));
        let (error, allowed) = (distance(&f, &e), distance(&n, &e));
        assert!(error <= 2e-2, "{sizes:?} {}: {error:.2e}, naive {allowed:.2e}", p.name);
        assert!(error <= 2.0 * allowed, "{sizes:?} {}: {error:.2e}, naive {allowed:.2e}", p.name);
        if error / allowed > worst.1 {
            worst = (error, error / allowed, p.name.clone());
        }
    }
    let loss = distance(&found.losses, &exact.losses);
    println!(
        "{sizes:?}: loss {loss:.1e}; nearest to its bound {} {:.2e}, {:.2} x naive",
        worst.2, worst.0, worst.1
    );
    assert!(loss <= 1e-2 && exact.losses.iter().zip(&found.losses).all(|(e, f)| (*e == 0.0) == (*f == 0.0)));
}

#[test]
fn gradients_agree_with_the_cpu() {
    for parallel in [true, false] {
        for (channels, heads) in [(64, 2), (64, 1), (128, 4), (128, 2), (160, 2)] {
            check(Sizes { parallel, ..Sizes::new(channels, heads) }, 40);
        }
    }
    check(Sizes { gelu: Gelu::Tanh, tied: true, ..Sizes::new(64, 2) }, 33);
}
