//! What is allocated is what was planned.
use super::parameters::Moments;
use super::*;
use crate::model::{Model, Purpose, Recompute, preset};
use crate::ops::Shape;

/// Bytes that a backend holds, in the order of [`MemoryPlan`]: weights, gradients, moments, activations, scratch.
fn held<E: Multiply>(model: &Model, ws: &Workspace) -> [usize; 5] {
    let cpu = Processor::<E>::new(&model.config, &model.table, ws);
    let Parameters { w32, w16, moments, .. } = &cpu.parameters;
    let moments = match moments {
        Moments::Wide([m, v]) => size_of_val(&m[..]) + size_of_val(&v[..]),
        Moments::Narrow([m, v]) => size_of_val(&m[..]) + size_of_val(&v[..]),
    };
    // Every tensor lies inside.
    let last = ws.act_tensors.last().unwrap();
    assert!(last.0 + last.1 <= cpu.acts.len());
    let weights = size_of_val(&w32[..]) + size_of_val(&w16[..]);
    let acts = cpu.acts.len() * size_of::<E>() + cpu.stats.len() * size_of::<f32>();
    [weights, size_of_val(&cpu.g[..]), moments, acts, size_of_val(&cpu.partials[..])]
}

#[test]
fn the_plan_is_what_is_allocated() {
    const THREADS: usize = 3;
    let sizes = preset("pythia-14m").unwrap();
    for (parallel, purpose) in [
        (true, Purpose::Train(Recompute::None)),
        (true, Purpose::Train(Recompute::Cheap)),
        (false, Purpose::Train(Recompute::Cheap)),
        (true, Purpose::Train(Recompute::Block)),
        (true, Purpose::Evaluate),
    ] {
        let model = Model::new(ModelConfig { use_parallel_residual: parallel, ..sizes.clone() });
        let ws = Workspace::new(&model.config, Shape { batch: 2, time: 24 }, 7, purpose);
        for precision in [Precision::F32, Precision::Mixed, Precision::Bf16] {
            let model = model.clone().with_precision(precision);
            let (held, way) = match precision {
                Precision::F32 => {
                    (held::<f32>(&model, &ws), THREADS * f32::scratch_bytes(model.config.heads(), 24))
                }
                _ => (held::<bf16>(&model, &ws), bf16_scratch(&model.config, &model.table, &ws, THREADS)),
            };
            let MemoryPlan { weights, gradients, moments, ema, activations, logits, scratch } =
                memory_plan(&model.config, &model.table, &ws, THREADS);
            let scratch = scratch - way;
            let planned = [weights, gradients, moments, activations + logits, scratch];
            assert_eq!((planned, ema), (held, 0), "{precision} {purpose:?}");
        }
    }
}

/// A parameter of a matrix takes 2 bytes and so does each of its moments; norms and biases keep f32 weights.
#[test]
fn bf16_takes_half_of_what_f32_does() {
    let model = Model::new(preset("pythia-14m").unwrap()).with_precision(Precision::Bf16);
    let [weights, moments] = parameters::bytes::<bf16>(&model.table, true);
    let vectors = model.table.params.iter().filter(|p| p.has_master()).map(|p| p.place.cols).sum::<usize>();
    assert_eq!(weights, 2 * model.table.total + 4 * vectors);
    assert_eq!(moments, 4 * model.table.total);
}

/// 8 updates but for the one to be skipped. The weights begin as 1, 2, ... and every gradient is 1.
fn averaged(threads: usize, skipped: Option<u64>) -> Cpu {
    let sizes = ModelConfig { vocab_size: 500, ..preset("pythia-14m").unwrap() };
    let model = Model::new(sizes).with_average(true);
    let ws = Workspace::new(&model.config, Shape { batch: 1, time: 8 }, 8, Purpose::Train(Recompute::None));
    let mut params = crate::optim::assign(&model.table, &[], 0.1);
    params[0].lr_mult = 0.0;
    let mut cpu = Cpu::new(&model.config, &model.table, &ws);
    cpu.parameters.w32.iter_mut().zip(1..).for_each(|(w, i)| *w = i as f32);
    cpu.keep_ema(0.75).unwrap();
    assert_eq!(cpu.ema.as_ref().unwrap().0, cpu.parameters.w32, "it begins as the weights");
    assert_eq!(memory_plan(&model.config, &model.table, &ws, threads).ema, 4 * cpu.parameters.len);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    for step in 0..8 {
        let skip = skipped == Some(step);
        let before = skip.then(|| cpu.ema.clone());
        cpu.g.fill(if skip { f32::INFINITY } else { 1.0 });
        pool.install(|| cpu.update(&params, Update::new(adam, 0.1, step)));
        assert_eq!(cpu.outcome().unwrap().applied, !skip);
        if let Some(before) = before {
            assert_eq!(cpu.ema, before, "a skipped update does not count");
        }
    }
    let (ema, frozen) = (&cpu.ema.as_ref().unwrap().0, params[0].place);
    let place = frozen.offset..frozen.offset + frozen.rows * frozen.cols;
    assert_eq!(ema[place.clone()], cpu.parameters.w32[place.clone()], "a frozen tensor is its average");
    assert!(ema[place.end..].iter().zip(&cpu.parameters.w32[place.end..]).any(|(e, w)| e != w));
    cpu
}

#[test]
fn an_average_follows_the_updates_that_are_made_whatever_the_threads() {
    let [one, three] = [1, 3].map(|threads| averaged(threads, None));
    assert_eq!(one.ema, three.ema);
    averaged(2, Some(4));
}
