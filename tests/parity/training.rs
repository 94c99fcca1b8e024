//! Twenty AdamW steps against PyTorch's: warmup, cosine, clipping, micro-batches of two.
use crate::golden::{Tensors, import};
use crate::reference::measure::{distance, length};
use crate::run::cpu;
use rewarm::model::{Purpose, Recompute, Workspace};
use rewarm::ops::{AdamSettings, Shape, State, Update};
use rewarm::optim::assign;
use rewarm::schedule::{Length, Rate, RawSchedule, RunSize, Schedule};
use rewarm::train::{Micro, train_step};
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;
const STEPS: usize = 20;

/// The schedule that the file says it was made with.
fn schedule(info: &Value) -> Schedule {
    let number = |key: &str| info[key].as_f64().unwrap();
    assert_eq!(info["steps"], STEPS);
    let raw = RawSchedule {
        name: Some("cosine".into()),
        lr: Some(Rate::Value(number("peak_lr"))),
        min_lr: Some(Rate::Value(number("min_lr"))),
        warmup: Some(Length::Steps(info["warmup"].as_u64().unwrap())),
        ..RawSchedule::default()
    };
    let run = RunSize { steps: STEPS as u64, tokens_per_step: 8 * 16, samples_per_step: 8 };
    raw.validate().unwrap().compile(&run, None).unwrap()
}

#[test]
fn twenty_steps_agree_with_pytorch() {
    let file = Tensors::open("training");
    let info = file.info();
    let schedule = schedule(&info);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: info["clip"].as_f64().unwrap() };
    let (model, weights) = import("training");
    let (batches, shape) = file.i32("batches");
    assert_eq!(shape, [STEPS, 8, 17]);
    let ws = Workspace::new(&model.config, Shape { batch: 2, time: 16 }, 7, Purpose::Train(Recompute::None));
    let mut ops = cpu(&model, &ws, &weights);
    let params = assign(&model.table, &[], 0.1);
    let (losses, norms, lrs) = (file.f32("losses"), file.f32("norms"), file.f32("lrs"));
    let mut worst = [0.0f64; 2];
    for (step, batch) in batches.chunks(8 * 17).enumerate() {
        let rows = || batch.chunks(17);
        let tokens: Vec<i32> = rows().flat_map(|r| r[..16].iter().copied()).collect();
        let targets: Vec<i32> = rows().flat_map(|r| r[1..].iter().copied()).collect();
        let input = Micro::new(&tokens, &targets, 16, 2);
        let lr = schedule.lr(step as u64);
        // Recorded in f32.
        assert!((lr - lrs[step] as f64).abs() <= 1e-7 * lr, "step {step}: rate {lr}, not {}", lrs[step]);
        let update = Update::new(adam, lr, step as u64);
        let found = train_step(&model, &mut ops, &ws, input, &params, update).unwrap();
        assert!(found.applied);
        let loss = (found.loss - losses[step] as f64).abs();
        let norm = (found.norm / norms[step] as f64 - 1.0).abs();
        worst = [worst[0].max(loss), worst[1].max(norm)];
        assert!(loss <= TOLERANCE && norm <= TOLERANCE, "step {step}: {found:?}");
    }
    let first_last = [losses[0], losses[STEPS - 1]];
    assert!(first_last[0] - first_last[1] >= 1.0, "too little was learned to compare: {first_last:?}");
    let mut worst_weight = 0.0f64;
    for (name, exact) in file.all("final.") {
        let found = model.table.find(&name).unwrap().gather(&ops.state().unwrap().w);
        let relative = distance(&found, &exact) / length(&exact);
        worst_weight = worst_weight.max(relative);
        assert!(relative <= TOLERANCE, "{name}: {relative:e}");
    }
    println!(
        "loss {first_last:?}; worst: loss {:.1e}  norm {:.1e}  weights {worst_weight:.1e}",
        worst[0], worst[1]
    );
}
