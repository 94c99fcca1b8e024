//! The `data` sub-commands as a user calls them.
use rewarm::cli::data::{self as command, DataCommand};
use rewarm::{Error, Result, data};

use clap::Parser;
use std::path::Path;
use tempfile::tempdir;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: DataCommand,
}

fn run(folder: &Path, line: &str) -> Result<()> {
    let line = line.replace("DIR", folder.to_str().unwrap());
    command::run(Cli::try_parse_from(["data"].into_iter().chain(line.split_whitespace())).unwrap().command)
}

#[test]
fn tokenize_inspect_verify() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "the cat sat on the mat and the cat sat on the hat").unwrap();
    run(dir.path(), "tokenize DIR/a.txt -o DIR/out/a --vocab-size 300").unwrap();
    run(dir.path(), "tokenize DIR/a.txt -o DIR/out/b --tokenizer DIR/out/tokenizer.json --no-eod").unwrap();
    run(dir.path(), "inspect DIR/out --tokenizer DIR/out/tokenizer.json").unwrap();
    run(dir.path(), "inspect DIR/out --json").unwrap();
    run(dir.path(), "verify DIR/out").unwrap();
    run(dir.path(), "verify DIR/out/a --tokenizer DIR/out --json").unwrap();
    let faults = run(dir.path(), "verify DIR/out/a --vocab-size 5").unwrap_err();
    assert_eq!(faults.exit_code(), 1);
    assert!(matches!(faults, Error::Refused(_)));
    assert!(run(dir.path(), "tokenize DIR/a.txt -o DIR/out/a --vocab-size 300").is_err());
    let corpus = data::Corpus::open(&[dir.path().join("out").display().to_string()]).unwrap();
    assert_eq!(corpus.documents(), 2);
}

#[test]
fn arguments_that_contradict() {
    let parse = |line: &str| Cli::try_parse_from(line.split_whitespace()).is_err();
    assert!(parse("data tokenize a -o b --vocab-size 300 --tokenizer t"));
    assert!(parse("data tokenize a -o b --vocab-size 300 --no-eod --eod-token x"));
    assert!(parse("data tokenize -o b --vocab-size 300"));
    assert!(parse("data inspect"));
}
