//! `rewarm import` and what comes after it: a phase that goes on with GPT-NeoX's moments, and what such a checkpoint is not.
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn case(name: &str) -> String {
    format!("{}/tests/checkpoint/neox/{name}", env!("CARGO_MANIFEST_DIR"))
}

const NEXT: &str = r#"
run_dir = "DIR/run"
threads = 1
[start]
from = "DIR/neox"
optimizer = "keep"
[data]
train = ["raw-u16:DIR/tokens.bin"]
seq_len = 16
[batch]
sequences = 2
micro = 2
[schedule]
lr = 1e-4
[train]
steps = 2
"#;

#[test]
fn a_phase_goes_on_with_the_moments_of_gpt_neox() {
    let dir = Dir::new();
    let said = line(&dir, &format!("import {0} DIR/neox --like {0}/like", case("v2")));
    assert!(said.ok().trim_end().ends_with("/neox"), "{}", said.out);
    for word in ["37 steps, 36 of them applied", "7.5e-4", "1 layers of 32"] {
        assert!(said.err.contains(word), "{word:?} is missing in: {}", said.err);
    }
    dir.write("tokens.bin", (0..4000u16).flat_map(|i| (i * 7 % 31).to_le_bytes()).collect::<Vec<u8>>());
    dir.config("next.toml", NEXT);
    let said = line(&dir, "train DIR/next.toml");
    said.ok();
    for word in ["weights, moments, counters (36 updates, 37 steps of the chain)", "/neox"] {
        assert!(said.err.contains(word), "{word:?} is missing in: {}", said.err);
    }
    let manifest = fs::read(dir.join("run/step-0000000002/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["state"]["applied"], 38);
    let said = line(&dir, "train DIR/next.toml --set run_dir=DIR/last --set schedule.lr=previous");
    assert!(said.ok().contains("done: 2 steps"), "{}", said.out);
    let first: Value = log(&dir.join("last"))[0].clone();
    assert_eq!(log(&dir.join("last")).iter().find_map(|line| line["lr"].as_f64()), Some(0.00075), "{first}");
    // A model as every other, and no run.
    line(&dir, "export DIR/neox DIR/hf").ok();
    let refuse = |command: &str, words: &[&str]| line(&dir, command).refused(words);
    refuse(
        "train DIR/next.toml --set run_dir=DIR/no --set start.data=continue",
        &["no position in the data"],
    );
    refuse("branch DIR/neox DIR/no", &["without the configuration"]);
    refuse("resume DIR/neox", &["DIR/neox".trim_start_matches("DIR/")]);
    assert!(!dir.join("no").exists());
}

#[test]
fn what_import_refuses() {
    let dir = Dir::new();
    let refuse = |command: &str, words: &[&str]| line(&dir, command).refused(words);
    fs::create_dir(dir.join("there")).unwrap();
    refuse(&format!("import {} DIR/there", case("v1")), &["exists"]);
    refuse(&format!("import {} DIR/out", case("v1")), &["no published Pythia", "--like"]);
    refuse("import DIR/there DIR/out", &["holds no checkpoint of GPT-NeoX"]);
    refuse(&format!("eval {} --data DIR/x", case("v1")), &["rewarm import"]);
    // A pickle that calls something, as a model.
    refuse(&format!("export {} DIR/out", case("pickles/calls")), &["calls posix.system"]);
    assert!(!dir.join("out").exists() && !dir.join("called").exists() && !Path::new("called").exists());
    line(&dir, &format!("export {} DIR/out", case("pickles/sharded"))).ok();
}
