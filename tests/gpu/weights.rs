//! Weights of targets on both backends: what is masked does not count, and PyTorch's numbers on the emulated device.
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, weights, workspace};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Workspace};
use rewarm::ops::{AdamSettings, Backend, Shape, Update};
use rewarm::optim::assign;
use rewarm::selftest::{judge_gradients, rounded, rounded_weights};
use rewarm::train::{Micro, StepResult, train_step};

const TIME: usize = 24;
const SEQUENCES: usize = 4;

/// The result of a step and its gradients, with so many sequences at once. With `ignored`, targets of weight 0 are ignored
/// instead, and the others have no weight.
fn step(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    micro: usize,
    of_target: &[f32],
    ignored: bool,
) -> (StepResult, Vec<f32>) {
    let mut random = Random::new(5);
    let tokens = random.tokens(SEQUENCES * TIME, model.config.vocab_size);
    let mut targets = random.tokens(SEQUENCES * TIME, model.config.vocab_size);
    if ignored {
        targets.iter_mut().zip(of_target).filter(|(_, w)| **w == 0.0).for_each(|(t, _)| *t = -1);
    }
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 0.0 };
    let weights = if ignored { &[] } else { of_target };
    let input = Micro { weights, ..Micro::new(&tokens, &targets, TIME, micro) };
    // The rate is 0: the weights stay as they are.
    let result = train_step(model, ops, ws, input, &params, Update::new(adam, 0.0, 0)).unwrap();
    (result, ops.gradients().unwrap().into_owned())
}

fn space(model: &Model, micro: usize) -> Workspace {
    workspace(model, Shape { batch: micro, time: TIME })
}

/// 0, 1 and others, in no order.
fn of_targets(negative: bool) -> Vec<f32> {
    let mut random = Random::new(8);
    let choices = [0.0, 1.0, 0.5, 2.0, if negative { -1.0 } else { 1.0 }];
    (0..SEQUENCES * TIME).map(|_| choices[random.below(5)]).collect()
}

#[test]
fn the_split_into_micro_batches_changes_no_bit() {
    let model = Sizes::new(64, 2).model();
    let w = weights(&model, 3);
    let of_target = of_targets(true);
    let run = |micro: usize| {
        let ws = space(&model, micro);
        step(&model, &mut cpu(&model, &ws, &w), &ws, micro, &of_target, false)
    };
    let [whole, others @ ..] = [4, 2, 1].map(run);
    for other in others {
        assert_eq!(other.0.loss.to_bits(), whole.0.loss.to_bits());
        assert!(other.1 == whole.1);
    }
    // The mean is over the step: weights of one sequence alone would give another one.
    assert!(whole.0.loss > 0.0 && whole.0.applied);
}

#[test]
fn weights_of_0_are_targets_that_are_ignored() {
    let model = Sizes::new(64, 2).model();
    let w = weights(&model, 3);
    let of_target: Vec<f32> = of_targets(false).iter().map(|w| f32::from(u8::from(*w > 0.0))).collect();
    let ws = space(&model, 2);
    let run = |ignored: bool| {
        let mut emulated = gpu(&model, &ws, &w, EmulatedSettings::default(), true);
        let mut processor = cpu(&model, &ws, &w);
        let all: [&mut dyn Backend; 2] = [&mut processor, &mut emulated];
        all.map(|ops| step(&model, ops, &ws, 2, &of_target, ignored))
    };
    let [by_weight, by_target] = [false, true].map(run);
    for (a, b) in by_weight.iter().zip(&by_target) {
        assert_eq!(a.0.loss.to_bits(), b.0.loss.to_bits());
        assert!(a.1 == b.1);
    }
}

#[test]
fn weighted_gradients_agree_with_the_cpu() {
    let model = Sizes::new(64, 2).model();
    let (w, ws, of_target) = (weights(&model, 3), space(&model, 2), of_targets(true));
    let run = |ops: &mut dyn Backend| step(&model, ops, &ws, 2, &of_target, false);
    let exact = run(&mut cpu(&model, &ws, &w));
    let naive = run(&mut rounded(cpu(&model, &ws, &rounded_weights(&model, &w))));
    let found = run(&mut gpu(&model, &ws, &w, EmulatedSettings::default(), true));
    for j in judge_gradients(&model, &found.1, &naive.1, &exact.1) {
        assert!(j.holds(), "{j:?}");
    }
    assert!((found.0.loss - exact.0.loss).abs() <= 1e-2 * exact.0.loss);
}
