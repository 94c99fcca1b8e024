//! `data tokenize` as people call it: pipes, a second run beside the first, and no tokenizer named.
use crate::support::*;
use std::fs;
use std::process::{Command, Stdio};

/// Runs a shell command in `dir` with the binary as `$REWARM`.
fn shell(dir: &Dir, command: &str) -> Said {
    let started = std::time::Instant::now();
    let mut bash = Command::new("bash");
    bash.args(["-c", command]).current_dir(dir.path()).env("REWARM", REWARM).stdin(Stdio::null());
    Said::of(bash.output().unwrap(), started.elapsed())
}

fn bytes(dir: &Dir, name: &str) -> [Vec<u8>; 3] {
    ["bin", "idx", "json"].map(|suffix| fs::read(dir.join(&format!("{name}.{suffix}"))).unwrap())
}

/// The texts of the fixture in two files.
fn texts() -> Dir {
    let dir = Dir::new();
    dir.write("a.txt", english(1, 30_000));
    let line = |i: u64| serde_json::json!({ "text": english(100 + i, 500), "id": i }).to_string() + "\n";
    dir.write("b.jsonl", (0..40).map(line).collect::<String>());
    dir
}

#[test]
fn pipes_give_what_files_give() {
    let dir = texts();
    line(&dir, "data tokenize DIR/a.txt DIR/b.jsonl -o DIR/files/x --vocab-size 400").ok();
    let expected = bytes(&dir, "files/x");
    let tokenizer = fs::read(dir.join("files/tokenizer.json")).unwrap();
    // Trained on a pipe and then tokenized: both read all of it.
    for (to, command) in [
        ("stdin", "cat b.jsonl | $REWARM data tokenize a.txt - -o stdin/x --vocab-size 400"),
        ("fifo", "$REWARM data tokenize <(cat a.txt) <(cat b.jsonl) -o fifo/x --vocab-size 400"),
        ("packed", "$REWARM data tokenize <(gzip -c a.txt) <(gzip -c b.jsonl) -o packed/x --vocab-size 400"),
        (
            "slow",
            "(head -c 10 b.jsonl; sleep 0.3; tail -c +11 b.jsonl) | $REWARM data tokenize a.txt - -o slow/x --vocab-size 400",
        ),
        ("device", "$REWARM data tokenize a.txt /dev/stdin -o device/x --vocab-size 400 < b.jsonl"),
        ("redirect", "$REWARM data tokenize a.txt - -o redirect/x --vocab-size 400 < b.jsonl"),
        ("given", "cat b.jsonl | $REWARM data tokenize a.txt - -o given/x --tokenizer files"),
        (
            "said",
            "cat b.jsonl | $REWARM data tokenize a.txt - -o said/x --tokenizer files --format auto --field text",
        ),
    ] {
        let said = shell(&dir, command);
        assert!(said.ok().contains("41 documents"), "{command}: {}", said.out);
        assert!(bytes(&dir, &format!("{to}/x")) == expected, "{command}");
        assert!(fs::read(dir.join(&format!("{to}/tokenizer.json"))).unwrap() == tokenizer, "{command}");
    }
    // Nothing but the output stays.
    assert_eq!(
        fs::read_dir(dir.join("stdin")).unwrap().count(),
        fs::read_dir(dir.join("files")).unwrap().count()
    );
    for (command, words) in [
        ("cat a.txt | $REWARM data tokenize - - -o n/x --tokenizer files", &["- is named twice"][..]),
        (
            "cat a.txt | $REWARM data tokenize - /dev/stdin -o n/x --tokenizer files",
            &["/dev/stdin is named twice"],
        ),
        (
            "$REWARM data tokenize - -o n/x --tokenizer files < /dev/null",
            &["holds no text", "the standard input"],
        ),
        (
            "printf '\\xff' | $REWARM data tokenize - -o n/x --tokenizer files",
            &["the standard input", "UTF-8"],
        ),
        (
            "xz -c < a.txt | $REWARM data tokenize - -o n/x --tokenizer files",
            &["the standard input is xz", "xz -dc"],
        ),
    ] {
        if !command.starts_with("xz") || shell(&dir, "xz --version").code == 0 {
            shell(&dir, command).refused(words);
        }
    }
    assert!(!dir.join("n/x.bin").exists());
}

#[test]
fn a_second_run_does_not_read_what_the_first_wrote() {
    let dir = texts();
    line(&dir, "data tokenize DIR -o DIR/x --vocab-size 400").ok();
    let first = bytes(&dir, "x");
    // Beside its own files, those of a run that was killed, and those of another format.
    dir.write("y.bin.tmp", "half");
    dir.write("z.bin.tmp-12-0", "half");
    dir.write("tokenizer.json.lock", "1");
    dir.write("z.lock", "1");
    let mut header = vec![0u8; 1024];
    header[..4].copy_from_slice(&20240520i32.to_le_bytes());
    dir.write("fineweb.bin", header);
    dir.write("run/config.toml", "");
    dir.write("run/metrics.jsonl", "{}\n");
    dir.write("model/config.json", "{}");
    dir.write("model/model.safetensors", "x");
    dir.write("model/merges.txt", "a b\n");
    let said = line(&dir, "data tokenize DIR -o DIR/w");
    for word in [
        "41 documents",
        "from 2 files",
        "token shards",
        "notes of token shards",
        "1 tokenizers",
        "unfinished shards",
        "locks of token shards",
        "1 runs",
        "1 models",
    ] {
        assert!(said.ok().contains(word), "{word} is missing in: {}", said.out);
    }
    assert_eq!(bytes(&dir, "w")[..2], first[..2]);
    // A lock of another program is text.
    dir.write("code/Cargo.lock", "[[package]]\n");
    line(&dir, "data tokenize DIR/code -o DIR/code/out --tokenizer DIR").ok();
    for own in ["x.json", "tokenizer.json", "x.idx", "x.bin"] {
        line(&dir, &format!("data tokenize DIR/{own} -o DIR/v")).refused(&[
            own,
            "is no text",
            "leave it out",
        ]);
    }
}

#[test]
fn without_a_tokenizer_both_ways_are_shown() {
    let dir = texts();
    line(&dir, "data tokenize DIR/a.txt -o DIR/new/x").refused(&[
        "no tokenizer was named",
        "a.txt -o",
        "new/x --tokenizer MODEL/tokenizer.json`",
        "--vocab-size 8192`",
    ]);
    assert!(!dir.join("new").exists());
    line(&dir, "data tokenize DIR/a.txt -o DIR/new/x --vocab-size 400").ok();
    // Where the output goes there is one.
    let said = line(&dir, "data tokenize DIR/b.jsonl -o DIR/new/y");
    said.ok();
    assert!(said.err.contains("new/tokenizer.json, where the output goes"), "{}", said.err);
    line(&dir, "data tokenize DIR/b.jsonl -o DIR/new/z --vocab-size 300")
        .refused(&["new/tokenizer.json is there already", "leave --vocab-size out"]);
    line(&dir, "data tokenize DIR/a.txt -o DIR/new/z --format csv")
        .one_error(&["csv", "auto, text, jsonl, json"]);
}

#[test]
fn an_empty_prompt_starts_from_the_end_of_text() {
    let dir = workshop();
    let greedy = "generate DIR/run --max-tokens 12 --temperature 0";
    let said = rewarm(&dir, [greedy.split(' ').collect::<Vec<_>>(), vec!["--prompt", ""]].concat());
    // As from the token itself, whose spelling is then printed in front.
    let spelled =
        rewarm(&dir, [greedy.split(' ').collect::<Vec<_>>(), vec!["--prompt", "<|endoftext|>"]].concat());
    assert_eq!(format!("<|endoftext|>{}", said.ok()), spelled.ok());
    assert!(said.out.trim().len() > 3, "{:?}", said.out);
}
