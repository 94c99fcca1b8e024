//! Checkpoints that stay, however many come after them.
use super::*;

fn train(dir: &Dir, name: &str, sets: &[&str]) -> Said {
    let place = format!("run_dir=\"DIR/{name}\"");
    let sets = [&place[..]].into_iter().chain(sets.iter().copied()).flat_map(|set| ["--set", set]);
    rewarm(dir, ["train", "DIR/tiny.toml"].into_iter().chain(sets))
}

fn saved(run: &Path) -> Vec<u64> {
    steps(run).iter().map(|name| name[5..].parse().unwrap()).collect()
}

#[test]
fn milestones_are_saved_and_stay() {
    let dir = tiny();
    let few = ["train.steps=100", "checkpoint.every=10", "checkpoint.keep=2"];
    for (name, sets, steps) in [
        // The last step of the stable part: any decay begins there.
        ("wsd", vec!["schedule.name=wsd", "schedule.decay=25"], vec![75, 90, 100]),
        ("none", vec!["schedule.name=wsd", "checkpoint.milestones=[]"], vec![90, 100]),
        ("cosine", vec![], vec![90, 100]),
        ("every", vec!["checkpoint.milestones=\"30%\""], vec![30, 60, 90, 100]),
        // 64 tokens a step.
        ("listed", vec!["checkpoint.milestones=[7, \"1K tokens\", 95]"], vec![7, 16, 95, 100]),
    ] {
        train(&dir, name, &[&few[..], &sets[..]].concat()).ok();
        assert_eq!(saved(&dir.join(name)), steps, "{name}");
    }
    // What is saved besides changes nothing.
    assert_equal_runs(&dir.join("every"), &dir.join("cosine"), "with milestones, and without");
    // The stable step is one to branch from.
    line(&dir, "branch DIR/wsd/step-75 DIR/branch --set schedule={name=\"linear\",lr=\"previous\"}").ok();
    assert_eq!(saved(&dir.join("branch")).last(), Some(&100));
    let rates: Vec<_> = log(&dir.join("branch")).into_iter().filter(|l| !l["lr"].is_null()).collect();
    assert_eq!(rates[0]["lr"], 1e-2);

    // An average is of the newest ones: milestones lie apart.
    let said = line(&dir, "average DIR/every -o DIR/mean");
    said.ok();
    assert!(said.err.contains("the newest 2 of 2 steps"), "{}", said.err);
    // They stay through a resume under another plan, which has others.
    let plan = "--override --set train.steps=140 --set checkpoint.milestones=[120]";
    line(&dir, &format!("resume DIR/every {plan}")).ok();
    assert_eq!(saved(&dir.join("every")), [30, 60, 90, 120, 130, 140]);
}

#[test]
fn milestones_that_cannot_be_are_refused() {
    let dir = tiny();
    for (value, words) in [
        ("0", ["checkpoint.milestones is 0", "above 0"]),
        ("[5, 0]", ["checkpoint.milestones has 0 steps", "above 0"]),
        ("often", ["checkpoint.milestones", "is not a length"]),
        ("[true]", ["checkpoint.milestones[0] is true", "number of steps"]),
        ("{a=1}", ["checkpoint.milestones is { a = 1 }", "or a list"]),
    ] {
        train(&dir, "run", &[&format!("checkpoint.milestones={value}")]).refused(&words);
        assert!(!dir.join("run").exists());
    }
}

/// Killed at any instant, a run never has fewer milestones than steps that it said were saved.
#[test]
fn a_kill_takes_no_milestone() {
    let dir = tiny();
    let sets = ["train.steps=60", "checkpoint.every=2", "checkpoint.keep=2", "checkpoint.milestones=10"];
    let sets = sets.into_iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["train", "DIR/tiny.toml"].into_iter().chain(sets).collect();
    let mut dice = Dice::from_environment();
    let mut child = start(&dir, &args);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().ends_with("step-0000000030")), "step 30 was never saved");
    std::thread::sleep(Duration::from_micros(dice.below(3000) as u64));
    signal(&child, SIGKILL);
    child.wait().unwrap();
    line(&dir, "resume DIR/run").ok();
    assert_eq!(saved(&dir.join("run")), [10, 20, 30, 40, 50, 58, 60]);
}
