//! Kills during the start of a run, and how long one takes.
use crate::support::*;
use crate::{SIGKILL, TINY, assert_equal_runs, rest, signal, start, tiny, tokens, undisturbed};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
