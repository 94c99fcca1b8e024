//! `examples/`: what the programs say, one after the other in one directory, and that the configurations are valid.
use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs an example in `dir`. `cargo test` builds them beside the command; `cargo test --test cli` does not.
fn example(dir: &Dir, name: &str, args: &[&str]) -> String {
    let binary = Path::new(REWARM).with_file_name("examples").join(name);
    assert!(binary.is_file(), "{} is not built: cargo build --release --examples", binary.display());
    let output = assert_cmd::Command::new(binary).current_dir(dir.path()).args(args).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes").join(name)
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn the_examples_teach_what_they_say() {
    let dir = Dir::new();
    let tiny = recipe("tiny.toml").display().to_string();

    let said = example(&dir, "shards", &[]);
    has(&said, &["2000 documents, 128000 tokens", "[0, 1, 2, 3, 4, 5, 6, 7] …", "is in epoch 256"]);
    // Document d counts in steps of 1 + d % 5: a target is the next token.
    let numbers: Vec<i32> =
        said.lines().last().unwrap().split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).collect();
    assert_eq!((numbers.len(), &numbers[1..4]), (8, &numbers[4..7]), "{said}");
    assert_eq!(example(&dir, "shards", &[]), said, "a second time reads what is there");

    has(
        &example(&dir, "schedule", &[&tiny]),
        &["200 steps, the first 10 of", "80      1.000e-2", "step 160, from 1.000e-2"],
    );
    has(
        &example(&dir, "schedule", &[]),
        &["1000 steps, the first 10 of", "step 210, from 1.000e-4", "step 1000, from 1.000e-5"],
    );

    let said = example(&dir, "train", &[&tiny, "threads=2"]);
    has(&said, &["68928 parameters", "200 steps, saved as runs/tiny/step-0000000200"]);
    let losses: Vec<f64> =
        said.lines().filter_map(|line| line.split_once("loss on heldout ")?.1.parse().ok()).collect();
    // Untrained it guesses among 128 tokens; then all but the size of a document's steps is known.
    assert!(losses.len() == 3 && losses[0] > 4.5 && losses[2] < 1.0, "{said}");

    let said = example(&dir, "checkpoint", &["runs/tiny"]);
    has(
        &said,
        &["step 200, 102400 tokens", "28 tensors, 68928 parameters", "model.safetensors", "embed_out.weight"],
    );
}

/// The README's configuration is the file that it names, and describes a run; the data need not be there for a plan.
#[test]
fn the_readmes_configuration_is_a_recipe() {
    let text = fs::read_to_string(recipe("continue.toml")).unwrap();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(
        readme.contains(&format!("```toml\n{text}```\n")),
        "README.md and examples/recipes/continue.toml differ"
    );

    let dir = Dir::new();
    example(&dir, "shards", &[]);
    let tiny = recipe("tiny.toml").display().to_string();
    let start = "--set train.steps=1 --set schedule.warmup=0 --set model.max_position_embeddings=512";
    line(&dir, &format!("train {tiny} {start}")).ok();
    line(&dir, "export runs/tiny pythia-70m").ok();
    dir.write("run.toml", text);
    let said = line(&dir, "plan run.toml --tokens-per-s 1000");
    has(said.ok(), &["T = 512)", "4 at once, 32 a step", "50003968"]);
}

#[test]
fn every_recipe_is_valid() {
    let files: Vec<PathBuf> = fs::read_dir(recipe("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2);
    for file in files {
        rewarm::config::Config::load(Some(&file), &[]).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}
