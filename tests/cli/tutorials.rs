//! The tutorials, as they stand: files are written, commands are run by a shell, in a directory with a small model of random
//! weights in the place of Pythia-160M.
use crate::support::*;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A fenced block of the page: its language and its text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, block)) = rest.split_once("\n```") {
        let (language, block) = block.split_once('\n').expect("a line of its own");
        let (text, after) = block.split_once("```").expect("a block ends");
        found.push((language, text));
        rest = after;
    }
    found
}

/// Files are written, commands are taken in their order; those of lm_eval where they are asked for.
fn script(dir: &Dir, with_lm_eval: bool) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorials.md")).unwrap();
    let mut script = "set -euo pipefail\n".to_string();
    let (mut files, mut commands) = (0, 0);
    for (language, text) in blocks(&page) {
        match language {
            "sh" if text.starts_with("# with lm_eval") && !with_lm_eval => {}
            "sh" => {
                commands += text.lines().filter(|line| line.starts_with("rewarm")).count();
                write!(script, "{text}").unwrap();
            }
            "toml" | "yaml" => {
                files += 1;
                let name = text.lines().next().and_then(|line| line.strip_prefix("# ")).expect("its name");
                dir.write(name, text);
            }
            "text" => {}
            other => panic!("a block of {other}"),
        }
    }
    assert!(files >= 4 && commands >= 18, "{files} files, {commands} commands");
    script
}

/// `mine.jsonl`, `old.jsonl`, `questions.jsonl` and `pythia-160m`: six blocks of width 64, a context of 2,048, its own tokenizer.
fn what_a_reader_has(dir: &Dir) {
    let jsonl = |seed: u64| -> String {
        let document = |i| serde_json::json!({ "text": english(seed + i, 2_000) }).to_string() + "\n";
        (0..250).map(document).collect()
    };
    dir.write("mine.jsonl", jsonl(100));
    dir.write("old.jsonl", jsonl(900));
    let question = |i: u64| {
        let text = english(40 + i, 200);
        let (question, answer) = text.split_once(' ').unwrap();
        serde_json::json!({ "question": question, "answers": [answer, "of of of of"], "right": 0 })
            .to_string()
            + "\n"
    };
    dir.write("questions.jsonl", (0..8).map(question).collect::<String>());
    line(dir, "data tokenize old.jsonl --vocab-size 512 -o stand-in/data").ok();
    let config = "run_dir = \"stand-in/run\"\nmodel = { vocab_size = 512, hidden_size = 64, num_hidden_layers = 6, \
                  num_attention_heads = 4, max_position_embeddings = 2048 }\n\
                  data = { train = [\"stand-in/data\"], seq_len = 32 }\nbatch = { sequences = 1 }\n\
                  schedule = { name = \"constant\", lr = 1e-9 }\ntrain = { steps = 1 }\n";
    dir.write("stand-in.toml", config);
    line(dir, "train stand-in.toml").ok();
    line(dir, "export stand-in/run pythia-160m").ok();
    fs::remove_dir_all(dir.join("stand-in")).unwrap();
}

/// Runs it with `rewarm` on the path, and `more` before that.
fn run(dir: &Dir, script: &str, more: &str) -> String {
    let here = Path::new(REWARM).parent().unwrap().display();
    let path = format!("{more}{here}:{}", std::env::var("PATH").unwrap());
    let mut bash = assert_cmd::Command::new("bash");
    let bash = bash.current_dir(dir.path()).env("PATH", path).args(["-c", script]);
    let out = bash.timeout(Duration::from_secs(600)).output().unwrap();
    let [said, errors] = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(out.status.success(), "{said}\n{errors}");
    said
}

#[test]
fn every_command_of_the_tutorials_runs() {
    let dir = Dir::new();
    what_a_reader_has(&dir);
    let said = run(&dir, &script(&dir, false), "");
    for words in ["heldout-mine", "heldout-old", "lr=3e-5", "lr=3e-4", "recovered"] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    for file in ["out/mine/model.safetensors", "rates.svg", "report.html", "choice.html"] {
        assert!(dir.join(file).exists(), "{file}");
    }
    let curves = fs::read_to_string(dir.join("curves.csv")).unwrap();
    assert!(curves.starts_with("run,step,") && curves.contains("runs/replay,60,"), "{curves}");
}

/// `LM_EVAL_BIN` is the folder of a Python environment with lm_eval.
#[test]
#[ignore = "needs lm_eval, which tools/nightly.sh installs"]
fn an_export_is_evaluated_by_lm_eval() {
    let bin = std::env::var("LM_EVAL_BIN").expect("LM_EVAL_BIN names the folder of lm_eval");
    let dir = Dir::new();
    what_a_reader_has(&dir);
    run(&dir, &script(&dir, true), &format!("{bin}:"));
    let found = walkdir::WalkDir::new(dir.join("lm_eval")).into_iter().filter_map(Result::ok);
    let results: Vec<_> =
        found.filter(|file| file.file_name().to_string_lossy().starts_with("results")).collect();
    let text = fs::read_to_string(results[0].path()).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of = &results["results"]["mine"];
    assert!((0.0..=1.0).contains(&of["acc,none"].as_f64().unwrap()), "{of}");
    assert_eq!(results["n-samples"]["mine"]["effective"], 8);
}
