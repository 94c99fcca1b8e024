//! The moving average of the weights on the gpu backend, against the same recurrence on the host.
use crate::reference::random::Random;
use crate::rig::{Sizes, gpu, weights, workspace};
use rewarm::backend::cpu::average;
use rewarm::backend::gpu::Gpu;
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Workspace};
use rewarm::ops::{AdamParam, AdamSettings, Backend, Part, Shape, State, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, train_step};

const SHAPE: Shape = Shape { batch: 1, time: 24 };
const ADAM: AdamSettings = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
const DECAY: f64 = 0.75;
/// Whose targets make its loss NaN: it is skipped.
const BROKEN: u64 = 3;

/// One step; whether it was applied.
fn step(model: &Model, gpu: &mut Gpu, ws: &Workspace, params: &[AdamParam], step: u64) -> bool {
    let mut random = Random::new(step);
    let [tokens, mut targets] = [(); 2].map(|()| random.tokens(SHAPE.rows(), model.config.vocab_size));
    if step == BROKEN {
        targets[1] = model.config.vocab_size as i32;
    }
    let input = Micro::new(&tokens, &targets, SHAPE.time, 1);
    train_step(model, gpu, ws, input, params, Update::new(ADAM, 1e-2, step)).unwrap().applied
}

/// Weights and moving average.
fn state(gpu: &mut Gpu) -> (Vec<f32>, Vec<f32>) {
    let state = gpu.state().unwrap();
    assert!(!state.ema.is_empty(), "an average is kept");
    (state.w, state.ema)
}

/// Also where it begins as something other than the weights, and behind updates without one that were captured.
#[test]
fn every_step_is_the_recurrence_on_the_host_bit_for_bit() {
    let model = Sizes::new(64, 2).model().with_average(true);
    let (ws, w) = (workspace(&model, SHAPE), weights(&model, 3));
    let mut params = assign(&model.table, &[], 0.1);
    params[0].lr_mult = 0.0;
    let frozen = &model.table.params[0];
    let [captured, issued] = [true, false].map(|graphs| {
        let mut gpu = gpu(&model, &ws, &w, EmulatedSettings::default(), graphs);
        assert!(step(&model, &mut gpu, &ws, &params, 100) && gpu.state().unwrap().ema.is_empty());
        let loaded = gpu.state().unwrap().w;
        gpu.keep_ema(DECAY).unwrap();
        let mut e = state(&mut gpu).1;
        assert!(e == loaded, "it begins as the weights");
        e.iter_mut().step_by(5).for_each(|e| *e *= 1.5);
        frozen.scatter(&frozen.gather(&loaded), &mut e);
        gpu.write_part(Part::Average, &e).unwrap();
        let mut expected = state(&mut gpu).1;
        assert!(expected != loaded);
        for i in 0..8 {
            let applied = step(&model, &mut gpu, &ws, &params, i);
            assert_eq!(applied, i != BROKEN);
            let (w, e) = state(&mut gpu);
            if applied {
                average(&mut expected, &w, DECAY);
            }
            let first = e.iter().zip(&expected).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(first, None, "graphs {graphs}, step {i}");
            assert!(frozen.gather(&e) == frozen.gather(&w) && e != w, "a frozen tensor is its average");
        }
        gpu.check_red_zones().unwrap();
        expected
    });
    assert!(captured == issued);
}

#[test]
fn without_room_it_is_refused() {
    let model = Sizes::new(64, 2).model();
    let ws = workspace(&model, SHAPE);
    let mut gpu = gpu(&model, &ws, &weights(&model, 3), EmulatedSettings::default(), true);
    let e = gpu.keep_ema(DECAY).unwrap_err().to_string();
    assert!(e.contains("no memory was laid out"), "{e}");
}
