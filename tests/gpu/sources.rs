//! The loss of a step by the sources of its sequences: what a step of each source alone has, whatever the weights of targets, the
//! split into micro-batches and the backend.
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, weights, workspace};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Workspace};
use rewarm::ops::{AdamSettings, Backend, Shape, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, StepResult, train_step};

const TIME: usize = 24;
/// Of each sequence.
const SOURCES: [usize; 4] = [2, 0, 2, 1];

/// A step at a rate of 0; with `only`, the targets of other sources are ignored.
fn step(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    micro: usize,
    weights: &[f32],
    only: Option<usize>,
) -> StepResult {
    let mut random = Random::new(5);
    let rows = SOURCES.len() * TIME;
    let tokens = random.tokens(rows, model.config.vocab_size);
    let mut targets = random.tokens(rows, model.config.vocab_size);
    targets.iter_mut().step_by(11).for_each(|target| *target = -1);
    let ignored = |row: usize| only.is_some_and(|only| SOURCES[row / TIME] != only);
    targets.iter_mut().enumerate().filter(|(row, _)| ignored(*row)).for_each(|(_, target)| *target = -1);
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 0.0 };
    let input = Micro { weights, sources: &SOURCES, ..Micro::new(&tokens, &targets, TIME, micro) };
    train_step(model, ops, ws, input, &params, Update::new(adam, 0.0, 0)).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * b.abs()
}

/// Sizes 0, 1, 0.5 and 2, some of them negative: unlikelihood.
fn weights_of_targets() -> Vec<f32> {
    let mut random = Random::new(8);
    (0..SOURCES.len() * TIME).map(|_| [0.0, 1.0, 0.5, 2.0, -1.0][random.below(5)]).collect()
}

fn check(model: &Model, of_target: &[f32], backend: &mut dyn FnMut(&Workspace) -> Box<dyn Backend>) {
    let space = |micro: usize| workspace(model, Shape { batch: micro, time: TIME });
    let run = |micro, only, backend: &mut dyn FnMut(&Workspace) -> Box<dyn Backend>| {
        let ws = space(micro);
        step(model, &mut *backend(&ws), &ws, micro, of_target, only)
    };
    let whole = run(2, None, backend);
    assert_eq!(whole.by_source.iter().map(|of| of.source).collect::<Vec<_>>(), [0, 1, 2]);
    let sum = |of: &dyn Fn(usize) -> f64| (0..3).map(of).sum::<f64>();
    let counted = |i: usize| whole.by_source[i].counted;
    let mean = sum(&|i| counted(i) * whole.by_source[i].loss) / sum(&counted);
    assert!(close(mean, whole.loss), "{mean} {}", whole.loss);
    for of in &whole.by_source {
        let alone = run(2, Some(of.source), backend);
        assert!(close(of.loss, alone.loss), "{of:?} {}", alone.loss);
        assert_eq!(alone.by_source.len(), 1);
    }
    for micro in [4, 1] {
        let other = run(micro, None, backend);
        for (a, b) in other.by_source.iter().zip(&whole.by_source) {
            assert_eq!((a.loss.to_bits(), a.counted), (b.loss.to_bits(), b.counted), "{micro} at once");
        }
    }
}

#[test]
fn losses_of_sources_are_those_of_steps_of_one_source() {
    let model = Sizes::new(64, 2).model();
    let w = weights(&model, 3);
    for of_target in [Vec::new(), weights_of_targets()] {
        check(&model, &of_target, &mut |ws| Box::new(cpu(&model, ws, &w)));
        check(&model, &of_target, &mut |ws| Box::new(gpu(&model, ws, &w, EmulatedSettings::default(), true)));
    }
}

#[test]
fn where_nobody_asks_there_are_none() {
    let model = Sizes::new(64, 2).model();
    let (w, ws) = (weights(&model, 3), workspace(&model, Shape { batch: 2, time: TIME }));
    let tokens = vec![1; 2 * TIME];
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 0.0 };
    let input = Micro::new(&tokens, &tokens, TIME, 2);
    let result =
        train_step(&model, &mut cpu(&model, &ws, &w), &ws, input, &params, Update::new(adam, 0.0, 0));
    assert_eq!(result.unwrap().by_source, []);
}
