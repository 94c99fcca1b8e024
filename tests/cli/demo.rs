//! The demo in its short form, on two small folders.
use super::support::{Dir, REWARM, line};

/// `files` documents of text that differ from each other.
fn folder(dir: &Dir, name: &str, files: usize, sentence: &str) {
    for i in 0..files {
        let text: String =
            (0..80).map(|j| format!("{sentence} {} {}.\n", i * 31 % 97, (i + j * 7) % 89)).collect();
        dir.write(&format!("{name}/{i:03}.txt"), text);
    }
}

#[test]
fn the_demo_is_a_study_of_two_folders_with_its_page() {
    let dir = Dir::new();
    folder(&dir, "old", 40, "The river carries the boats of the morning past house number");
    folder(&dir, "new", 40, "let value = table.get(index).copied().unwrap_or_default(); // entry");
    let said = line(&dir, "demo --quick --dir DIR/out --upstream DIR/old --downstream DIR/new");
    assert_eq!(said.code, 0, "{}", said.err);
    for expected in [
        "constant",
        "re-warmed",
        "replay-25",
        "scratch",
        "peak",
        "Re-warming the learning rate",
        "written by",
    ] {
        assert!(said.out.contains(expected), "{expected:?} is missing: {}", said.out);
    }
    for expected in
        ["upstream: 120 of 360 steps", "constant: 60 of 240 steps, about ", "scratch: 60 of 60 steps, about "]
    {
        assert!(said.err.contains(expected), "{expected:?} is missing: {}", said.err);
    }
    let html = std::fs::read_to_string(dir.join("out/report.html")).unwrap();
    assert!(html.contains("\"name\":\"replay-25\"") && !html.contains("NaN"));
    for run in ["ancestors/upstream", "cells/constant", "cells/re-warmed", "cells/replay-25", "cells/scratch"]
    {
        assert!(dir.join(&format!("out/{run}/metrics.jsonl")).exists(), "{run}");
    }
    // What it leaves is a study like any other.
    let text = std::fs::read_to_string(dir.join("out/study.toml")).unwrap();
    assert!(text.starts_with("# Made by `") && text.contains("XXH3-128"), "{text}");
    let table = line(&dir, "study DIR/out/study.toml");
    assert!(table.code == 0 && said.out.contains(&table.out), "{}", table.err);
    let again = line(&dir, "demo --quick --dir DIR/out --upstream DIR/old --downstream DIR/new");
    again.refused(&["is not empty", "rewarm study ", "out/study.toml"]);
}

#[test]
fn without_its_crates_the_demo_says_what_to_do_and_leaves_nothing() {
    let dir = Dir::new();
    let mut demo = assert_cmd::Command::new(REWARM);
    let out = demo
        .current_dir(dir.path())
        .env("CARGO_HOME", dir.path())
        .args(["demo", "--quick"])
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for expected in ["lacks 72 of them", "cargo fetch --locked", "--upstream DIR --downstream DIR"] {
        assert!(said.contains(expected), "{expected:?} is missing: {said}");
    }
    assert!(!dir.join("demo").exists());
    // Nor does a folder that is not there: the second try meets an empty directory again.
    for _ in 0..2 {
        let said = line(&dir, "demo --quick --dir DIR/out --upstream DIR/none --downstream DIR/none");
        assert!(
            said.code == 1 && said.err.contains("none") && !said.err.contains("not empty"),
            "{}",
            said.err
        );
    }
}
