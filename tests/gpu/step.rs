//! One step: losses and every gradient.
use crate::reference::measure::{distance, length};
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, load, weights, workspace};
use rewarm::backend::cpu::{MicroKernel, MixedCpu};
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

/// A step in f32, and one that rounds naively.
fn references(model: &Model, ws: &Workspace, w: &[f32], shape: Shape) -> [Step; 2] {
    let exact = step(model, &mut cpu(model, ws, w), ws, shape);
    [exact, step(model, &mut rounded(cpu(model, ws, &rounded_weights(model, w))), ws, shape)]
}

/// One of the processor in mixed precision.
fn processor(model: &Model, ws: &Workspace, w: &[f32], shape: Shape, micro: MicroKernel) -> Step {
    let mut processor = MixedCpu::new(&model.config, &model.table, ws);
    processor.multiply_by(micro);
    load(&mut processor, w).unwrap();
    step(model, &mut processor, ws, shape)
}

fn check(sizes: Sizes, time: usize) {
    let model = sizes.model();
    let shape = Shape { batch: 2, time };
    let ws = workspace(&model, shape);
    let w = weights(&model, 3);
    let [exact, naive] = references(&model, &ws, &w, shape);
    // The processor in the same precision: as good, and nearer to a GPU than either is to exact gradients.
    let mixed = processor(&model, &ws, &w, shape, MicroKernel::of_machine());
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

/// On the processor attention's gradients of keys and values are added up 128 queries at a time, in blocks of 32: sequences
/// that end in the middle of the first block, behind a whole one, and in the second and third stretch of 128.
#[test]
fn sequences_of_any_length_on_the_processor() {
    for (channels, heads) in [(64, 2), (64, 1), (160, 2)] {
        for time in [1, 33, 129, 300] {
            let sizes = Sizes::new(channels, heads);
            let model = sizes.model();
            let shape = Shape { batch: 2, time };
            let (ws, w) = (workspace(&model, shape), weights(&model, 3));
            let [exact, naive] = references(&model, &ws, &w, shape);
            for micro in MicroKernel::ALL.into_iter().filter(|micro| micro.is_here()) {
                let mixed = processor(&model, &ws, &w, shape, micro);
                let judged = judge_gradients(&model, &mixed.gradients, &naive.gradients, &exact.gradients);
                let worst = judged.iter().max_by(|a, b| a.share().total_cmp(&b.share())).unwrap();
                println!("{sizes:?} T {time} {micro}: nearest to its bound {worst:?}");
                assert!(judged.iter().all(|j| j.holds()), "{sizes:?} T {time} {micro}: {worst:?}");
            }
        }
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
