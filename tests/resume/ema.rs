//! The moving average of the weights: an independent statement of it from the steps of a run, and what it goes through.
use crate::support::*;
use crate::{TINY, assert_equal_runs, moved, rewind, tiny, undisturbed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const EMA: &str = "ema.safetensors";
const FROZEN: &str = "gpt_neox.embed_in.weight";

/// The configuration of a run that starts from a model.
fn started(dir: &Dir, from: &str, to: &str) -> String {
    let mut config: toml::Table = TINY.parse().unwrap();
    config.remove("model");
    config.insert("start".into(), toml::toml! { from = "x" }.into());
    let file = dir.config("started.toml", &config.to_string());
    format!("train {file} --set start.from={} --set run_dir={}", dir.at(from), dir.at(to))
}

/// `e` after every step is d·e + (1 − d)·w in f64 from the saved weights, but for three roundings of f32 a step.
#[test]
fn every_step_is_the_average_of_the_saved_weights() {
    let dir = tiny();
    line(&dir, "train DIR/tiny.toml").ok();
    let first = steps(&dir.join("run")).pop().unwrap();
    let train = started(&dir, "run", "next");
    let frozen = "--set optim.groups=[{pattern=\"*embed_in*\",lr_mult=0}]";
    line(
        &dir,
        &format!("{train} {frozen} --set train.ema=0.9 --set checkpoint.every=1 --set checkpoint.keep=30"),
    )
    .ok();
    let start = tensors(&dir.join("run").join(first).join("model.safetensors"), "");
    let wide = |x: &Vec<f32>| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let mut average: BTreeMap<&String, Vec<f64>> = start.iter().map(|(name, w)| (name, wide(w))).collect();
    let mut bounds: BTreeMap<&String, Vec<f64>> =
        start.iter().map(|(name, w)| (name, vec![0.0; w.len()])).collect();
    let (run, half) = (dir.join("next"), 0.5 * f64::from(f32::EPSILON));
    assert_eq!(steps(&run).len(), 20);
    for step in steps(&run) {
        let weights = tensors(&run.join(&step).join("model.safetensors"), "");
        let found = tensors(&run.join(&step).join(EMA), "ema.");
        assert_eq!(found.len(), weights.len());
        for (name, w) in &weights {
            let (e, bound) = (average.get_mut(name).unwrap(), bounds.get_mut(name).unwrap());
            for i in 0..w.len() {
                let (w, old) = (f64::from(w[i]), e[i]);
                e[i] = 0.9 * old + 0.1 * w;
                // Of 1 − d, of w − e and of the sum.
                bound[i] = 0.9 * bound[i] + 1.001 * half * (2.0 * 0.1 * (w - old).abs() + e[i].abs()) + 1e-40;
                let error = (f64::from(found[name][i]) - e[i]).abs();
                assert!(error <= bound[i], "{step} {name} element {i}: {error:e} and at most {:e}", bound[i]);
            }
        }
        assert_eq!(found[FROZEN], start[FROZEN], "{step}");
        assert!(found != weights, "{step}");
    }
}

#[test]
fn ten_steps_and_ten_more_are_twenty() {
    let whole = tiny();
    line(&whole, "train DIR/tiny.toml --set train.ema=0.9").ok();
    // It is kept beside the run, not part of it.
    assert_equal_runs(&whole.join("run"), &undisturbed().join("run"), "with an average");
    let dir = moved(&whole);
    rewind(&dir, 10);
    line(&dir, "resume DIR/run --set train.ema=0.99").refused(&["train.ema is 0.9 in the run and 0.99 now"]);
    line(&dir, "resume DIR/run --set threads=3 --set batch.micro=1").ok();
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "resumed");
    let last = |dir: &Dir| fs::read(dir.join("run/step-0000000020").join(EMA)).unwrap();
    assert!(last(&dir) == last(&whole), "the averages differ");
}

#[test]
fn an_average_is_exported_as_a_model() {
    let dir = tiny();
    line(&dir, "train DIR/tiny.toml --set train.ema=0.9").ok();
    line(&dir, "export DIR/run DIR/average --ema").ok();
    let saved = tensors(&dir.join("run/step-0000000020").join(EMA), "ema.");
    assert_eq!(tensors(&dir.join("average/model.safetensors"), ""), saved);
    let loss = |model: &str| {
        let said = line(&dir, &format!("eval DIR/{model} --data x=raw-u16:DIR/other.bin --json"));
        let found: Value = serde_json::from_str(said.ok().lines().next().unwrap()).unwrap();
        found["loss"].as_f64().unwrap()
    };
    assert!(loss("average") > 0.0 && loss("average") != loss("run"));
    line(&dir, &started(&dir, "average", "next")).ok();
    line(&dir, "export DIR/next DIR/none --ema").refused(&["no moving average", "train.ema"]);
    line(&dir, "export DIR/average DIR/none --ema").refused(&["is one model", "train.ema"]);
    assert!(!dir.join("none").exists());
}

/// 4 bytes of memory and of a checkpoint for every parameter.
#[test]
fn the_plan_counts_it() {
    let dir = tiny();
    let plan = |more: &str| -> Value {
        serde_json::from_str(line(&dir, &format!("plan DIR/tiny.toml --json {more}")).ok()).unwrap()
    };
    let (without, with) = (plan(""), plan("--set train.ema=0.9"));
    let more = |at: &dyn Fn(&Value) -> u64| at(&with) - at(&without);
    let bytes = 4 * with["parameters"].as_u64().unwrap();
    assert_eq!(more(&|plan| plan["checkpoint"]["bytes"].as_u64().unwrap()), bytes);
    let memory = more(&|plan| plan["memory_bytes_total"].as_u64().unwrap());
    assert!(memory >= bytes && memory == with["memory_bytes"]["ema"].as_u64().unwrap(), "{memory} {bytes}");
}
