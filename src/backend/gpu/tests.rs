//! What is allocated is what was planned.
use super::*;
use crate::model::{Model, Purpose, Recompute, preset};
use crate::ops::Shape;

#[test]
fn the_plan_is_what_is_allocated() {
    let [plain, averaged] =
        [false, true].map(|average| Model::new(preset("pythia-14m").unwrap()).with_average(average));
    for recompute in Recompute::ALL {
        let (shape, purpose) = (Shape { batch: 2, time: 24 }, Purpose::Train(recompute));
        let [without, with] = [&plain, &averaged].map(|model| {
            let ws = Workspace::new(&model.config, shape, 7, purpose);
            let layout = Layout::new(&model.config, &model.table, &ws);
            let plan = memory_plan(&model.config, &model.table, &ws);
            assert_eq!(plan.total(), layout.arena.bytes(), "{recompute}");
            let last = layout.arena.spans.last().unwrap();
            assert!(last.offset + last.bytes <= plan.total(), "{recompute}");
            plan
        });
        assert!(without.ema == 0 && with.ema >= 4 * plain.table.total, "{recompute}: {} bytes", with.ema);
        assert_eq!(MemoryPlan { ema: 0, ..with }, without, "{recompute}");
    }
}
