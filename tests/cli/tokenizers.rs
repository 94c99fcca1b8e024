//! One tokenizer, however its file is written, and never another one: in every command that has to do with two.
use crate::support::*;
use rewarm::checkpoint::{Disk, Manifest};
use rewarm::data::TextTokenizer;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Other bytes, the same ids: what other programs make of a file.
fn save_again(file: &mut Value) {
    file["truncation"] =
        json!({"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0});
    let merges = file["model"]["merges"].as_array_mut().unwrap();
    merges
        .iter_mut()
        .for_each(|m| *m = format!("{} {}", m[0].as_str().unwrap(), m[1].as_str().unwrap()).into());
    file["model"]["dropout"] = 0.1.into();
    file.sort_all_objects();
}

/// As many tokens, other ids.
fn another(file: &mut Value) {
    file["model"]["merges"].as_array_mut().unwrap().swap(0, 1);
}

/// The workshop with `again/` and `other/`: its tokenizer saved again, and another one.
fn tokenizers() -> Dir {
    let dir = workshop();
    for (name, edit) in [("again", save_again as fn(&mut Value)), ("other", another)] {
        fs::create_dir(dir.join(name)).unwrap();
        let path = dir.join(&format!("{name}/tokenizer.json"));
        fs::copy(dir.join("data/tokenizer.json"), &path).unwrap();
        edit_json(&path, edit);
        assert_ne!(fs::read(&path).unwrap(), fs::read(dir.join("data/tokenizer.json")).unwrap());
    }
    line(&dir, "data tokenize DIR/more.txt -o DIR/other/d --tokenizer DIR/other/tokenizer.json").ok();
    dir
}

const OTHERS: [&str; 3] =
    ["other/d.bin was made with another tokenizer", "other/tokenizer.json", "differ in vocabulary or merges"];

#[test]
fn another_tokenizer_is_refused_everywhere() {
    let dir = tokenizers();
    let own = ["data/tokenizer.json", "--tokenizer"];
    line(&dir, "eval DIR/run --data DIR/other/d --sequences 2")
        .refused(&[&OTHERS[..], &["--tokenizer"]].concat());
    line(&dir, "eval DIR/hf --data old=DIR/data/c --data new=DIR/other/d --sequences 2").refused(&OTHERS);
    line(&dir, "eval DIR/hf --data DIR/data/c --tokenizer DIR/other --sequences 2").refused(&[
        "other/tokenizer.json",
        "hf/tokenizer.json beside the model",
        "leave --tokenizer out",
    ]);
    line(&dir, "generate DIR/run --tokenizer DIR/other/tokenizer.json")
        .refused(&["other/tokenizer.json", "step-0000000040/tokenizer.json beside the model"]);
    line(&dir, "data inspect DIR/data/a --tokenizer DIR/other")
        .refused(&[&["data/a.bin was made with another", "other/tokenizer.json"], &own[..]].concat());
    let said = line(&dir, "data verify DIR/other/d --tokenizer DIR/data");
    assert!(said.code == 1 && OTHERS.iter().all(|word| said.out.contains(word)), "{}", said.out);
    line(&dir, "data tokenize DIR/more.txt -o DIR/other/e --tokenizer DIR/data")
        .refused(&["other/tokenizer.json is another tokenizer"]);

    // In training data, in a validation set, and from a model that has its own.
    for (set, advice) in [
        ("data.train=[\"DIR/other/d\",\"DIR/data/a\"]", "data.tokenizer"),
        (
            "data.validation=[{name=\"x\",paths=[\"DIR/other/d\"]}]",
            "or name the one of the data in data.tokenizer",
        ),
    ] {
        let set = set.replace("DIR", dir.path().to_str().unwrap());
        let said = rewarm(&dir, ["train", "DIR/run.toml", "--set", "run_dir=DIR/new", "--set", &set]);
        said.refused(&[
            "was made with another tokenizer",
            "other/tokenizer.json",
            "data/tokenizer.json",
            advice,
        ]);
        assert!(!dir.join("new/config.toml").exists());
    }
    dir.config("from.toml", FROM);
    line(&dir, "train DIR/from.toml").refused(
        &[&OTHERS[..], &["tokenize the texts again with --tokenizer", "hf/tokenizer.json"]].concat(),
    );
    // Data and key agree, and the model has another one.
    line(&dir, "train DIR/from.toml --set data.tokenizer=\"DIR/other/tokenizer.json\"").refused(&[
        "data.tokenizer names",
        "other/tokenizer.json, which is another tokenizer than",
        "hf/tokenizer.json of the model started from",
        "differ in vocabulary or merges",
        "leave data.tokenizer out",
    ]);
    line(&dir, "train DIR/from.toml --set data.tokenizer=\"DIR/other\" --set start.from=\"DIR/run\"")
        .refused(&["other/tokenizer.json, which is another", "step-0000000040/tokenizer.json"]);
    assert!(!dir.join("from").exists());
    let same = "train DIR/from.toml --set data.tokenizer=\"DIR/again\" --set data.train=[\"DIR/data/c\"]";
    line(&dir, same).ok();
    fs::remove_dir_all(dir.join("from")).unwrap();
    // A model speaks what lies beside it; one with nothing beside it, what it is given.
    fs::copy(dir.join("other/tokenizer.json"), dir.join("hf/tokenizer.json")).unwrap();
    line(&dir, "train DIR/from.toml").ok();
    fs::remove_dir_all(dir.join("from")).unwrap();
    fs::remove_file(dir.join("hf/tokenizer.json")).unwrap();
    line(&dir, "train DIR/from.toml --set data.tokenizer=\"DIR/other/tokenizer.json\"").ok();
}

const FROM: &str = r#"
run_dir = "DIR/from"
[start]
from = "DIR/hf"
[data]
train = ["DIR/other/d"]
seq_len = 32
[batch]
sequences = 2
[schedule]
name = "constant"
lr = 1e-3
[train]
steps = 1
"#;

#[test]
fn sets_of_two_tokenizers_are_refused_where_the_models_is_not_known() {
    let dir = tokenizers();
    fs::remove_file(dir.join("hf/tokenizer.json")).unwrap();
    line(&dir, "eval DIR/hf --data DIR/data/c --data DIR/other/d --sequences 2").refused(&[
        "data/c.bin and",
        "other/d.bin were made with different tokenizers",
        "--tokenizer FILE",
    ]);
    line(&dir, "eval DIR/hf --data DIR/data/c --data DIR/data/b --sequences 2").ok();
    line(&dir, "eval DIR/hf --data DIR/other/d --tokenizer DIR/other --sequences 2").ok();
}

#[test]
fn a_tokenizer_saved_again_is_accepted_everywhere() {
    let dir = tokenizers();
    line(&dir, "data tokenize DIR/more.txt -o DIR/data/d --tokenizer DIR/again/tokenizer.json").ok();
    assert_eq!(fs::read(dir.join("data/d.bin")).unwrap(), fs::read(dir.join("data/c.bin")).unwrap());
    line(&dir, "data tokenize DIR/more.txt -o DIR/again/d --tokenizer DIR/again").ok();
    assert_eq!(fs::read(dir.join("again/d.bin")).unwrap(), fs::read(dir.join("data/c.bin")).unwrap());
    line(&dir, "eval DIR/run --data DIR/again/d --sequences 2").ok();
    line(&dir, "generate DIR/run --tokenizer DIR/again --max-tokens 2").ok();
    line(&dir, "data inspect DIR/data/a --tokenizer DIR/again").ok();
    line(&dir, "data verify DIR/data/a DIR/data/d --tokenizer DIR/again").ok();
    let new = "train DIR/run.toml --set train.steps=2 --set schedule.warmup=0 --set run_dir=DIR/new --set data.tokenizer=\"DIR/again/tokenizer.json\"";
    line(&dir, new).ok();
    // What goes into checkpoints is the user's file.
    let kept = dir.join("new/step-0000000002/tokenizer.json");
    assert_eq!(fs::read(kept).unwrap(), fs::read(dir.join("again/tokenizer.json")).unwrap());
    line(&dir, "resume DIR/new --set data.tokenizer=\"DIR/data/tokenizer.json\"").ok();
}

/// A note as older versions wrote it.
fn older(note: &Path) {
    edit_json(note, |note| drop(note.as_object_mut().unwrap().remove("tokenizer_identity").unwrap()));
}

#[test]
fn notes_and_checkpoints_of_before_identities() {
    let dir = tokenizers();
    for name in ["data/a", "data/b", "data/c", "other/d"] {
        older(&dir.join(&format!("{name}.json")));
    }
    line(&dir, "eval DIR/run --data DIR/data/c --sequences 2").ok();
    line(&dir, "data inspect DIR/data/a --tokenizer DIR/again").ok();
    line(&dir, "eval DIR/run --data DIR/other/d --sequences 2").refused(&OTHERS);
    // Without the file that it was made with, other bytes are another tokenizer.
    fs::rename(dir.join("data/tokenizer.json"), dir.join("tokenizer.json")).unwrap();
    line(&dir, "data verify DIR/data/a --tokenizer DIR/tokenizer.json").ok();
    line(&dir, "data inspect DIR/data/a --tokenizer DIR/again").refused(&[
        "data/a.bin",
        "the hash of its file is",
        "again/tokenizer.json",
    ]);
    fs::rename(dir.join("tokenizer.json"), dir.join("data/tokenizer.json")).unwrap();

    // The checkpoint carries the hash of the bytes.
    let step = dir.join("run").join(steps(&dir.join("run")).last().unwrap());
    let hash = TextTokenizer::load(&step).unwrap().hash_hex();
    let mut manifest = Manifest::read(&Disk, &step).unwrap();
    assert_eq!(manifest.state.fingerprints.tokenizer, TextTokenizer::load(&step).unwrap().identity());
    manifest.state.fingerprints.tokenizer.clone_from(&hash);
    fs::write(step.join("manifest.json"), manifest.to_text()).unwrap();
    let longer = "resume DIR/run --override --set train.steps=42";
    rewarm(&dir, format!("{longer} --set data.tokenizer=\"DIR/other/tokenizer.json\"").split(' '))
        .refused(&["other/tokenizer.json"]);
    rewarm(&dir, format!("{longer} --set data.tokenizer=\"DIR/again/tokenizer.json\"").split(' ')).ok();
}

#[test]
fn another_tokenizer_in_place_of_the_runs_is_named_at_resume() {
    let dir = tokenizers();
    // Data without notes, so that only the run itself knows.
    for name in ["a", "b", "c"] {
        fs::remove_file(dir.join(&format!("data/{name}.json"))).unwrap();
    }
    line(&dir, "resume DIR/run --set data.tokenizer=\"DIR/other/tokenizer.json\"").refused(&[
        "the run was trained with the tokenizer",
        "step-0000000040/tokenizer.json",
        "other/tokenizer.json is another one",
        "data.tokenizer",
    ]);
}
