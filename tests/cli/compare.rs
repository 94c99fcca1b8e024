//! `rewarm eval` of several models: one table, against the first row.
use crate::support::*;
use serde_json::Value;
use std::fs;

fn objects(said: &Said) -> Vec<Value> {
    said.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

const SETS: [&str; 3] = ["heldout", "tales", "both"];

/// Every step of a run has the losses that the run logged of it, and the difference to the oldest that is there.
#[test]
fn every_checkpoint_is_a_row_of_one_table() {
    let f = fixture();
    let lines = log(&f.dir.join("run"));
    let logged = |step: u64, set: &str| {
        number(&lines.iter().find(|l| l["step"] == step && l["eval"] == *set).unwrap()["loss"])
    };
    let found = objects(&line(&f.dir, "eval DIR/run --every-checkpoint --json"));
    let rows = [20, 30, 40].iter().flat_map(|step| SETS.map(|set| (*step, set)));
    assert_eq!(found.len(), 9);
    for (object, (step, set)) in found.iter().zip(rows) {
        assert_eq!((&object["step"], &object["eval"]), (&step.into(), &set.into()));
        assert_eq!(object["model"], format!("step-{step:010}"));
        assert_eq!(number(&object["loss"]), logged(step, set), "{object}");
        assert_eq!(number(&object["difference"]), logged(step, set) - logged(20, set));
        assert!(
            ["perplexity", "standard_error", "bits_per_byte", "tokens"]
                .iter()
                .all(|k| number(&object[*k]) > 0.0)
        );
    }
    let table = line(&f.dir, "eval DIR/run --every-checkpoint");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let shown: Vec<Vec<String>> = table.ok().lines().map(words).collect();
    assert_eq!(shown.len(), 4);
    assert_eq!(shown[0], SETS);
    let first = SETS.map(|set| format!("{:.4}", logged(20, set)));
    assert_eq!(shown[1], [&["step-0000000020".to_owned()][..], &first[..]].concat());
    let last = SETS.map(|set| {
        [format!("{:.4}", logged(40, set)), format!("({:+.4})", logged(40, set) - logged(20, set))]
    });
    assert_eq!(shown[3], [&["step-0000000040".to_owned()][..], last.as_flattened()].concat());
    // Columns end where their names do, whatever is in them.
    let ends = |line: &str| line.trim_end().chars().count();
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(ends(lines[2]) == ends(lines[3]) && ends(lines[0]) == ends(lines[3]), "{}", table.out);
}

/// A run, one of its steps and its export; the sets, sequence length and number of sequences are the run's wherever it stands.
#[test]
fn models_are_compared_with_the_first() {
    let f = fixture();
    let step = "DIR/run/step-0000000020";
    let found = objects(&line(&f.dir, &format!("eval DIR/hf {step} DIR/run --json")));
    let one = objects(&line(&f.dir, "eval DIR/run --json"));
    let old = objects(&line(&f.dir, &format!("eval {step} --json")));
    let model = |i: usize| found[i]["model"].as_str().unwrap().to_owned();
    assert_eq!(
        [model(0), model(3), model(6)],
        [f.dir.at("hf"), f.dir.at("run/step-0000000020"), f.dir.at("run")]
    );
    assert_eq!([0, 3, 6].map(|i| found[i]["step"].clone()), [Value::Null, 20.into(), 40.into()]);
    for i in 0..3 {
        assert_eq!(
            [&found[i]["loss"], &found[6 + i]["loss"]],
            [&one[i]["loss"]; 2],
            "the export is the run's newest step"
        );
        assert_eq!([&found[3 + i]["loss"], &found[3 + i]["tokens"]], [&old[i]["loss"], &old[i]["tokens"]]);
        let differences = [i, 3 + i, 6 + i].map(|row| number(&found[row]["difference"]));
        assert_eq!(differences, [0.0, number(&old[i]["loss"]) - number(&one[i]["loss"]), 0.0]);
    }
    let named = line(&f.dir, "eval DIR/hf DIR/run --data tales=DIR/data/b --sequences 4");
    assert_eq!(named.ok().lines().count(), 3);
    assert!(named.out.contains("(+0.0000)") && !named.out.contains("heldout"), "{}", named.out);
    let alone = line(&f.dir, "eval DIR/hf DIR/hf --data tales=DIR/data/b --seq-len 64 --sequences 4");
    assert_eq!(alone.ok().lines().count(), 3);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let f = fixture();
    for (arguments, words) in [
        ("DIR/run DIR/hf --every-checkpoint", ["--every-checkpoint is of one run", "2 models"]),
        ("DIR/hf --every-checkpoint", ["holds no step-* directory", "--every-checkpoint takes"]),
        ("DIR/nothing --every-checkpoint", ["nothing holds no step-* directory", "of a run"]),
        ("DIR/hf DIR/hf", ["is no checkpoint of a run", "--data NAME=PATH"]),
        ("DIR/run DIR/nothing", ["nothing", "is not a directory"]),
        ("DIR/run DIR/hf --seq-len 129", ["--seq-len 129", "1 to 128"]),
    ] {
        let said = line(&f.dir, &format!("eval {arguments}"));
        said.refused(&words);
        assert_eq!(said.out, "", "nothing is computed before that");
    }
    // A damaged step is left out, which is said; with no other there is nothing to tell.
    let dir = workshop();
    fs::write(dir.join("run/step-0000000030/model.safetensors"), "damaged").unwrap();
    let said = line(&dir, "eval DIR/run --every-checkpoint --sequences 1");
    assert_eq!(said.ok().lines().count(), 3);
    assert!(said.err.contains("step-0000000030 is left out: "), "{}", said.err);
    for step in ["20", "40"] {
        fs::remove_dir_all(dir.join(&format!("run/step-00000000{step}"))).unwrap();
    }
    line(&dir, "eval DIR/run --every-checkpoint").refused(&["no step of", "can be read"]);
}
