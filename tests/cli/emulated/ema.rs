//! The moving average of the weights: what a checkpoint carries on a device, and through a kill, a change of device and
//! an export.
use super::{SMALL, kill_after_ten_steps, last_bytes, on, small};
use crate::support::*;
use rewarm::backend::cpu::average;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const EMA: &str = "ema.safetensors";
/// Every step is saved and stays.
const ALL_STEPS: [&str; 6] =
    ["--set", "train.ema=0.9", "--set", "checkpoint.every=1", "--set", "checkpoint.keep=30"];

type Tensors = BTreeMap<String, Vec<f32>>;

/// Weights and moving average of a saved step.
fn saved(dir: &Dir, run: &str, step: u64) -> [Tensors; 2] {
    let step = dir.join(run).join(format!("step-{step:010}"));
    [tensors(&step.join("model.safetensors"), ""), tensors(&step.join(EMA), "ema.")]
}

/// Every step's average is that of the step before, and of its own weights: the same bits whatever computes it.
fn check_steps(dir: &Dir, run: &str, start: &Tensors) {
    let mut expected = start.clone();
    for step in 1..=20 {
        let [weights, found] = saved(dir, run, step);
        for (name, e) in &mut expected {
            average(e, &weights[name], 0.9);
        }
        assert!(found == expected, "{run}, step {step}");
        // The first rate of the warmup is 0.
        assert!((found == weights) == (step == 1), "{run}, step {step}");
    }
}

#[test]
fn every_step_is_the_average_of_the_saved_weights_on_either_device() {
    let dir = small();
    line(&dir, "train DIR/small.toml").ok();
    let start = tensors(&dir.join("run/step-0000000020/model.safetensors"), "");
    let mut config: toml::Table = SMALL.parse().unwrap();
    config.remove("model");
    config.insert("start".into(), toml::toml! { from = "DIR/run" }.into());
    dir.config("small.toml", &config.to_string());
    for (run, [first, second]) in [("a", ["emulated", "cpu"]), ("b", ["cpu", "emulated"])] {
        let run_dir = format!("run_dir={}", dir.at(run));
        let more = [&ALL_STEPS[..], &["--device", first, "--set", &run_dir]].concat();
        kill_after_ten_steps(&dir, &more);
        line(&dir, &format!("resume DIR/{run} {}", on(second))).ok();
        check_steps(&dir, run, &start);
    }
}

#[test]
fn a_killed_run_keeps_its_average_bit_for_bit() {
    let (whole, killed) = (small(), small());
    line(&whole, "train DIR/small.toml --set train.ema=0.9").ok();
    kill_after_ten_steps(&killed, &["--set", "train.ema=0.9"]);
    line(&killed, "resume DIR/run").ok();
    let last =
        |dir: &Dir| (last_bytes(&dir.join("run")), fs::read(dir.join("run/step-0000000020").join(EMA)));
    let (a, b) = (last(&whole), last(&killed));
    assert!(a.0 == b.0 && a.1.unwrap() == b.1.unwrap(), "the last checkpoints differ");
    // It is kept beside the run, not part of it.
    let without = small();
    line(&without, "train DIR/small.toml").ok();
    assert!(a.0 == last(&without).0 && last(&without).1.is_err());
}

#[test]
fn an_average_is_exported_as_a_model() {
    let dir = small();
    line(&dir, "train DIR/small.toml --set train.ema=0.9").ok();
    line(&dir, "export DIR/run DIR/average --ema").ok();
    let [weights, average] = saved(&dir, "run", 20);
    let exported = tensors(&dir.join("average/model.safetensors"), "");
    assert!(exported == average && exported != weights);
    let evaluate = "eval DIR/average --data raw-u16:DIR/other.bin --seq-len 16 --json --device emulated";
    let value: Value = serde_json::from_str(line(&dir, evaluate).ok()).unwrap();
    assert!(value["loss"].as_f64().unwrap() < 4.2, "{value}");
}

/// To the byte what the run allocates, which says so when it begins.
#[test]
fn the_plan_counts_it() {
    let dir = small();
    let plan = |more: &str| -> Value {
        serde_json::from_str(line(&dir, &format!("plan DIR/small.toml --json {more}")).ok()).unwrap()
    };
    for gpu in ["", "--gpu h200"] {
        let (without, with) = (plan(gpu), plan(&format!("{gpu} --set train.ema=0.9")));
        let bytes = with["memory_bytes"]["ema"].as_u64().unwrap();
        let more = ["memory_bytes_total", "parameters"]
            .map(|key| with[key].as_u64().unwrap() - without[key].as_u64().unwrap());
        assert!(
            bytes >= 4 * with["parameters"].as_u64().unwrap() && more == [bytes, 0],
            "{gpu}: {bytes} {more:?}"
        );
        assert_eq!(without["memory_bytes"]["ema"], 0);
    }
    let rate = |more: &str| plan(&format!("--gpu h200 {more}"))["tokens_per_s"].as_f64().unwrap();
    assert!(rate("--set train.ema=0.9") < rate(""), "the prediction counts its traffic");
}
