//! What is allocated is what was planned.
use super::*;
use crate::model::{Model, Purpose, Recompute, preset};
use crate::ops::Shape;

#[test]
fn the_plan_is_what_is_allocated() {
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
        let Cpu { w, g, m, v, acts, stats, partials, .. } = Cpu::new(&model.config, &model.table, &ws);
        let buffers = [&w, &g, &m, &v, &partials].map(Vec::len);
        let elements = buffers.iter().sum::<usize>() + acts.len() + stats.len();
        let plan = memory_plan(&model.config, &model.table, &ws, 3);
        assert_eq!(plan.total(), 4 * elements + 3 * attention::scratch_bytes(24), "{purpose:?}");
        // Every tensor lies inside.
        let last = ws.act_tensors.last().unwrap();
        assert!(last.0 + last.1 <= acts.len());
    }
}

/// 8 updates but for the one to be skipped. The weights begin as 1, 2, ... and every gradient is 1.
fn averaged(threads: usize, skipped: Option<u64>) -> Cpu {
    let sizes = ModelConfig { vocab_size: 500, ..preset("pythia-14m").unwrap() };
    let model = Model::new(sizes).with_average(true);
    let ws = Workspace::new(&model.config, Shape { batch: 1, time: 8 }, 8, Purpose::Train(Recompute::None));
    let mut params = crate::optim::assign(&model.table, &[], 0.1);
    params[0].lr_mult = 0.0;
    let mut cpu = Cpu::new(&model.config, &model.table, &ws);
    cpu.w.iter_mut().zip(1..).for_each(|(w, i)| *w = i as f32);
    cpu.keep_ema(0.75).unwrap();
    assert_eq!(cpu.ema.as_ref().unwrap().0, cpu.w, "it begins as the weights");
    assert_eq!(memory_plan(&model.config, &model.table, &ws, threads).ema, 4 * cpu.w.len());
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
    assert_eq!(ema[place.clone()], cpu.w[place.clone()], "a frozen tensor is its average");
    assert!(ema[place.end..].iter().zip(&cpu.w[place.end..]).any(|(e, w)| e != w));
    cpu
}

#[test]
fn an_average_follows_the_updates_that_are_made_whatever_the_threads() {
    let [one, three] = [1, 3].map(|threads| averaged(threads, None));
    assert_eq!(one.ema, three.ema);
    averaged(2, Some(4));
}
