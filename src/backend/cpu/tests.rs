//! What is allocated is what was planned.
use super::*;
use crate::model::{Model, Purpose, Recompute, preset};

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
        let plan = memory_plan(&model.table, &ws, 3);
        assert_eq!(plan.total(), 4 * elements + 3 * attention::scratch_bytes(24), "{purpose:?}");
        // Every tensor lies inside.
        let last = ws.act_tensors.last().unwrap();
        assert!(last.0 + last.1 <= acts.len());
    }
}
