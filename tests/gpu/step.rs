//! One step: losses and every gradient.
use crate::reference::measure::{distance, length};
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, load, weights, workspace};
use rewarm::backend::cpu::MixedCpu;
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Pass, Workspace};
use rewarm::ops::{Backend, Gelu, Shape};
use rewarm::selftest::{judge_gradients, rounded, rounded_weights};

/// Losses of a batch, and its gradients.
pub struct Step {
    pub losses: Vec<f32>,
    pub gradients: Vec<f32>,
}

pub fn step(model: &Model, ops: &mut dyn Backend, ws: &Workspace, shape: Shape) -> Step {
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

fn check(sizes: Sizes, time: usize) {
    let model = sizes.model();
    let shape = Shape { batch: 2, time };
    let ws = workspace(&model, shape);
    let w = weights(&model, 3);
    let exact = step(&model, &mut cpu(&model, &ws, &w), &ws, shape);
    let naive = step(&model, &mut rounded(cpu(&model, &ws, &rounded_weights(&model, &w))), &ws, shape);
    // The processor in the same precision: as good, and nearer to a GPU than either is to exact gradients.
    let mut processor = MixedCpu::new(&model.config, &model.table, &ws);
    load(&mut processor, &w).unwrap();
    let mixed = step(&model, &mut processor, &ws, shape);
    for j in judge_gradients(&model, &mixed.gradients, &naive.gradients, &exact.gradients) {
        assert!(j.holds(), "{sizes:?}, the processor: {j:?}");
    }
    for epilogues in [false, true] {
        let settings = EmulatedSettings { epilogues, ..EmulatedSettings::default() };
        let found = step(&model, &mut gpu(&model, &ws, &w, settings, true), &ws, shape);
        let judged = judge_gradients(&model, &found.gradients, &naive.gradients, &exact.gradients);
        assert_eq!(judged.len(), model.table.params.len());
        for j in &judged {
            assert!(j.holds() && j.bound <= 2e-2, "{sizes:?}, epilogues {epilogues}: {j:?}");
        }
        // Rounding points are the same, so what is between the two is what another order of sums does to them: less than
        // half of what one point makes that is another, as the sum of two biases is in the naive model.
        let apart = |a: &[f32], b: &[f32]| distance(a, b) / length(b);
        let between = apart(&found.gradients, &mixed.gradients);
        let bound = 0.5 * apart(&naive.gradients, &mixed.gradients);
        println!("{sizes:?}, epilogues {epilogues}: from the processor {between:.1e}, at most {bound:.1e}");
        assert!(between <= bound, "{sizes:?}, epilogues {epilogues}");
        assert!(apart(&found.losses, &mixed.losses) <= apart(&naive.losses, &mixed.losses));
        let worst = judged.iter().max_by(|a, b| a.share().total_cmp(&b.share())).unwrap();
        let loss = distance(&found.losses, &exact.losses) / length(&exact.losses);
        println!("{sizes:?}, epilogues {epilogues}: loss {loss:.1e}; nearest to its bound {worst:?}");
        assert!(loss <= 1e-2);
        assert!(exact.losses.iter().zip(&found.losses).all(|(e, f)| (*e == 0.0) == (*f == 0.0)));
    }
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
