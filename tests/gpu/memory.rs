//! What is allocated is what `plan` prints, for every published size.
use crate::rig::{Sizes, weights, workspace};
use rewarm::backend::gpu::{Gpu, memory_plan};
use rewarm::device::{EmulatedDevice, EmulatedSettings};
use rewarm::model::{Model, PRESETS, Purpose, Recompute, Workspace, preset};
use rewarm::ops::Shape;

#[test]
fn the_arena_is_the_plan_to_the_byte() {
    for (name, ..) in PRESETS {
        let [plain, averaged] =
            [false, true].map(|average| Model::new(preset(name).unwrap()).with_average(average));
        let shape = Shape { batch: 4, time: 2048 };
        let train = Recompute::ALL.map(Purpose::Train);
        let without = train.into_iter().chain([Purpose::Evaluate]).map(|purpose| (&plain, purpose));
        for (model, purpose) in without.chain(train.map(|purpose| (&averaged, purpose))) {
            let ws = Workspace::new(&model.config, shape, 16_384, purpose);
            let plan = memory_plan(&model.config, &model.table, &ws);
            let memory_bytes = Some(plan.total() as u64 - 1);
            let settings = EmulatedSettings { memory_bytes, ..EmulatedSettings::default() };
            let device = Box::new(EmulatedDevice::new(settings).unwrap());
            // One byte too little: refused with both numbers, whatever this machine has.
            let e =
                Gpu::new(device, &model.config, &model.table, &ws, true).err().expect("refused").to_string();
            assert!(e.contains("1 bytes too few"), "{name}: {} bytes planned: {e}", plan.total());
            assert!(e.contains("3 sequences at once would fit"), "{name}: {e}");
            let more = matches!(purpose, Purpose::Train(Recompute::None | Recompute::Cheap));
            assert_eq!(e.contains("train.recompute = \"block\" would fit"), more, "{name}: {e}");
        }
    }
}

#[test]
fn exactly_enough_is_enough() {
    let model = Sizes::new(64, 2).model();
    let ws = workspace(&model, Shape { batch: 2, time: 40 });
    let total = memory_plan(&model.config, &model.table, &ws).total() as u64;
    let settings = EmulatedSettings { memory_bytes: Some(total), ..EmulatedSettings::default() };
    crate::rig::gpu(&model, &ws, &weights(&model, 1), settings, true);
}
