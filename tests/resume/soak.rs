//! One run, killed a hundred times.
use crate::support::*;
use crate::{SIGKILL, leftovers, signal, start, tiny};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

/// What one life of the soak's process left behind.
struct Life {
    /// Steps of the `saved` lines.
    acknowledged: Vec<u64>,
    /// A `tmp-*` or `trash-*` directory is there: killed inside of a save.
    inside: bool,
}

/// Lets a process live for `time`, counted from its start or from its being ready to step, then kills it. What a
/// busy machine adds to a start would otherwise leave no time for saves.
fn live(dir: &Dir, args: &[&str], time: Duration, from_ready: bool) -> Life {
    let mut child = start(dir, args);
    let pipe = child.stderr.take().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        let mut steps = Vec::new();
        let mut all = String::new();
        for line in lines {
            if line.starts_with("ready") {
                let _ = ready.send(()); // nobody waits where the time counts from the start
            }
            if let Some(step) = line.strip_prefix("saved ").and_then(|l| l.rsplit_once("step-")) {
                // A kill may tear the line itself: the digits are then short, and nothing was acknowledged.
                steps.extend((step.1.len() == 10).then(|| step.1.parse::<u64>().unwrap()));
            }
            all += &(line + "\n");
        }
        (steps, all)
    });
    if from_ready {
        let _ = is_ready.recv_timeout(Duration::from_secs(30)); // an early end is found below
    }
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
    let mut life = live(&dir, &train, Duration::from_millis(100), true);
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
        let mut expected = 1;
        for l in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
            let value: serde_json::Value = serde_json::from_str(l).unwrap();
            if value.get("eval").is_some() {
                continue;
            }
            let step = value["step"].as_u64().unwrap();
            assert_eq!(step, expected, "a line is missing in the log, or there twice");
            expected += 1;
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
            // One of four dies at any time since its start, the others while they train and save.
            let (from_ready, most) = if dice.below(4) == 0 { (false, 60_000) } else { (true, 40_000) };
            let time = Duration::from_micros(dice.below(most) as u64);
            life = live(&dir, &["resume", "DIR/run"], time, from_ready);
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
