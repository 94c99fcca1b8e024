//! The commands with `--device emulated`: runs that are killed and go on, runs that move between devices, and what
//! is refused where there is no GPU.
mod ema;

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

/// Weights and moments of the step that are no bf16 values.
fn wider_than_bf16(step: &Path) -> [usize; 2] {
    ["model.safetensors", "optimizer.safetensors"].map(|file| {
        let bytes = fs::read(step.join(file)).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].chunks_exact(4).filter(|x| x[..2] != [0, 0]).count()
    })
}

#[test]
fn runs_start_from_runs_in_another_precision() {
    let dir = small();
    line(&dir, "train DIR/small.toml").ok();
    // Rounded, but for the few weights of norms and biases, and said once.
    let from =
        "--set start.from=DIR/run --set start.optimizer=keep --set schedule.warmup=0 --set train.steps=5";
    let low = format!("train DIR/phase.toml --set run_dir=DIR/low --set train.precision=bf16 {from}");
    dir.config(
        "phase.toml",
        &SMALL.replace(&SMALL[SMALL.find("[model]").unwrap()..SMALL.find("[data]").unwrap()], ""),
    );
    let said = line(&dir, &low);
    said.ok();
    assert_eq!(said.err.matches("are rounded to bf16").count(), 1, "{}", said.err);
    let [weights, moments] = wider_than_bf16(&dir.join("low/step-0000000005"));
    assert!(weights > 0 && weights < 2000 && moments == 0, "{weights} weights and {moments} moments");
    let low = losses(&dir.join("low"));
    let mixed = format!("train DIR/phase.toml --set run_dir=DIR/mixed {from}");
    line(&dir, &mixed).ok();
    for (a, b) in losses(&dir.join("mixed")).iter().zip(&low) {
        assert!((a - b).abs() <= 0.02, "{b} in bf16, {a} with master weights");
    }
    // And back, exactly: the model is the same before the first step.
    let back = "train DIR/phase.toml --set run_dir=DIR/back --set start.from=DIR/low --set schedule.warmup=0 --set train.steps=1";
    let said = line(&dir, back);
    said.ok();
    assert_eq!(said.err.matches("were kept in bf16").count(), 1, "{}", said.err);
    let evaluated = |run: &str, step: u64| {
        let log = log(&dir.join(run));
        let found = log.iter().find(|l| l.get("eval").is_some() && l["step"] == step).unwrap().clone();
        found["loss"].as_f64().unwrap()
    };
    assert_eq!(evaluated("low", 5), evaluated("back", 0));
    // A Hugging Face directory like any other.
    line(&dir, "export DIR/low DIR/exported").ok();
    let loss = |model: &str| {
        let command =
            format!("eval DIR/{model} --data raw-u16:DIR/other.bin --seq-len 16 --json --device cpu");
        let value: serde_json::Value = serde_json::from_str(line(&dir, &command).ok()).unwrap();
        value["loss"].as_f64().unwrap()
    };
    assert_eq!(loss("low"), loss("exported"));
}

#[test]
fn a_precision_is_kept_or_refused() {
    let dir = small();
    let refused = |command: &str, words: &[&str]| line(&dir, command).refused(words);
    refused(
        "train DIR/small.toml --device cpu --set train.precision=bf16",
        &["train.precision is \"bf16\"", "device is cpu", "remove"],
    );
    refused("train DIR/small.toml --set train.precision=fp8", &["train.precision", "mixed", "bf16"]);
    refused(
        "train DIR/small.toml --set train.precision=bf16 --set train.ema=0.9",
        &["train.ema", "train.precision"],
    );
    refused("bench train --device cpu --precision bf16", &["device is cpu", "--precision"]);
    refused("plan --preset pythia-70m --precision bf16", &["device is cpu", "--precision"]);
    assert!(!dir.join("run").join("metrics.jsonl").exists());
    line(&dir, "train DIR/small.toml --set train.precision=bf16 --set train.steps=5").ok();
    let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
    assert!(config.contains("precision = \"bf16\""), "{config}");
    let before = tree(&dir.join("run"));
    refused(
        "resume DIR/run --set train.precision=mixed",
        &["train.precision", "continues the same run only"],
    );
    refused("resume DIR/run --override --set train.precision=mixed", &["train.precision", "same run only"]);
    refused("resume DIR/run --device cpu", &["train.precision is \"bf16\"", "device is cpu"]);
    assert!(before == tree(&dir.join("run")));
    // It is evaluated anywhere.
    line(&dir, "eval DIR/run --data raw-u16:DIR/other.bin --seq-len 16 --device cpu").ok();
}

#[test]
fn a_run_moves_between_devices() {
    let cpu = small();
    line(&cpu, "train DIR/small.toml --device cpu").ok();
    let expected = losses(&cpu.join("run"));
    for [first, second] in [["emulated", "cpu"], ["cpu", "emulated"]] {
        let dir = small();
        kill_after_ten_steps(&dir, &["--device", first]);
        let said = line(&dir, &format!("resume DIR/run --device {second}"));
        said.ok();
        assert!(said.err.contains("device"), "the change is told: {}", said.err);
        let found = losses(&dir.join("run"));
        assert_eq!(found.len(), 20);
        for (step, (a, b)) in expected.iter().zip(&found).enumerate() {
            assert!((a - b).abs() <= 0.02, "{first} to {second}, step {step}: {b} instead of {a}");
        }
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
        line(&dir, &format!("resume DIR/run --device {device}")).refused(&[words]);
        line(&dir, &format!("eval DIR/run --data raw-u16:DIR/other.bin --device {device}")).refused(&[words]);
    }
    assert!(before == tree(&dir.join("run")));
}
