//! A run that is stopped and resumed is the run that was never stopped: every loss, norm and rate equal as
//! text, every weight and moment equal as bytes, whatever stopped it and wherever.
//!
//! `SEED=` repeats a random test, `KILLS=` sets the length of the soak.
#[path = "cli/support.rs"]
mod support;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::*;

const SIGKILL: &str = "KILL";
const SIGTERM: &str = "TERM";

/// Trains about 3,000 parameters on 40,000 tokens; a step takes well below a millisecond.
const TINY: &str = r#"
run_dir = "DIR/run"
threads = 2

[model]
vocab_size = 64
hidden_size = 8
num_hidden_layers = 2
num_attention_heads = 2
rotary_pct = 0.5
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
lr = 1e-2
warmup = 0

[train]
steps = 20

[eval]
every = 10
sequences = 4

[checkpoint]
every = 5
"#;

fn tokens(seed: u64, count: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut last = 0;
    let next = |_| {
        last = (last * 3 + dice.below(4)) % 64;
        (last as u16).to_le_bytes()
    };
    (0..count).flat_map(next).collect()
}

/// A directory with data and `tiny.toml`.
fn tiny() -> Dir {
    let dir = Dir::in_memory();
    dir.write("tokens.bin", tokens(1, 40_000));
    dir.write("other.bin", tokens(2, 2_000));
    dir.config("tiny.toml", TINY);
    dir
}

/// The run of 20 steps that nothing interrupted.
fn undisturbed() -> &'static Dir {
    static DIR: OnceLock<Dir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tiny();
        line(&dir, "train DIR/tiny.toml").ok();
        dir
    })
}

/// Equal logs, and equal bytes of the last step.
#[track_caller]
fn assert_equal_runs(a: &Path, b: &Path, what: &str) {
    let (left, right) = (curve(a), curve(b));
    for (l, r) in left.iter().zip(&right) {
        assert_eq!(l, r, "{what}");
    }
    assert_eq!(left.len(), right.len(), "{what}");
    let last = |run: &Path| {
        let name = steps(run).pop().unwrap();
        let files = ["model.safetensors", "optimizer.safetensors"];
        (name.clone(), files.map(|file| fs::read(run.join(&name).join(file)).unwrap()))
    };
    assert!(last(a) == last(b), "{what}: the last checkpoints differ");
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn start(dir: &Dir, args: &[&str]) -> Child {
    let here = dir.path().display().to_string();
    let args: Vec<String> = args.iter().map(|a| a.replace("DIR", &here)).collect();
    Command::new(REWARM).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The rest of what a process says; it has ended, or is about to.
fn rest(mut child: Child) -> (Option<i32>, String) {
    let mut err = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut err).unwrap();
    }
    (child.wait().unwrap().code(), err)
}

/// Steps of the runs that are killed in the middle.
const LONG: &str = "train.steps=400";

/// Kills a run `later` after it reported step 10 as saved. Tells whether it was inside of a save then; `None`
/// when it had ended before.
fn killed(dir: &Dir, later: Duration) -> Option<bool> {
    let mut child = start(dir, &["train", "DIR/tiny.toml", "--set", LONG]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found =
        lines.find(|l| l.as_ref().is_ok_and(|l| l.starts_with("saved") && l.ends_with("step-0000000010")));
    assert!(found.is_some(), "step 10 was never saved");
    std::thread::sleep(later);
    signal(&child, SIGKILL);
    child.wait().unwrap().code().is_none().then(|| leftovers(&dir.join("run")))
}

/// Whether a save or a rotation was interrupted.
fn leftovers(run: &Path) -> bool {
    let mut names = fs::read_dir(run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.any(|n| n.starts_with("tmp-") || n.starts_with("trash-"))
}

/// Steps = some steps + kill −9 + the rest, at random instants inside of a save and between saves, resumed with
/// every thread count and micro-batch split.
#[test]
fn a_kill_and_a_resume_change_nothing() {
    let mut dice = Dice::from_environment();
    let whole = tiny();
    line(&whole, &format!("train DIR/tiny.toml --set {LONG}")).ok();
    let free = [
        "",
        "--set threads=1",
        "--set threads=3",
        "--set batch.micro=1",
        "--set batch.micro=4 --set threads=1",
        "--set checkpoint.every=7 --set checkpoint.keep=2",
    ];
    let (mut inside, mut between) = (0, 0);
    for attempt in 0..100 {
        if attempt >= free.len() && inside > 0 && between > 0 {
            break;
        }
        let dir = tiny();
        match killed(&dir, Duration::from_micros(dice.below(20_000) as u64)) {
            Some(true) => inside += 1,
            Some(false) => between += 1,
            None => continue,
        }
        let before = steps(&dir.join("run"));
        let sets = free[attempt % free.len()];
        line(&dir, &format!("resume DIR/run {sets}")).ok();
        assert!(!leftovers(&dir.join("run")), "leftovers stayed");
        assert_equal_runs(&dir.join("run"), &whole.join("run"), &format!("{sets}: resumed with {before:?}"));
    }
    println!("{inside} kills inside of a save, {between} between saves");
    assert!(inside > 0 && between > 0, "{inside} inside, {between} between");
}

#[test]
fn threads_and_micro_batches_are_no_part_of_the_result() {
    for (name, sets) in
        [("one", "--set threads=1 --set batch.micro=4"), ("three", "--set threads=3 --set batch.micro=1")]
    {
        line(undisturbed(), &format!("train DIR/tiny.toml {sets} --set run_dir=\"DIR/{name}\"")).ok();
        assert_equal_runs(&undisturbed().join(name), &undisturbed().join("run"), sets);
    }
}

/// Stopping at exactly step 10, as the promise says it.
#[test]
fn a_checkpoint_in_the_middle_is_enough() {
    let whole = undisturbed();
    for (step, sets) in
        [(5, ""), (10, ""), (10, "--set threads=3 --set batch.micro=1"), (15, "--set batch.micro=4")]
    {
        let dir = tiny();
        copy(&whole.join("run"), &dir.join("run"));
        let text = fs::read_to_string(dir.join("run/config.toml")).unwrap();
        let (old, new) = (whole.path().display().to_string(), dir.path().display().to_string());
        fs::write(dir.join("run/config.toml"), text.replace(&old, &new)).unwrap();
        // keep = 3: the oldest of 5, 10, 15, 20 is gone; it is made again here.
        if step == 5 {
            fs::remove_dir_all(dir.join("run")).unwrap();
            line(&dir, "train DIR/tiny.toml --set checkpoint.keep=4").ok();
        }
        for name in steps(&dir.join("run")) {
            if name[5..].parse::<u64>().unwrap() > step {
                fs::remove_dir_all(dir.join("run").join(name)).unwrap();
            }
        }
        // A torn last line, as a kill may leave it.
        let log = dir.join("run/metrics.jsonl");
        let text = fs::read_to_string(&log).unwrap();
        fs::write(&log, &text[..text.len() - 9]).unwrap();
        line(&dir, &format!("resume DIR/run {sets}")).ok();
        assert_equal_runs(&dir.join("run"), &whole.join("run"), &format!("from step {step} {sets}"));
    }
}

#[test]
fn a_finished_run_says_so() {
    let dir = undisturbed();
    copy(&dir.join("run"), &dir.join("finished"));
    let before = tree(&dir.join("finished"));
    let said = line(dir, "resume DIR/finished");
    assert!(said.ok().contains("finished: all 20 steps"), "{}", said.out);
    assert_eq!(before, tree(&dir.join("finished")));
}

/// SIGTERM and SIGINT: the step is finished and saved, exit code 3, and the curve goes on unchanged.
#[test]
fn a_signal_saves_and_leaves() {
    let mut dice = Dice::from_environment();
    let whole = tiny();
    let sets = ["--set", "train.steps=3000", "--set", "checkpoint.every=1000000", "--set", "eval.every=0"];
    let train = [&["train", "DIR/tiny.toml"], &sets[..]].concat();
    rewarm(&whole, &train).ok();
    let dir = tiny();
    let mut child = start(&dir, &train);
    let (mut stops, mut slowest) = (0, Duration::ZERO);
    loop {
        std::thread::sleep(Duration::from_millis(20 + dice.below(150) as u64));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        signal(&child, ["TERM", "INT"][stops % 2]);
        let asked = Instant::now();
        let (code, err) = rest(child);
        if code == Some(0) {
            break; // it was about to finish
        }
        slowest = slowest.max(asked.elapsed());
        stops += 1;
        assert_eq!(code, Some(3), "{err}");
        let last = log(&dir.join("run")).last().unwrap()["step"].as_u64().unwrap();
        assert!(err.contains(&format!("stopped; step {last} is saved")), "{err}");
        assert_eq!(*steps(&dir.join("run")).last().unwrap(), format!("step-{last:010}"));
        child = start(&dir, &["resume", "DIR/run"]);
    }
    println!("{stops} stops, the slowest took {slowest:?}");
    assert!(stops >= 2, "the run ended before it could be stopped");
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "after signals");
}

/// A second signal does not wait for the step; what was saved before stays good.
#[test]
fn a_second_signal_ends_at_once() {
    let dir = tiny();
    // One step of this takes many seconds.
    let slow = ["batch.sequences=200000", "batch.micro=4", "train.steps=3", "eval.every=0"];
    let sets: Vec<&str> = slow.iter().flat_map(|s| ["--set", s]).collect();
    let mut child = start(&dir, &[&["train", "DIR/tiny.toml"], &sets[..]].concat());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.find(|l| l.as_ref().unwrap().starts_with("ready")).unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "the first signal waits for the step");
    let asked = Instant::now();
    signal(&child, SIGTERM);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

/// What one life of the soak's process left behind.
struct Life {
    /// Steps of the `saved` lines.
    acknowledged: Vec<u64>,
    /// A `tmp-*` or `trash-*` directory is there: killed inside of a save.
    inside: bool,
}

/// Lets a process live for `time`, then kills it.
fn live(dir: &Dir, args: &[&str], time: Duration) -> Life {
    let mut child = start(dir, args);
    let pipe = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        let mut steps = Vec::new();
        let mut all = String::new();
        for line in lines {
            if let Some(step) = line.strip_prefix("saved ").and_then(|l| l.rsplit_once("step-")) {
                // A kill may tear the line itself: the digits are then short, and nothing was acknowledged.
                steps.extend((step.1.len() == 10).then(|| step.1.parse::<u64>().unwrap()));
            }
            all += &(line + "\n");
        }
        (steps, all)
    });
    std::thread::sleep(time);
    signal(&child, SIGKILL);
    let status = child.wait().unwrap();
    let (acknowledged, said) = reader.join().unwrap();
    // The run is far too long to finish: any end but the kill's is a failure.
    assert_eq!(status.code(), None, "ended by itself:\n{said}");
    assert!(!said.contains("error:") && !said.contains("panicked") && !said.contains("warning:"), "{said}");
    Life { acknowledged, inside: leftovers(&dir.join("run")) }
}

/// kill −9 at random instants, many times, on one run: no step that was reported as saved is lost, and no loss
/// ever differs from the undisturbed run.
#[test]
fn soak() {
    let kills: usize = std::env::var("KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(100);
    let mut dice = Dice::from_environment();
    let started = Instant::now();
    let dir = tiny();
    // An evaluation now and then belongs to the log as well.
    let sets = ["train.steps=100000000", "eval.every=100", "schedule.name='constant'"];
    let sets: Vec<&str> = sets.iter().flat_map(|s| ["--set", s]).collect();
    let train = [&["train", "DIR/tiny.toml"], &sets[..]].concat();
    let run = dir.join("run");
    // The first life must reach a checkpoint: before that there is nothing to resume.
    let mut life = live(&dir, &train, Duration::from_millis(500));
    let (mut lost, mut wrong, mut checked, mut redone, mut inside) = (0, 0, 0, 0, 0);
    let (mut acknowledged, mut checkpoints) = (0u64, 0usize);
    let mut seen: BTreeMap<u64, String> = BTreeMap::new();
    for kill in 0..=kills {
        checkpoints += life.acknowledged.len();
        inside += usize::from(life.inside && kill > 0);
        acknowledged = life.acknowledged.iter().copied().max().unwrap_or(0).max(acknowledged);
        let newest = steps(&run).pop().map_or(0, |n| n[5..].parse().unwrap());
        lost += usize::from(newest < acknowledged);
        // Every whole line of a step that was logged before must be logged again with the same digits.
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        for l in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
            let value: serde_json::Value = serde_json::from_str(l).unwrap();
            if value.get("eval").is_some() {
                continue;
            }
            let step = value["step"].as_u64().unwrap();
            let bare = bare(&value);
            match seen.get(&step) {
                Some(before) if step > newest.saturating_sub(50) => {
                    checked += 1;
                    wrong += usize::from(*before != bare);
                }
                Some(_) => {}
                None => drop(seen.insert(step, bare)),
            }
        }
        redone += seen.keys().next_back().map_or(0, |last| last.saturating_sub(newest));
        if kill < kills {
            let time = Duration::from_millis(30 + dice.below(31) as u64);
            life = live(&dir, &["resume", "DIR/run"], time);
        }
    }
    // Against a run that nothing disturbed, step by step, all of them.
    let whole = tiny();
    let last = *seen.keys().next_back().unwrap();
    let steps = format!("train.steps={last}");
    let sets = [steps.as_str(), "eval.every=0", "checkpoint.every=1000000", "schedule.name='constant'"];
    rewarm(
        &whole,
        [&["train", "DIR/tiny.toml"], &sets.iter().flat_map(|s| ["--set", s]).collect::<Vec<_>>()[..]]
            .concat(),
    )
    .ok();
    for value in log(&whole.join("run")).iter().filter(|v| v.get("eval").is_none()) {
        checked += 1;
        wrong += usize::from(seen.get(&value["step"].as_u64().unwrap()) != Some(&bare(value)));
    }
    println!(
        "{kills} kills in {:.1} s: {inside} inside of a save, {checkpoints} checkpoints acknowledged, {lost} lost, \
         {last} steps, {redone} done again, {wrong} of {checked} losses wrong",
        started.elapsed().as_secs_f64()
    );
    assert_eq!((lost, wrong), (0, 0));
    assert!(checkpoints >= kills, "an empty pass: fewer checkpoints than kills");
    assert!(inside * 20 >= kills, "an empty pass: too few kills inside of a save");
}

/// What of a step's line must be equal.
fn bare(value: &serde_json::Value) -> String {
    ["step", "tokens", "loss", "grad_norm", "lr", "applied"].map(|key| value[key].to_string()).join(" ")
}

/// A start that dies at any instant leaves nothing that cannot be understood: the same command works, or says
/// that a run is there, which resume then continues or refuses.
#[test]
fn a_kill_during_the_start_is_understood() {
    let mut dice = Dice::from_environment();
    let (mut resumed, mut refused, mut fresh) = (0, 0, 0);
    for _ in 0..20 {
        let dir = tiny();
        let child = start(&dir, &["train", "DIR/tiny.toml"]);
        std::thread::sleep(Duration::from_micros(500 + dice.below(25_000) as u64));
        signal(&child, SIGKILL);
        let (code, err) = rest(child);
        assert!(code.is_none() || code == Some(0), "{err}");
        let again = line(&dir, "train DIR/tiny.toml");
        if again.code == 0 {
            fresh += 1;
        } else {
            again.refused(&["already holds a run"]);
            let said = line(&dir, "resume DIR/run");
            match said.code {
                0 => resumed += 1,
                _ => {
                    refused += 1;
                    said.refused(&["no checkpoint", "delete the directory"]);
                    continue;
                }
            }
        }
        assert_equal_runs(&dir.join("run"), &undisturbed().join("run"), "after a kill during the start");
    }
    println!("started again {fresh}, resumed {resumed}, refused {refused}");
}

/// Where the tests and figures of a start come from: `cargo test --release --test resume -- --ignored start_time --nocapture`.
#[test]
#[ignore = "a measurement"]
fn start_time() {
    let dir = Dir::new();
    dir.write("large.bin", tokens(3, 2_000_000));
    let small = TINY
        .replace("vocab_size = 64", "vocab_size = 4096")
        .replace("hidden_size = 8", "hidden_size = 256")
        .replace("num_hidden_layers = 2", "num_hidden_layers = 4")
        .replace("num_attention_heads = 2", "num_attention_heads = 8")
        .replace("rotary_pct = 0.5", "rotary_pct = 0.25")
        .replace("max_position_embeddings = 32", "max_position_embeddings = 256")
        .replace("seq_len = 16", "seq_len = 256")
        .replace("sequences = 4\nmicro = 2", "sequences = 8")
        .replace("tokens.bin", "large.bin");
    let without_sets = format!(
        "{}[batch]{}",
        small.split_once("[[data.validation]]").unwrap().0,
        small.split_once("[batch]").unwrap().1
    );
    dir.config("small.toml", &without_sets);
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    for i in 0..10 {
        let run = format!("run_dir='DIR/run{i}'");
        let log: PathBuf = dir.join(&format!("run{i}/metrics.jsonl"));
        let started = Instant::now();
        let mut child = start(&dir, &["train", "DIR/small.toml", "--set", &run]);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        lines.find(|l| l.as_ref().unwrap().starts_with("ready")).unwrap().unwrap();
        ready.push(started.elapsed().as_secs_f64());
        while !fs::metadata(&log).is_ok_and(|m| m.len() > 0) {
            std::thread::sleep(Duration::from_millis(1));
        }
        first.push(started.elapsed().as_secs_f64());
        signal(&child, SIGKILL);
        child.wait().unwrap();
    }
    for (what, times) in [("ready to step", &mut ready), ("first line of the log", &mut first)] {
        times.sort_by(f64::total_cmp);
        println!("{what}: p50 {:.3} s, {:.3} to {:.3} s over 10 runs", times[5], times[0], times[9]);
    }
    assert!(ready[5] < 0.5);
}
