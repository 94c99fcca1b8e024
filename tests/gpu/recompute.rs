//! What the backward pass computes again has the bits of what it would have kept, on both backends.
use crate::rig::{Sizes, cpu, gpu, weights};
use crate::step::{Step, step};
use rewarm::backend::memory_plan;
use rewarm::device::{DeviceName, EmulatedSettings};
use rewarm::model::{Model, Purpose, Recompute, Workspace};
use rewarm::ops::{Gelu, Shape};

const SHAPE: Shape = Shape { batch: 2, time: 40 };

/// Three layers: a first, a last, and one that shares with both.
fn sizes(parallel: bool, tied: bool) -> Sizes {
    let gelu = if tied { Gelu::Tanh } else { Gelu::Erf };
    Sizes { layers: 3, parallel, tied, gelu, ..Sizes::new(64, 2) }
}

fn workspace(model: &Model, recompute: Recompute) -> Workspace {
    Workspace::new(&model.config, SHAPE, 21, Purpose::Train(recompute))
}

fn check(backend: &str, run: impl Fn(&Model, &Workspace, &[f32]) -> Step) {
    for (parallel, tied) in [(true, false), (true, true), (false, false), (false, true)] {
        let model = sizes(parallel, tied).model();
        let w = weights(&model, 9);
        let [kept, others @ ..] = Recompute::ALL.map(|r| run(&model, &workspace(&model, r), &w));
        assert!(kept.gradients.iter().any(|g| *g != 0.0));
        for (recompute, found) in Recompute::ALL[1..].iter().zip(others) {
            let what = format!("{backend}, parallel {parallel}, tied {tied}, recompute {recompute}");
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found.losses), bits(&kept.losses), "{what}: losses");
            let (found, kept) = (bits(&found.gradients), bits(&kept.gradients));
            let differing = found.iter().zip(&kept).position(|(a, b)| a != b);
            let param = differing.and_then(|at| model.table.params.iter().rfind(|p| p.place.offset <= at));
            assert_eq!(differing, None, "{what}: first in {:?}", param.map(|p| &p.name));
        }
    }
}

#[test]
fn gradients_on_the_cpu_are_equal_in_bits() {
    check("cpu", |model, ws, w| step(model, &mut cpu(model, ws, w), ws, SHAPE));
}

#[test]
fn gradients_on_the_gpu_are_equal_in_bits() {
    for epilogues in [false, true] {
        let settings = || EmulatedSettings { epilogues, ..EmulatedSettings::default() };
        check("gpu", |model, ws, w| step(model, &mut gpu(model, ws, w, settings(), true), ws, SHAPE));
    }
}

#[test]
fn each_choice_takes_less_memory_than_the_one_before() {
    for (parallel, device) in
        [DeviceName::Cpu, DeviceName::Emulated].into_iter().flat_map(|d| [(true, d), (false, d)])
    {
        let model = sizes(parallel, false).model();
        let bytes = |recompute| {
            let ws = workspace(&model, recompute);
            let plan = memory_plan(device, &model.config, &model.table, &ws, 2);
            (plan.activations, plan.total())
        };
        let [none, cheap, block] = Recompute::ALL.map(bytes);
        assert!(none.0 > cheap.0 && cheap.0 > block.0, "{device}: {none:?} {cheap:?} {block:?}");
        assert!(none.1 > cheap.1 && cheap.1 > block.1, "{device}: {none:?} {cheap:?} {block:?}");
    }
}
