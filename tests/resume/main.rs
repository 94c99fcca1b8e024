//! A run that is stopped and resumed is the run that was never stopped: every loss, norm and rate equal as
//! text, every weight and moment equal as bytes, whatever stopped it and wherever.
//!
//! `SEED=` repeats a random test, `KILLS=` sets the length of the soak.
mod branch;
mod diagnostics;
mod documents;
mod ema;
mod feedback;
mod forgetting;
mod milestones;
mod mixture;
mod replan;
mod rewind;
mod skipped;
mod soak;
mod startup;
mod stops;
mod study;
#[path = "../cli/support.rs"]
mod support;
mod tensorboard;
mod tokenize;
mod weights;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use support::*;

const SIGKILL: &str = "KILL";

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
    let mut command = Command::new(REWARM);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::piped());
    // Whoever runs the tests may ignore it.
    // SAFETY: between fork and exec only `signal` is called, which may be called there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        });
    }
    command.spawn().unwrap()
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
fn killed(dir: &Dir, precision: &str, later: Duration) -> Option<bool> {
    let mut child = start(dir, &["train", "DIR/tiny.toml", "--set", LONG, "--set", precision]);
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
/// every thread count and micro-batch split, in every precision.
#[test]
fn a_kill_and_a_resume_change_nothing() {
    let mut dice = Dice::from_environment();
    for precision in ["f32", "mixed", "bf16"] {
        kills_and_resumes_change_nothing(&format!("train.precision={precision}"), &mut dice);
    }
}

fn kills_and_resumes_change_nothing(precision: &str, dice: &mut Dice) {
    let whole = tiny();
    line(&whole, &format!("train DIR/tiny.toml --set {LONG} --set {precision}")).ok();
    let free = [
        "",
        "--set threads=1",
        "--set threads=3",
        "--set batch.micro=1",
        "--set batch.micro=4 --set threads=1",
        "--set train.recompute=block",
        "--set checkpoint.every=7 --set checkpoint.keep=2",
    ];
    let (mut inside, mut between) = (0, 0);
    for attempt in 0..100 {
        if attempt >= free.len() && inside > 0 && between > 0 {
            break;
        }
        let dir = tiny();
        match killed(&dir, precision, Duration::from_micros(dice.below(20_000) as u64)) {
            Some(true) => inside += 1,
            Some(false) => between += 1,
            None => continue,
        }
        let before = steps(&dir.join("run"));
        let sets = free[attempt % free.len()];
        line(&dir, &format!("resume DIR/run {sets}")).ok();
        assert!(!leftovers(&dir.join("run")), "leftovers stayed");
        assert_equal_runs(
            &dir.join("run"),
            &whole.join("run"),
            &format!("{precision} {sets}: resumed with {before:?}"),
        );
    }
    println!("{precision}: {inside} kills inside of a save, {between} between saves");
    assert!(inside > 0 && between > 0, "{precision}: {inside} inside, {between} between");
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

/// A copy of a run in a directory of its own.
fn moved(whole: &Dir) -> Dir {
    let dir = tiny();
    copy(&whole.join("run"), &dir.join("run"));
    let text = fs::read_to_string(dir.join("run/config.toml")).unwrap();
    let (old, new) = (whole.path().display().to_string(), dir.path().display().to_string());
    fs::write(dir.join("run/config.toml"), text.replace(&old, &new)).unwrap();
    dir
}

/// Removes the checkpoints after `step`.
fn rewind(dir: &Dir, step: u64) {
    for name in steps(&dir.join("run")) {
        if name[5..].parse::<u64>().unwrap() > step {
            fs::remove_dir_all(dir.join("run").join(name)).unwrap();
        }
    }
}

/// Stopping at exactly step 10, as the promise says it.
#[test]
fn a_checkpoint_in_the_middle_is_enough() {
    let whole = undisturbed();
    for (step, sets) in [
        (5, ""),
        (10, ""),
        (10, "--set threads=3 --set batch.micro=1"),
        (10, "--set train.recompute=cheap"),
        (15, "--set batch.micro=4"),
    ] {
        let dir = moved(whole);
        // keep = 3: the oldest of 5, 10, 15, 20 is gone; it is made again here.
        if step == 5 {
            fs::remove_dir_all(dir.join("run")).unwrap();
            line(&dir, "train DIR/tiny.toml --set checkpoint.keep=4").ok();
        }
        rewind(&dir, step);
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
