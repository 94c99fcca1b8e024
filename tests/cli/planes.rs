//! `data tokenize` with weights, and what `data verify` and `data inspect` say of them.
use crate::support::*;
use std::fs;
use std::process::Command;

const CHAT: &str = concat!(
    "{\"messages\": [{\"role\": \"user\", \"content\": \"What is it?\"}, ",
    "{\"role\": \"assistant\", \"content\": \"A letter.\"}], \"w\": 2}\n",
    "{\"messages\": [{\"from\": \"human\", \"value\": \"And that?\"}, {\"from\": \"gpt\", \"value\": \"\"}], \"w\": 0.5}\n",
);

/// A tokenizer with a chat template beside it, and conversations.
fn chats() -> Dir {
    let dir = Dir::new();
    dir.write("model/tokenizer.json", fs::read("tests/golden_chat/tokenizer.json").unwrap());
    let golden: serde_json::Value =
        serde_json::from_slice(&fs::read("tests/golden_chat/cases.json").unwrap()).unwrap();
    let config =
        serde_json::json!({ "chat_template": golden["templates"]["marked"], "eos_token": "<|endoftext|>" });
    dir.write("model/tokenizer_config.json", config.to_string());
    dir.write("chats.jsonl", CHAT);
    dir
}

#[test]
fn conversations_become_a_shard_and_its_weights() {
    let dir = chats();
    let said = line(&dir, "data tokenize DIR/chats.jsonl -o DIR/out/x --tokenizer DIR/model --chat messages");
    said.ok();
    let counted = said.out.lines().find(|line| line.contains("x.weights")).unwrap().to_owned();
    assert!(counted.contains("tokens count, by weights in f16"), "{counted}");
    let said = line(&dir, "data verify DIR/out/x");
    assert!(said.ok().contains("0 faults") && said.out.contains("x.weights: f16, "), "{}", said.out);
    assert!(line(&dir, "data inspect DIR/out/x").ok().contains("weights beside it (f16)"));
    let json = line(&dir, "data verify DIR/out/x --json");
    let json: serde_json::Value = serde_json::from_str(json.ok()).unwrap();
    let [zeros, tokens] = ["zeros", "tokens"].map(|key| json["weights"][0][key].as_u64().unwrap());
    assert!(
        zeros > 0 && zeros < tokens && counted.contains(&format!("{} of {tokens} tokens", tokens - zeros))
    );
    // By both: what the assistant says counts as its line has it.
    line(
        &dir,
        "data tokenize DIR/chats.jsonl -o DIR/both/x --tokenizer DIR/model --chat messages --weights-field w",
    )
    .ok();
    let weights = fs::read(dir.join("both/x.weights")).unwrap();
    let distinct: std::collections::BTreeSet<_> = weights[24..].as_chunks::<2>().0.iter().collect();
    assert_eq!(distinct.len(), 3, "0, 2 and 0.5: {distinct:?}");
    assert!(fs::read(dir.join("both/x.bin")).unwrap() == fs::read(dir.join("out/x.bin")).unwrap());
}

#[test]
fn what_weights_cannot_be_made_of_is_refused_and_leaves_nothing() {
    let dir = chats();
    dir.write("torn.jinja", "{% for m in messages %}");
    dir.write("late.jinja", "{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}");
    fs::copy(dir.join("model/tokenizer.json"), dir.join("alone.json")).unwrap();
    let to = "data tokenize DIR/chats.jsonl -o DIR/out/x";
    for (arguments, words) in [
        (
            "--tokenizer DIR/alone.json --chat messages",
            &["neither a chat_template.jinja", "--chat-template FILE"][..],
        ),
        ("--vocab-size 400 --chat messages", &["no tokenizer", "--chat-template FILE"]),
        (
            "--tokenizer DIR/model --chat messages --chat-template DIR/torn.jinja",
            &["torn.jinja", "template of Jinja"],
        ),
        ("--tokenizer DIR/model --chat messages --chat-template DIR/none", &["cannot read", "none"]),
        (
            "--tokenizer DIR/model --chat messages --chat-template DIR/late.jinja",
            &["chats.jsonl line 1", "late.jinja", "{% generation %}"],
        ),
        ("--tokenizer DIR/model --chat other", &["chats.jsonl line 1", "\"messages\"", "--chat"]),
        ("--tokenizer DIR/model --chat messages --field text", &["--chat", "--field"]),
        ("--tokenizer DIR/model --train-roles user", &["--chat"]),
        ("--tokenizer DIR/model --unlikelihood", &["--weights-field"]),
        ("--tokenizer DIR/model --weights-type u8", &["--weights-field", "--chat"]),
        (
            "--tokenizer DIR/model --chat messages --weights-field w --weights-type u8",
            &["line 2", "0.5", "--weights-type f16"],
        ),
        ("--tokenizer DIR/model --chat messages --weights-field nothing", &["line 1", "--weights-field"]),
    ] {
        let said = line(&dir, &format!("{to} {arguments}"));
        assert_ne!(said.code, 0, "{arguments}");
        assert!(words.iter().all(|word| said.err.contains(word)), "{arguments}: {}", said.err);
        let left = fs::read_dir(dir.join("out")).map_or(0, |entries| entries.count());
        assert_eq!(left, 0, "{arguments}");
    }
}

#[test]
fn of_two_at_once_one_writes_shard_and_weights() {
    let dir = chats();
    let line_of = |i: u64| serde_json::json!({ "text": english(i, 300), "w": i % 3 }).to_string() + "\n";
    dir.write("many.jsonl", (0..20_000).map(line_of).collect::<String>());
    let start = || {
        let mut command = Command::new(REWARM);
        command.current_dir(dir.path()).args([
            "data",
            "tokenize",
            "many.jsonl",
            "-o",
            "out/x",
            "--tokenizer",
            "model",
        ]);
        command.args(["--weights-field", "w", "--weights-type", "u8"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let ended = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let done = ended.iter().filter(|output| output.status.success()).count();
    assert_eq!(done, 1, "{ended:?}");
    let said = line(&dir, "data verify DIR/out/x");
    assert!(said.ok().contains("0 faults") && said.out.contains("x.weights: u8, "), "{}", said.out);
    assert_eq!(
        fs::read_dir(dir.join("out")).unwrap().count(),
        6,
        "shard, hashes, weights, note and tokenizer"
    );
}
