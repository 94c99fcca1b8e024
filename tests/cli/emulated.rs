//! The commands with `--device emulated`: runs that are killed and go on, runs in each precision and on one device after
//! another, and what is refused where there is no GPU.
mod diagnostics;
mod ema;
mod precision;

use crate::support::*;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Two heads of 32, two layers, 20 steps of four sequences in two micro-batches.
const SMALL: &str = r#"
run_dir = "DIR/run"
threads = 2
device = "emulated"

[model]
vocab_size = 64
hidden_size = 64
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 32

[data]
train = ["raw-u16:DIR/tokens.bin"]
seq_len = 16

[[data.validation]]
name = "other"
paths = ["raw-u16:DIR/other.bin"]

[batch]
sequences = 4
micro = 2

[schedule]
lr = 3e-3
warmup = 2

[train]
steps = 20

[eval]
every = 10
sequences = 4

[checkpoint]
every = 5
"#;

fn small() -> Dir {
    let dir = Dir::in_memory();
    dir.write("tokens.bin", tokens(1, 20_000));
    dir.write("other.bin", tokens(2, 2_000));
    dir.config("small.toml", SMALL);
    dir
}

/// Losses of the steps.
fn losses(run: &Path) -> Vec<f64> {
    log(run).iter().filter(|l| l.get("eval").is_none()).map(|l| l["loss"].as_f64().unwrap()).collect()
}

fn last_bytes(run: &Path) -> [Vec<u8>; 2] {
    let step = run.join("step-0000000020");
    ["model.safetensors", "optimizer.safetensors"].map(|file| fs::read(step.join(file)).unwrap())
}

/// Arguments of a resume that goes on with another device, in its precision.
fn on(device: &str) -> String {
    let precision = if device == "cpu" { "f32" } else { "mixed" };
    format!("--device {device} --override --set train.precision={precision}")
}

/// Trains until step 10 is saved, and is killed.
fn kill_after_ten_steps(dir: &Dir, more: &[&str]) {
    let mut command = Command::new(REWARM);
    command.args(["train", &dir.at("small.toml")]).args(more).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = lines.find(|l| l.as_ref().is_ok_and(|l| l.ends_with("step-0000000010")));
    assert!(found.is_some(), "step 10 was never saved");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    for precision in ["train.precision=mixed", "train.precision=bf16"] {
        let (whole, killed) = (small(), small());
        line(&whole, &format!("train DIR/small.toml --set {precision}")).ok();
        kill_after_ten_steps(&killed, &["--set", precision]);
        line(&killed, "resume DIR/run").ok();
        let (a, b) = (whole.join("run"), killed.join("run"));
        assert_eq!(curve(&a), curve(&b));
        assert!(last_bytes(&a) == last_bytes(&b), "{precision}: the last checkpoints differ");
    }
}

#[test]
fn evaluation_agrees_with_the_cpu() {
    let dir = small();
    line(&dir, "train DIR/small.toml").ok();
    let loss = |device: &str| {
        let command =
            format!("eval DIR/run --data raw-u16:DIR/other.bin --seq-len 24 --json --device {device}");
        let value: serde_json::Value = serde_json::from_str(line(&dir, &command).ok()).unwrap();
        value["loss"].as_f64().unwrap()
    };
    let (cpu, emulated) = (loss("cpu"), loss("emulated"));
    assert!((cpu - emulated).abs() <= 0.01, "{cpu} and {emulated}");
}

#[test]
fn wrong_use_is_refused() {
    let dir = small();
    let refused = |set: &str, words: &[&str]| {
        line(&dir, &format!("train DIR/small.toml {set}")).refused(words);
        assert!(!dir.join("run").join("metrics.jsonl").exists(), "{set}");
    };
    // The command line's own error.
    let said = line(&dir, "train DIR/small.toml --device gpu");
    assert!(
        said.code == 1 && said.err.contains("cpu, cuda:0, emulated or auto"),
        "{}: {}",
        said.code,
        said.err
    );
    refused("--device cuda:0", &["no CUDA driver", "install"]);
    refused("--set device=cuda:77", &["no CUDA driver"]);
    refused("--set model.num_attention_heads=4", &["no attention kernel for head size 16", "--device cpu"]);
    refused("--set model.vocab_size=65", &["vocab_size is 65", "multiple of 8"]);
    refused("--set model.hidden_size=72 --set model.num_attention_heads=1", &["head size 72"]);
    // On the processor all of these are fine, and stay as they are where the device is not there.
    line(&dir, "train DIR/small.toml --device cpu --set model.num_attention_heads=4 --set train.steps=7")
        .ok();
    let before = tree(&dir.join("run"));
    for device in ["cuda:0", "emulated"] {
        let words = if device == "cuda:0" { "no CUDA driver" } else { "head size 16" };
        line(&dir, &format!("resume DIR/run {}", on(device))).refused(&[words]);
        line(&dir, &format!("eval DIR/run --data raw-u16:DIR/other.bin --device {device}")).refused(&[words]);
    }
    assert!(before == tree(&dir.join("run")));
}
