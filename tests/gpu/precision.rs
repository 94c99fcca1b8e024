//! Weights and moments in bf16, rounded stochastically: what one step leaves, on a device and on the processor, and equal
//! bits whatever runs first.
use crate::drive::Drive;
use crate::reference::measure::{Stored, error};
use crate::reference::optimizer::{Moments, adamw};
use crate::reference::random::{Random, philox};
use crate::reference::{Float, cast};
use crate::rig::{Sizes, gpu, load, weights, workspace};
use rewarm::backend::cpu::MixedCpu;
use rewarm::device::{EmulatedSettings, Mode, StreamTiming};
use rewarm::model::{Model, Param, Precision};
use rewarm::ops::{AdamSettings, AdamStep, Backend, Part, Shape, State, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, train_step};

const SHAPE: Shape = Shape { batch: 2, time: 40 };
const ADAM: AdamSettings = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
const SEED: u64 = 1234;
/// `STREAM_ADAMW` of kernels/step.h.
const STREAM: u64 = 1 << 56;

const PARTS: [Part; 3] = [Part::Weights, Part::First, Part::Second];

/// Weights and moments.
type Parts = [Vec<f32>; 3];

/// The state before a step, what the step was given, and the state behind it.
struct Step {
    before: Parts,
    gradients: Vec<f32>,
    update: Update,
    norm: f64,
    after: Parts,
}

/// The emulated device and the processor, with random weights of this seed.
fn both(model: &Model, seed: u64) -> [Box<dyn Backend>; 2] {
    let (ws, weights) = (workspace(model, SHAPE), weights(model, seed));
    let device = gpu(model, &ws, &weights, EmulatedSettings::default(), true);
    let mut processor = MixedCpu::new(&model.config, &model.table, &ws);
    load(&mut processor, &weights).unwrap();
    [Box::new(device), Box::new(processor)]
}

fn state(ops: &mut dyn Backend) -> Parts {
    let state = ops.state().unwrap();
    [state.w, state.m, state.v]
}

/// The step after two others, as a backend in bf16 makes it.
fn third_step(model: &Model, ops: &mut dyn Backend) -> Step {
    let ws = workspace(model, SHAPE);
    ops.set_applied(0);
    let params = assign(&model.table, &[], 0.1);
    let mut random = Random::new(5);
    let mut last = None;
    for step in 0..3 {
        let [tokens, targets] = [(); 2].map(|()| random.tokens(SHAPE.rows(), model.config.vocab_size));
        let input = Micro::new(&tokens, &targets, SHAPE.time, SHAPE.batch);
        let before = state(ops);
        let update = Update { seed: SEED, ..Update::new(ADAM, 3e-3, step) };
        let result = train_step(model, ops, &ws, input, &params, update).unwrap();
        let gradients = ops.gradients().unwrap().into_owned();
        last = Some(Step { before, gradients, update, norm: result.norm, after: state(ops) });
    }
    last.unwrap()
}

/// What the reference makes of one tensor.
fn reference<T: Float>(step: &Step, param: &Param, decay: f64) -> [Vec<T>; 3] {
    let of = |flat: &[f32]| cast::<f32, T>(&param.gather(flat));
    let [w, m, v] = step.before.each_ref().map(|flat| of(flat));
    let Update { adam, lr, decay_scale, step: before, .. } = step.update;
    let AdamSettings { betas, eps, .. } = adam;
    let grad_scale = adam.clip_factor(step.norm);
    let adam = AdamStep { lr, decay_scale, betas, eps, grad_scale, applied: before + 1 };
    let mut state = Moments { w, m, v };
    adamw(&mut state, &of(&step.gradients), adam, 1.0, decay);
    [state.w, state.m, state.v]
}

/// Distance of two neighbours in bf16 around this value.
fn ulp(near: f32) -> f64 {
    let exponent = near.to_bits() & 0x7f80_0000;
    f64::from(f32::from_bits(exponent + 0x0001_0000)) - f64::from(f32::from_bits(exponent))
}

#[test]
fn a_step_is_the_reference_rounded() {
    let model = Sizes::new(64, 2).low();
    for mut ops in both(&model, 3) {
        is_the_reference_rounded(&model, &third_step(&model, &mut *ops));
    }
}

fn is_the_reference_rounded(model: &Model, step: &Step) {
    let params = assign(&model.table, &[], 0.1);
    let (mut otherwise, mut all, mut moved) = (0usize, 0usize, 0usize);
    for (param, settings) in model.table.params.iter().zip(&params) {
        let exact = reference::<f64>(step, param, settings.weight_decay);
        let naive = reference::<f32>(step, param, settings.weight_decay);
        let [before, found] =
            [&step.before, &step.after].map(|s| s.each_ref().map(|flat| param.gather(flat)));
        moved += found[0].iter().zip(&before[0]).filter(|(a, b)| a != b).count();
        let from = usize::from(param.has_master());
        if param.has_master() {
            let of = |w: &[f32]| error(w, &exact[0], exact[0].len());
            let share = of(&found[0]).share(Stored::F32.bound(of(&naive[0]), &exact[0]));
            assert!(share <= 1.0, "{}: {share} of the bound", param.name);
        }
        let place = param.place;
        let elements =
            (0..place.rows).flat_map(|r| (0..place.cols).map(move |c| place.offset + r * place.ld + c));
        for (k, element) in elements.enumerate() {
            let word = philox(SEED, [element as u64 / 4, STREAM | step.update.step])[element % 4];
            let random = [(word ^ (word >> 16)) & 0xffff, word & 0xffff, word >> 16];
            for i in from..3 {
                let (found, near) = (found[i][k], naive[i][k]);
                // Where what was there and what is added cancel, f32 has lost more than the result's last bits.
                let lost = f64::from(before[i][k].abs()) * 2f64.powi(-22);
                let error = (f64::from(found) - exact[i][k]).abs();
                assert!(
                    error < 1.001 * ulp(near) + lost,
                    "{} {i} {k}: {found} is no neighbour of {}",
                    param.name,
                    exact[i][k]
                );
                // Where the reference's f32 differs in its last bit, so may the decision.
                let drawn = f32::from_bits(near.to_bits().wrapping_add(random[i]) & 0xffff_0000);
                otherwise += usize::from(found != drawn);
                all += 1;
            }
        }
    }
    println!("{otherwise} of {all} rounded by other bits");
    assert!(otherwise as f64 <= 1e-4 * all as f64, "{otherwise} of {all} rounded by other bits");
    assert!(moved * 4 > model.config.parameters() as usize, "hardly a weight moved: {moved}");
}

#[test]
fn equal_bits_in_every_mode() {
    let drive = Drive { precision: Precision::Bf16, broken: Some(3), ..Drive::new(6) };
    let (expected, _) = drive.run(EmulatedSettings::default()).unwrap();
    for (mode, streams) in Mode::all().into_iter().zip(StreamTiming::all(2).into_iter().cycle()) {
        let settings = EmulatedSettings { mode, streams, ..EmulatedSettings::default() };
        assert!(drive.run(settings).unwrap().0 == expected);
    }
    let (found, _) = Drive { graphs: false, ..drive }.run(EmulatedSettings::default()).unwrap();
    assert!(found == expected, "captured and not");
    let (mixed, _) = Drive { precision: Precision::Mixed, ..drive }.run(EmulatedSettings::default()).unwrap();
    assert!(mixed != expected);
}

/// Of the same state and gradients, the processor's update makes the bits of a device's: every element is rounded by the
/// same random number.
#[test]
fn the_processor_rounds_as_a_device_does() {
    let model = Sizes::new(64, 2).low();
    let ws = workspace(&model, SHAPE);
    let mut device = gpu(&model, &ws, &weights(&model, 3), EmulatedSettings::default(), true);
    let step = third_step(&model, &mut device);
    let mut processor = MixedCpu::new(&model.config, &model.table, &ws);
    for (part, values) in PARTS.into_iter().zip(&step.before) {
        processor.write_part(part, values).unwrap();
    }
    assert!(same(&state(&mut processor), &step.before), "bf16 comes back as it was");
    processor.write_gradients(&step.gradients);
    processor.set_applied(2);
    processor.update(&assign(&model.table, &[], 0.1), step.update);
    let found = state(&mut processor);
    let (mut apart, mut all) = (0usize, 0usize);
    for (found, expected) in found.iter().zip(&step.after) {
        for (a, b) in found.iter().zip(expected) {
            // Where the f32 before rounding differs in its last bit, so may the decision.
            assert!(f64::from((a - b).abs()) <= ulp(*a), "{a} and {b}");
            apart += usize::from(a.to_bits() != b.to_bits());
            all += 1;
        }
    }
    println!("{apart} of {all} are not the device's");
    assert!(apart as f64 <= 1e-4 * all as f64, "{apart} of {all} are not the device's");
}

fn same(a: &Parts, b: &Parts) -> bool {
    a.iter().zip(b).all(|(a, b)| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()))
}

/// What is saved and loaded again is the same state, in equal bits, whoever saved it.
#[test]
fn state_goes_to_the_host_and_back() {
    let model = Sizes::new(64, 2).low();
    for mut saved in both(&model, 3) {
        let after = third_step(&model, &mut *saved).after;
        for mut loaded in both(&model, 4) {
            for (part, values) in PARTS.into_iter().zip(&after) {
                loaded.write_part(part, values).unwrap();
            }
            assert!(same(&state(&mut *loaded), &after));
        }
    }
}
