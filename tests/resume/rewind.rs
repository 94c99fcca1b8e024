//! Going back on purpose: the run is the one that it was at that step, and nothing of what came after is lost.
use super::*;

/// The run of 20 steps, with all of its checkpoints.
fn whole() -> Dir {
    let dir = tiny();
    line(&dir, "train DIR/tiny.toml --set checkpoint.keep=4").ok();
    dir
}

#[test]
fn the_run_goes_on_from_there_and_what_came_after_stays_beside() {
    let dir = whole();
    let run = dir.join("run");
    copy(&run, &dir.join("before"));
    let said = line(&dir, "resume DIR/run --rewind 10");
    said.ok();
    for words in [
        "step-0000000015 is now rewound-1-step-0000000015",
        "step-0000000020 is now rewound-1-step-0000000020",
        "lines of the log are now in",
        "goes on from step 10",
        "run/rewound-1-*",
    ] {
        assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
    }
    assert_equal_runs(&run, undisturbed().join("run").as_path(), "rewound to step 10");
    for step in [15, 20] {
        let (aside, before) = (format!("rewound-1-step-{step:010}"), format!("before/step-{step:010}"));
        assert_eq!(tree(&run.join(aside)), tree(&dir.join(&before)), "step {step}");
    }
    // The log of before is the log up to the step and what was set aside.
    let text = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
    let (before, aside) = (text("before/metrics.jsonl"), text("run/rewound-1-metrics.jsonl"));
    assert!(before.ends_with(&aside) && aside.lines().filter(|line| line.contains("\"lr\"")).count() == 10);
    let kept = &before[..before.len() - aside.len()];
    assert!(text("run/metrics.jsonl").starts_with(kept));

    // What was set aside is a checkpoint to start from.
    let said = line(&dir, "eval DIR/run/rewound-1-step-0000000015");
    assert!(said.ok().contains("other"), "{}", said.out);
    // Once more, and back to where it is.
    let said = line(&dir, "resume DIR/run --rewind 15");
    assert!(said.err.contains("step-0000000020 is now rewound-2-step-0000000020"), "{}", said.err);
    let said = line(&dir, "resume DIR/run --rewind 20");
    assert!(
        said.ok().contains("finished") && said.err.contains("is the newest of the run already"),
        "{}",
        said.err
    );
}

#[test]
fn what_is_refused_leaves_the_run_as_it_is() {
    let dir = whole();
    let before = tree(&dir.join("run"));
    let same = |said: Said, words: &[&str]| {
        said.refused(words);
        assert_eq!(before, tree(&dir.join("run")));
    };
    same(line(&dir, "resume DIR/run --rewind 12"), &["no checkpoint of step 12", "5, 10, 15, 20"]);
    same(line(&dir, "resume DIR/run --rewind 10 --set seed=7"), &["seed is"]);
    same(line(&dir, "resume DIR/run --rewind 10 --set data.skip=[\"sample:3\"]"), &["data.skip"]);
    same(line(&dir, "resume DIR/nothing --rewind 10"), &["nothing"]);
    for (skip, words) in [
        ("document tokens.bin:0", &["leaves nothing of the source \"train\""][..]),
        ("document tokens.bin:1", &["tokens.bin:1..2", "1 documents"]),
        ("document other.bin:0", &["no shard", "called other.bin", "tokens.bin"]),
    ] {
        let skip = format!("data.skip=[{skip:?}]");
        same(rewarm(&dir, ["resume", "DIR/run", "--rewind", "10", "--override", "--set", &skip]), words);
    }
    fs::write(dir.join("run/step-0000000010/model.safetensors"), "damaged").unwrap();
    let said = line(&dir, "resume DIR/run --rewind 10");
    said.refused(&["step-0000000010", "not a valid checkpoint", "choose another step"]);
    assert_eq!(steps(&dir.join("run")).len(), 4);
}

/// Killed at any instant, it is the run from before or the one that went back, and a resume ends as either does.
#[test]
fn a_kill_in_a_rewind_leaves_a_run_that_goes_on() {
    let mut dice = Dice::from_environment();
    let (mut before, mut after) = (0, 0);
    for attempt in 0..100 {
        if attempt >= 12 && before > 0 && after > 0 {
            break;
        }
        let dir = moved(undisturbed());
        let mut child = start(&dir, &["resume", "DIR/run", "--rewind", "10"]);
        std::thread::sleep(Duration::from_micros(dice.below(40_000) as u64));
        signal(&child, SIGKILL);
        child.wait().unwrap();
        let newest = steps(&dir.join("run")).pop().unwrap();
        let rewound =
            !dir.join("run/step-0000000020").exists() || dir.join("run/rewound-1-step-0000000020").exists();
        if rewound {
            after += 1
        } else {
            before += 1
        }
        line(&dir, "resume DIR/run").ok();
        assert_equal_runs(&dir.join("run"), &undisturbed().join("run"), &format!("killed with {newest}"));
    }
    println!("{before} kills before the newest step left, {after} after");
    assert!(before > 0 && after > 0, "{before} {after}");
}

/// PaLM's way around a spike: back, and past the samples that it came with. Exact through kills from there on.
#[test]
fn a_rewind_may_leave_samples_out() {
    let skipping = || {
        let dir = whole();
        let skip = "data.skip=[\"samples 44..52\"]";
        let refused = rewarm(&dir, ["resume", "DIR/run", "--rewind", "10", "--set", skip]);
        refused.refused(&["data.skip", "--override would take it"]);
        let said = rewarm(&dir, ["resume", "DIR/run", "--rewind", "10", "--override", "--set", skip]);
        said.ok();
        assert!(said.err.contains("data.skip is [\"samples 44..52\"], was null"), "{}", said.err);
        dir
    };
    let dir = skipping();
    let seen = |dir: &Dir, step: u64| -> Vec<u64> {
        let said = line(dir, &format!("data where DIR/run --json --step {step}"));
        let rows: serde_json::Value = serde_json::from_str(said.ok()).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["sample"].as_u64().unwrap()).collect()
    };
    assert_eq!(
        [10, 11, 12, 13].map(|step| seen(&dir, step)),
        [vec![36, 37, 38, 39], vec![40, 41, 42, 43], vec![52, 53, 54, 55], vec![56, 57, 58, 59]]
    );
    // The same samples by another way: the order of steps 11 and 12 shows in the losses.
    let losses =
        |dir: &Dir| curve(&dir.join("run")).into_iter().filter(|l| l.contains("\"lr\"")).collect::<Vec<_>>();
    let (left_out, all) = (losses(&dir), losses(undisturbed()));
    assert_eq!(left_out[..11], all[..11]);
    assert!(left_out[11..].iter().zip(&all[11..]).all(|(a, b)| a != b));

    let again = skipping();
    rewind(&again, 15);
    line(&again, "resume DIR/run").ok();
    assert_equal_runs(&again.join("run"), &dir.join("run"), "resumed after samples were left out");
    // Anew from the beginning: the plan of a run that begins so.
    let first = tiny();
    rewarm(&first, ["train", "DIR/tiny.toml", "--set", "data.skip=[\"samples 0..4\"]"]).ok();
    assert_eq!(seen(&first, 1), [4, 5, 6, 7]);
}
