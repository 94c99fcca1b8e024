//! What shells and `man` are given: completions that a shell runs, and a page per command.
use crate::support::*;
use clap::{Command, CommandFactory};
use std::collections::BTreeSet;
use std::fs;

/// Runs bash on `script`.
fn bash(dir: &Dir, script: &str) -> String {
    let mut command = assert_cmd::Command::new("bash");
    let output = command.current_dir(dir.path()).args(["--norc", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let dir = Dir::new();
    dir.write("rewarm.bash", line(&dir, "completions bash").ok());
    bash(&dir, "bash -n rewarm.bash");
    let complete = |words: &str| {
        let last = words.split(' ').count();
        let script = format!(
            "source rewarm.bash; COMP_WORDS=(rewarm {words}); COMP_CWORD={last}; \
             _rewarm rewarm \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[@]}}\"",
            last - 1
        );
        bash(&dir, &script)
    };
    assert_eq!(complete("tra"), "train\n");
    assert_eq!(complete("train --stop"), "--stop-after\n");
    assert_eq!(complete("schedule plot --x tok"), "tokens\n");
}

#[test]
fn every_shell_has_completions() {
    let dir = Dir::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = line(&dir, &format!("completions {shell}"));
        assert!(said.ok().contains("stop-after"), "{shell}: {}", said.out);
    }
    line(&dir, "completions tcsh").refused(&["tcsh", "bash", "zsh"]);
}

/// The names of the pages of `command`, by the help of each.
fn pages(command: &Command, name: &str, found: &mut BTreeSet<String>) {
    found.insert(format!("{name}.1"));
    for below in command.get_subcommands() {
        pages(below, &format!("{name}-{}", below.get_name()), found);
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = Dir::new();
    line(&dir, "man share/man1").ok();
    let written: BTreeSet<String> = fs::read_dir(dir.join("share/man1"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = BTreeSet::new();
    pages(&rewarm::cli::Cli::command(), "rewarm", &mut expected);
    assert_eq!(written, expected);
    assert!(written.contains("rewarm-data-tokenize.1"));
    for page in &written {
        let text = fs::read_to_string(dir.join("share/man1").join(page)).unwrap();
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(text.contains(part), "{page}: no {part}");
        }
    }
    // Again, over what is there; and where no directory can be.
    line(&dir, "man share/man1").ok();
    dir.write("file", "");
    line(&dir, "man file").refused(&["cannot create", "file"]);
}

/// `cargo test --release --test cli -- --ignored man_renders`.
#[test]
#[ignore = "many machines have no man that formats files"]
fn man_renders_the_pages() {
    let dir = Dir::new();
    line(&dir, "man pages").ok();
    let mut man = assert_cmd::Command::new("man");
    man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "200").arg("-l").arg(dir.join("pages/rewarm-train.1"));
    let page = String::from_utf8(man.assert().success().get_output().stdout.clone())
        .unwrap()
        .replace('\u{2010}', "-");
    assert!(page.contains("rewarm-train") && page.contains("stop-after"), "{page}");
}
