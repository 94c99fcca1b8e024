//! What is allocated is what `plan` prints, for every published size.
use crate::rig::{Sizes, weights, workspace};
use rewarm::backend::gpu::{Gpu, PRECISIONS, memory_plan};
use rewarm::device::{EmulatedDevice, EmulatedSettings};
use rewarm::model::{Model, PRESETS, Purpose, Recompute, Workspace, preset};
use rewarm::ops::Shape;

#[test]
fn the_arena_is_the_plan_to_the_byte() {
    for (name, ..) in PRESETS {
        let model = || Model::new(preset(name).unwrap());
        let [plain, low] = PRECISIONS.map(|precision| model().with_precision(precision));
        let averaged = model().with_average(true);
        let shape = Shape { batch: 4, time: 2048 };
        let train = Recompute::ALL.map(Purpose::Train);
        let of = |model| train.map(|purpose| (model, purpose)).into_iter();
        let models = of(&plain).chain(of(&low)).chain(of(&averaged));
        for (model, purpose) in models.chain([(&plain, Purpose::Evaluate), (&low, Purpose::Evaluate)]) {
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
            // A moving average is one of master weights.
            let lower = purpose != Purpose::Evaluate && std::ptr::eq(model, &plain);
            assert_eq!(e.contains("train.precision = \"bf16\" would fit"), lower, "{name}: {e}");
            let more = matches!(purpose, Purpose::Train(Recompute::None | Recompute::Cheap));
            assert_eq!(e.contains("train.recompute = \"block\" would fit"), more, "{name}: {e}");
        }
    }
}

#[test]
fn exactly_enough_is_enough() {
    for precision in PRECISIONS {
        let model = Sizes::new(64, 2).model().with_precision(precision);
        let ws = workspace(&model, Shape { batch: 2, time: 40 });
        let total = memory_plan(&model.config, &model.table, &ws).total() as u64;
        let settings = EmulatedSettings { memory_bytes: Some(total), ..EmulatedSettings::default() };
        crate::rig::gpu(&model, &ws, &weights(&model, 1), settings, true);
    }
}

/// A parameter of a matrix: 18 bytes with f32 master weights and moments, gradients included, and 10 in bf16.
#[test]
fn bf16_takes_8_bytes_less() {
    for (name, ..) in PRESETS {
        let config = preset(name).unwrap();
        let [mixed, bf16] = PRECISIONS.map(|precision| {
            let model = Model::new(config.clone()).with_precision(precision);
            let shape = Shape { batch: 4, time: 2048 };
            let ws = Workspace::new(&config, shape, 4096, Purpose::Train(Recompute::None));
            memory_plan(&config, &model.table, &ws)
        });
        let parameters = config.parameters() as f64;
        let less = (mixed.weights - bf16.weights + mixed.moments - bf16.moments) as f64 / parameters;
        // Norms and biases keep their master weights, and the gaps between tensors count.
        assert!((7.9..=8.01).contains(&less), "{name}: {less} bytes a parameter");
        assert_eq!(mixed.total() - bf16.total(), (less * parameters).round() as usize, "{name}");
    }
}
