//! Updates that are skipped, and what is scheduled by counting those that were made. One token's embedding is so large
//! that every batch that holds the token has a gradient that is not finite; weights themselves stay finite.
use crate::support::*;
use crate::{TINY, assert_equal_runs, rewind, start};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The token, and tokens from one to the next in the training data.
const POISON: u16 = 63;
const EVERY: usize = 397;
/// Steps of a run, sequences of one, and of all.
const STEPS: u64 = 60;
const SEQUENCES: u64 = 4;
const SAMPLES: u64 = STEPS * SEQUENCES;
/// The first half of the steps has half of the sequences.
const GROWING: &str = "stages = [{sequences = 2, until = 960}]";
const GROWING_SAMPLES: u64 = SAMPLES * 3 / 4;

/// A run from a model with a poisoned embedding. Everything that is scheduled is linear, so that a value tells what
/// was counted.
fn poisoned(device: &str, counter: &str, batch: &str) -> Dir {
    let dir = Dir::in_memory();
    let clean = |bytes: Vec<u8>, poison: bool| -> Vec<u8> {
        let tokens = bytes.chunks(2).map(|t| u16::from_le_bytes([t[0], t[1]]).min(POISON - 1)).enumerate();
        tokens.flat_map(|(i, t)| if poison && i % EVERY == 0 { POISON } else { t }.to_le_bytes()).collect()
    };
    dir.write("tokens.bin", clean(tokens(1, 40_000), true));
    dir.write("other.bin", clean(tokens(2, 2_000), false));
    let sized = TINY.replace("hidden_size = 8", "hidden_size = 64").replace("rotary_pct = 0.5\n", "");
    dir.config("start.toml", &sized.replace("DIR/run", "DIR/start"));
    line(&dir, "train DIR/start.toml --set train.steps=1 --set data.train=[\"raw-u16:DIR/other.bin\"]").ok();
    line(&dir, "export DIR/start DIR/hf").ok();
    poison(&dir.join("hf/model.safetensors"));

    let (head, tail) = sized.split_once("[model]").unwrap();
    let (_, tail) = tail.split_once("[data]").unwrap();
    let (tail, _) = tail.split_once("[schedule]").unwrap();
    let rest = format!(
        r#"
{batch}
[start]
from = "DIR/hf"
[schedule]
lr = 1e-3
warmup = 0
counter = "{counter}"
phases = [{{shape = "linear", to = 0}}]
[optim]
weight_decay_phases = [{{shape = "linear", to = 0}}]
beta1_phases = [{{shape = "linear", from = 0.8, to = 0.9}}]
beta2_phases = [{{shape = "linear", from = 0.9, to = 0.95}}]
[train]
steps = {STEPS}
[eval]
every = 20
sequences = 4
[checkpoint]
every = 5
keep = 100
"#
    );
    dir.config("poisoned.toml", &format!("device = \"{device}\"\n{head}[data]{tail}{rest}"));
    dir
}

/// Makes the embedding of [`POISON`] so large that its mean is not finite.
fn poison(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let state = SafeTensors::deserialize(&bytes).unwrap();
    let embedding = state.tensor("gpt_neox.embed_in.weight").unwrap();
    assert_eq!(embedding.dtype(), safetensors::Dtype::F32);
    let row = 4 * embedding.shape()[1];
    let at = embedding.data().as_ptr().addr() - bytes.as_ptr().addr() + usize::from(POISON) * row;
    bytes[at..at + row].chunks_mut(4).for_each(|x| x.copy_from_slice(&3e38f32.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

/// The log's lines of steps.
fn steps_of(run: &Path) -> Vec<Value> {
    log(run).into_iter().filter(|l| l["eval"].is_null()).collect()
}

/// Every scheduled number of every step is that at `position`, of the samples of all steps before and of those whose
/// update was made, in a run of `samples` samples.
fn check(run: &Path, position: fn([u64; 2]) -> u64, samples: u64) {
    let (mut attempted, mut applied, mut skipped) = (0, 0, Vec::new());
    for (i, step) in steps_of(run).iter().enumerate() {
        let share = position([attempted, applied]) as f64 / samples as f64;
        let expected = [
            ("lr", 1e-3 * (1.0 - share)),
            ("weight_decay", 0.1 * (1.0 - share)),
            ("beta1", 0.8 + 0.1 * share),
            ("beta2", 0.9 + 0.05 * share),
        ];
        for (key, value) in expected {
            let found = step[key].as_f64().unwrap();
            assert!((found - value).abs() < 1e-14, "step {i}: {key} is {found}, not {value}");
        }
        let sequences = step["sequences"].as_u64().unwrap_or(SEQUENCES);
        let made = step["applied"].as_bool().unwrap();
        assert_eq!(made, step["grad_norm"].is_number(), "step {i}");
        attempted += sequences;
        applied += if made { sequences } else { 0 };
        skipped.extend((!made).then_some(i));
    }
    assert_eq!(attempted, samples);
    // An empty pass otherwise: some of them in each half, and far from all.
    let (early, late) = skipped.iter().partition::<Vec<usize>, _>(|i| **i < STEPS as usize / 2);
    assert!(early.len() >= 2 && late.len() >= 2 && skipped.len() <= 20, "{skipped:?}");
}

/// What is said of a skipped update is a command, and the row that it names read the token.
fn named_rows_hold_the_poison(dir: &Dir, said: &Said) {
    let skipped = steps_of(&dir.join("run")).iter().filter(|step| step["applied"] == false).count();
    let commands: Vec<&str> = said.err.lines().filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(commands.len(), skipped, "{}", said.err);
    let data = fs::read(dir.join("tokens.bin")).unwrap();
    for command in commands {
        let command = command.strip_prefix("rewarm ").unwrap();
        assert!(command.starts_with("data where ") && command.contains(" --step "), "{command}");
        let rows: Value = serde_json::from_str(line(dir, &format!("{command} --json")).ok()).unwrap();
        let holds = |row: &Value| {
            let [start, end] =
                [0, 1].map(|i| row["documents"][0]["shard_tokens"][i].as_u64().unwrap() as usize);
            // Its last token is predicted, not read.
            data[2 * start..2 * (end - 1)].chunks(2).any(|t| u16::from_le_bytes([t[0], t[1]]) == POISON)
        };
        assert!(rows.as_array().unwrap().iter().any(holds), "{command}");
        assert!(!command.contains("--row") || rows.as_array().unwrap().len() == 1, "{command}");
    }
}

/// The same run again: killed at once, and from the checkpoint behind the first skipped update.
fn killed_and_resumed(whole: &Dir, dir: &Dir) {
    let mut child = start(dir, &["train", "DIR/poisoned.toml"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(
        lines.any(|l| l.starts_with("saved") && l.ends_with("step-0000000010")),
        "step 10 was never saved"
    );
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it ended before it was killed");
    line(dir, "resume DIR/run").ok();
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "killed");

    let first = steps_of(&dir.join("run")).iter().position(|step| step["applied"] == false).unwrap() as u64;
    for step in [first / 5 * 5 + 5, STEPS - 5] {
        rewind(dir, step);
        line(dir, "resume DIR/run").ok();
        assert_equal_runs(&dir.join("run"), &whole.join("run"), &format!("from step {step}"));
    }
}

/// A run, the same one killed and resumed, and the checks of both.
fn counts(device: &str, counter: &str, batch: &str, samples: u64, position: fn([u64; 2]) -> u64) {
    let whole = poisoned(device, counter, batch);
    let said = line(&whole, "train DIR/poisoned.toml");
    said.ok();
    check(&whole.join("run"), position, samples);
    named_rows_hold_the_poison(&whole, &said);
    killed_and_resumed(&whole, &poisoned(device, counter, batch));
}

#[test]
fn a_skipped_update_repeats_what_is_scheduled_where_updates_are_counted() {
    counts("cpu", "applied", "", SAMPLES, |[_, applied]| applied);
}

#[test]
fn a_skipped_update_is_a_step_where_steps_are_counted() {
    counts("cpu", "attempted", "", SAMPLES, |[attempted, _]| attempted);
}

/// The batch grows with the data that was read, and what is scheduled follows the samples of the updates made.
#[test]
fn updates_are_counted_in_samples_while_the_batch_grows() {
    counts("cpu", "applied", GROWING, GROWING_SAMPLES, |[_, applied]| applied);
    counts("cpu", "attempted", GROWING, GROWING_SAMPLES, |[attempted, _]| attempted);
}

#[test]
fn the_emulated_device_counts_updates_too() {
    counts("emulated", "applied", GROWING, GROWING_SAMPLES, |[_, applied]| applied);
}

#[test]
fn the_emulated_device_counts_steps_too() {
    counts("emulated", "attempted", "", SAMPLES, |[attempted, _]| attempted);
}
