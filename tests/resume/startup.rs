//! Kills during the start of a run, and how long one takes.
use crate::support::*;
use crate::{SIGKILL, TINY, assert_equal_runs, rest, signal, start, tiny, tokens, undisturbed};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A start that dies at any instant is no dead end: until its first checkpoint the same command begins again, from then on
/// `resume` goes on, and each names the other where it is the right one.
#[test]
fn a_kill_during_the_start_is_understood() {
    let mut dice = Dice::from_environment();
    let (mut resumed, mut again) = (0, 0);
    for i in 0..40 {
        let dir = tiny();
        let run = dir.join("run");
        // Half of them before the directory is there, the others at a moment between that and the first checkpoint.
        let child = start(&dir, &["train", "DIR/tiny.toml"]);
        if i % 2 == 0 {
            std::thread::sleep(Duration::from_micros(500 + dice.below(25_000) as u64));
        } else {
            while !run.join("lock").exists() {
                std::hint::spin_loop();
            }
            std::thread::sleep(Duration::from_micros(dice.below(12_000) as u64));
        }
        signal(&child, SIGKILL);
        let (code, err) = rest(child);
        assert!(code.is_none() || code == Some(0), "{err}");
        let saved = run.exists() && !steps(&run).is_empty();
        let (train, resume) = ("train DIR/tiny.toml", "resume DIR/run");
        if saved {
            resumed += 1;
            line(&dir, train).refused(&["already holds a run", "rewarm resume"]);
            line(&dir, resume).ok();
        } else {
            again += 1;
            let refused = line(&dir, resume);
            refused.refused(&[]);
            assert!(!run.exists() || refused.err.contains("rewarm train"), "{}", refused.err);
            let said = line(&dir, train);
            said.ok();
            let logged = run.join("metrics.attempt-1.jsonl").exists();
            assert_eq!(logged, said.err.contains("its log is now"), "{}", said.err);
        }
        assert_equal_runs(&run, &undisturbed().join("run"), "after a kill during the start");
        let names = fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let known = ["lock", "config.toml", "metrics.jsonl", "metrics.attempt-1.jsonl"];
        let left: Vec<_> = names.filter(|n| !n.starts_with("step-") && !known.contains(&&n[..])).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    println!("begun again {again}, resumed {resumed}");
}

/// Many at once: one has the directory, the others say who, and nothing of theirs is left.
#[test]
fn one_of_many_starts_at_once() {
    for command in ["train", "resume"] {
        let dir = tiny();
        let args = if command == "train" { ["train", "DIR/tiny.toml"] } else { ["resume", "DIR/run"] };
        if command == "resume" {
            let mut first = start(&dir, &["train", "DIR/tiny.toml", "--set", "train.steps=2000"]);
            let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
            lines.find(|l| l.as_ref().unwrap().starts_with("saved")).unwrap().unwrap();
            signal(&first, SIGKILL);
            first.wait().unwrap();
        }
        let sets: &[&str] = if command == "train" { &["--set", "train.steps=2000"] } else { &[] };
        let children: Vec<_> = (0..8).map(|_| start(&dir, &[&args[..], sets].concat())).collect();
        let ends: Vec<_> = children.into_iter().map(rest).collect();
        let won = ends.iter().filter(|(code, _)| *code == Some(0)).count();
        assert!(won >= 1, "{ends:?}");
        for (code, err) in ends.iter().filter(|(code, _)| *code != Some(0)) {
            assert_eq!(*code, Some(1), "{err}");
            let late = err.contains("already holds a run") || err.contains("STOP");
            assert!(err.contains("is in use by") || late, "{err}");
        }
        let numbers: Vec<u64> = log(&dir.join("run"))
            .iter()
            .filter(|l| l.get("lr").is_some())
            .map(|l| l["step"].as_u64().unwrap())
            .collect();
        assert!(numbers.into_iter().eq(1..=2000), "one log of one run");
    }
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
