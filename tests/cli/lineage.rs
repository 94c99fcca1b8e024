//! Data that live from phase to phase: the keys of order and split are inherited, and what one phase held out no later
//! one trains on.
use crate::support::*;
use rewarm::checkpoint::{Disk, Manifest, step_name};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A phase of 4 steps from `from`, with `seed = 8`, where the first one had 7.
fn phase(dir: &Dir, name: &str, from: &str, sets: &[&str]) -> Said {
    let (head, rest) = CONFIG.split_once("[model]").unwrap();
    let data = rest.split_once("[data]").unwrap().1;
    let text = format!("{head}[start]\nfrom = \"FROM\"\n[data]{data}");
    let text = text.replace("DIR/run\"", &format!("DIR/{name}\"")).replace("FROM", from);
    dir.config("phase.toml", &text);
    let common = ["seed=8", "train.steps=4", "schedule.warmup=0"];
    let sets = common.iter().chain(sets).flat_map(|set| ["--set", set]);
    rewarm(dir, ["train", "DIR/phase.toml"].into_iter().chain(sets))
}

/// The loss of a set after a step, as text.
fn loss(run: &Path, set: &str, step: u64) -> String {
    let found = log(run).into_iter().find(|l| l["eval"] == set && l["step"] == step);
    found.unwrap_or_else(|| panic!("no {set} after {step}"))["loss"].to_string()
}

/// Shards of another text, `name`, beside the others.
fn tokenize(dir: &Dir, name: &str, seed: u64) {
    for i in 0..12 {
        dir.write(&format!("{name}/{i:02}.txt"), english(seed + i, 2_000));
    }
    let to = format!("-o DIR/data/{name} --tokenizer DIR/data/tokenizer.json");
    line(dir, &format!("data tokenize DIR/{name} --extension txt {to}")).ok();
}

/// Another seed is no reason to evaluate on what was trained on.
#[test]
fn a_new_phase_holds_out_what_the_one_before_held_out() {
    let dir = workshop();
    let said = phase(&dir, "second", "DIR/run", &[]);
    said.ok();
    assert!(
        said.err.contains("data.split_seed is 7, that of the run in start.from; seed is 8"),
        "{}",
        said.err
    );
    assert_eq!(loss(&dir.join("second"), "heldout", 0), loss(&dir.join("run"), "heldout", 40));
    let config = fs::read_to_string(dir.join("second/config.toml")).unwrap();
    for key in ["seed = 8", "[data]", "seed = 7", "split_seed = 7"] {
        assert!(config.contains(key), "{key} is missing in {config}");
    }
    // `eval` and `plan` of the file of a new phase mean the same split.
    let told = line(&dir, "eval DIR/run --config DIR/phase.toml --json");
    let first: Value = serde_json::from_str(told.ok().lines().next().unwrap()).unwrap();
    let same = loss(&dir.join("second"), "heldout", 0).parse::<f64>().unwrap();
    assert!((first["loss"].as_f64().unwrap() - same).abs() < 1e-4 * same, "{first} {same}");
    line(&dir, "plan DIR/phase.toml").ok();

    for (set, words) in [
        (
            "data.split_seed=8",
            ["held out (by data.validation_fraction = 0.1, data.split_seed = 7)", "data.split_seed 8"],
        ),
        ("data.validation_fraction=0.05", ["would train on", "data.validation_fraction is 0.05"]),
        ("data.validation_fraction=0.9", ["\"heldout\" would evaluate on", "an earlier phase trained on"]),
        ("data.train=[\"DIR/data/b\"]", ["would train on 52 of 52 documents", "held out (whole shards)"]),
    ] {
        let said = phase(&dir, "refused", "DIR/run", &[set]);
        said.refused(&words);
        said.refused(&["data.overlap = \"allow\""]);
        assert!(!dir.join("refused").exists(), "{set}");
    }
    let said = phase(&dir, "allowed", "DIR/run", &["data.split_seed=8", "data.overlap=allow"]);
    said.ok();
    assert!(said.err.contains("would train on") && said.err.contains("is \"allow\""), "{}", said.err);
    assert!(fs::read_to_string(dir.join("allowed/config.toml")).unwrap().contains("overlap = \"allow\""));
}

/// What the first phase held out is held out in the third, though the second never met it, and was resumed.
#[test]
fn a_lineage_of_three_phases_remembers_the_first() {
    let dir = workshop();
    tokenize(&dir, "new", 900);
    tokenize(&dir, "last", 950);
    let new = ["data.train=[\"DIR/data/new\"]", "data.validation_fraction=0"];
    phase(&dir, "second", "DIR/run", &new).ok();
    line(&dir, "resume DIR/second --override --set train.steps=6").ok();
    let from = "DIR/second/step-0000000006";
    phase(&dir, "refused", from, &["data.split_seed=9"]).refused(&["would train on", "data.split_seed = 7"]);
    phase(&dir, "refused", from, &["data.validation_fraction=0"]).refused(&["would train on"]);
    let last = "data.train=[\"DIR/data/last\"]";
    let set = |path| format!("data.validation=[{{name=\"seen\", paths=[\"DIR/data/{path}\"]}}]");
    for (seen, of) in [("new", "12 of 12"), ("a", "of 20")] {
        let words = ["\"seen\" would evaluate on", of, "an earlier phase trained on"];
        phase(&dir, "refused", from, &[last, &set(seen)]).refused(&words);
    }
    // A resume may name other sets, and is asked the same.
    let resumed = ["resume", "DIR/second", "--override", "--set", "train.steps=7", "--set"];
    let other = |path| resumed.into_iter().map(str::to_owned).chain([set(path)]);
    rewarm(&dir, other("a")).refused(&["\"seen\" would evaluate on", "an earlier phase trained on"]);
    rewarm(&dir, other("b")).ok();
    // The set that the first phase evaluated on is one still; the split is inherited through the second.
    phase(&dir, "third", from, &[]).ok();
    let sources = fs::read_to_string(dir.join("third/config.toml")).unwrap();
    assert!(sources.contains("split_seed = 7"), "{sources}");
    phase(&dir, "other", from, &[last, &set("b")]).ok();
}

/// Makes a step of a run what an earlier version would have written.
fn as_of_earlier_version(step: &Path, replace: [&str; 2]) {
    let mut manifest = Manifest::read(&Disk, step).unwrap();
    let state = &mut manifest.state;
    assert!(!state.extra["data_use"]["trained"][0]["shards"].is_null(), "{}", state.extra);
    state.extra.as_object_mut().unwrap().remove("data_use");
    for key in ["seed", "split_seed"] {
        assert_eq!(state.run_config["data"].as_object_mut().unwrap().remove(key), Some(7.into()));
    }
    let text = state.run_config.to_string().replace(replace[0], replace[1]);
    state.run_config = serde_json::from_str(&text).unwrap();
    fs::write(step.join("manifest.json"), manifest.to_text()).unwrap();
}

/// Checkpoints from before the keys: the data of their runs are asked, where they still lie there.
#[test]
fn runs_of_an_earlier_version_are_asked_for_their_data() {
    let dir = workshop();
    tokenize(&dir, "new", 900);
    let [there, here] = [&fixture().dir, &dir].map(|dir| dir.path().display().to_string());
    as_of_earlier_version(&dir.join("run").join(step_name(40)), [&there, &here]);
    phase(&dir, "refused", "DIR/run", &["data.split_seed=8"]).refused(&["would train on"]);
    phase(&dir, "second", "DIR/run", &[]).ok();
    assert_eq!(loss(&dir.join("second"), "heldout", 0), loss(&dir.join("run"), "heldout", 40));

    // Those of the run before it, too; and a resume notes them.
    let new = ["data.train=[\"DIR/data/new\"]", "data.validation_fraction=0"];
    phase(&dir, "third", "DIR/run", &new).ok();
    as_of_earlier_version(&dir.join("third").join(step_name(4)), [&there, &here]);
    let other = ["data.split_seed=8"];
    phase(&dir, "refused", "DIR/third", &other).refused(&["would train on", "data.split_seed = 7"]);
    for key in ["\nseed = 7\n", "split_seed = 7\n"] {
        let config = fs::read_to_string(dir.join("third/config.toml")).unwrap();
        fs::write(dir.join("third/config.toml"), config.replace(key, "\n")).unwrap();
    }
    line(&dir, "resume DIR/third --override --set train.steps=6").ok();
    phase(&dir, "refused", "DIR/third", &other).refused(&["would train on", "data.split_seed = 7"]);

    // Data that are gone cannot be asked.
    fs::rename(dir.join("data/a.bin"), dir.join("data/moved.bin")).unwrap();
    fs::rename(dir.join("data/a.idx"), dir.join("data/moved.idx")).unwrap();
    let said = phase(&dir, "last", "DIR/run", &["data.train=[\"DIR/data/moved\"]", "data.split_seed=8"]);
    said.ok();
    assert!(
        said.err.contains("an earlier version wrote it") && said.err.contains("not checked"),
        "{}",
        said.err
    );
}
