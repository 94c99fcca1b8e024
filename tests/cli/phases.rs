//! Data that live from phase to phase: sources that go on, lengths that change, stages, replay in the order of before.
use crate::support::*;
use serde_json::Value;

/// Sources of numbers that count up, from different ones on: 2,000, 1,200 and 300 tokens.
fn dir() -> Dir {
    let dir = Dir::in_memory();
    for (name, first, tokens) in [("a", 0u16, 2000u16), ("b", 2000, 1200), ("c", 3200, 300)] {
        let bytes: Vec<u8> = (first..first + tokens).flat_map(u16::to_le_bytes).collect();
        dir.write(&format!("{name}.bin"), bytes);
    }
    dir
}

const HEAD: &str = r#"
run_dir = "DIR/NAME"
threads = 1
schedule = { lr = 1e-3, warmup = 0 }
train = { steps = 10 }
eval = { every = 0, sequences = 1 }
checkpoint = { every = 5 }
batch = { sequences = 4 }
"#;

const SCRATCH: &str = "model = { vocab_size = 4096, hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, \
                       rotary_pct = 0.5, max_position_embeddings = 32 }\n";

/// A configuration `NAME.toml` of a run from scratch, or from another one in whose data it goes on.
fn phase(dir: &Dir, name: &str, from: Option<&str>, data: &str) -> String {
    let model = from
        .map_or(SCRATCH.into(), |from| format!("start = {{ from = \"DIR/{from}\", data = \"continue\" }}\n"));
    let text = format!("{HEAD}{model}[data]\n{data}").replace("NAME", name);
    dir.config(&format!("{name}.toml"), &text);
    format!("train DIR/{name}.toml")
}

fn source(name: &str, keys: &str) -> String {
    format!("[[data.mixture]]\nname = \"{name}\"\npaths = [\"raw-u16:DIR/{name}.bin\"]\n{keys}\n")
}

fn json(said: &Said) -> Value {
    serde_json::from_str(said.ok()).unwrap()
}

/// Tokens of the shards that a step reads, row by row.
fn read(dir: &Dir, of: &str, step: u64) -> Vec<(String, Vec<[u64; 2]>)> {
    let rows = json(&line(dir, &format!("data where DIR/{of} --step {step} --json")));
    let parts = |row: &Value| {
        let parts = row["documents"].as_array().unwrap().iter();
        parts.map(|part| [0, 1].map(|i| part["shard_tokens"][i].as_u64().unwrap())).collect()
    };
    rows.as_array().unwrap().iter().map(|row| (row["source"].as_str().unwrap().into(), parts(row))).collect()
}

fn given(dir: &Dir, of: &str, step: u64, name: &str) -> [f64; 3] {
    let counts = json(&line(dir, &format!("data mix DIR/{of} --step {step} --json")));
    ["samples", "tokens", "epochs"].map(|key| counts[0]["sources"][name][key].as_f64().unwrap())
}

#[test]
fn a_longer_sequence_goes_on_at_a_token_where_windows_are_kept() {
    let dir = dir();
    let two = source("a", "") + &source("b", "");
    line(&dir, &phase(&dir, "short", None, &format!("seq_len = 8\n{two}"))).ok();
    line(&dir, &phase(&dir, "first", None, &format!("seq_len = 8\nwindow = 32\n{two}"))).ok();

    // Windows as long as sequences have no token at which longer ones go on; those that are kept do.
    let longer = phase(&dir, "refused", Some("short"), &format!("seq_len = 24\n{two}"));
    line(&dir, &longer).refused(&[
        "\"a\"",
        "data.seq_len is 8",
        "24 now",
        "data.window as long as the longest",
    ]);
    let shorter = phase(&dir, "refused", Some("short"), &format!("seq_len = 4\n{two}"));
    line(&dir, &shorter).refused(&["data.seq_len is 8", "4 now", "set data.window = 8", "\"restart\""]);
    let other = phase(&dir, "refused", Some("first"), &format!("seq_len = 8\nwindow = 64\n{two}"));
    line(&dir, &other).refused(&["data.window is 32", "64 now", "set data.window = 32"]);
    assert!(!dir.join("refused").exists());

    let second = phase(
        &dir,
        "second",
        Some("first"),
        &format!("seq_len = 24\n{}{}", source("c", "epochs = 2"), source("a", "")),
    );
    let planned = read(&dir, "second.toml", 1);
    let said = line(&dir, &second);
    said.ok();
    let at = given(&dir, "first", 10, "a")[1] as u64;
    for words in [
        "source c: new, begins at token 0".to_owned(),
        format!("source a: known, goes on at token {at} of its order"),
        format!("source b: dropped, stays at token {} of its order", given(&dir, "first", 10, "b")[1]),
    ] {
        assert!(said.err.contains(&words), "{words:?} is missing in {}", said.err);
    }
    assert_eq!(read(&dir, "second", 1), planned);
    assert!((1..=10).any(|step| read(&dir, "second", step).iter().any(|(_, parts)| parts.len() == 2)));
    // Half of 40 samples of 24 tokens each, and what was given before.
    let [_, tokens, epochs] = given(&dir, "second", 10, "a");
    assert_eq!(tokens, at as f64 + 20.0 * 24.0);
    assert!((epochs - tokens / (1999 / 32 * 32) as f64).abs() < 1e-9);
    // A source that was dropped goes on in a third phase, whatever its name; windows are inherited.
    let third = phase(
        &dir,
        "third",
        Some("second"),
        &format!("seq_len = 16\n{}", source("b", "").replace("\"b\"", "\"again\"")),
    );
    let said = line(&dir, &third);
    said.ok();
    assert!(
        said.err
            .contains(&format!("source again: known, goes on at token {}", given(&dir, "first", 10, "b")[1]))
    );
    assert!(std::fs::read_to_string(dir.join("third/config.toml")).unwrap().contains("window = 32"));
    // Where a document is asked for that only the first part of the chain had, no step of this run reads it.
    line(&dir, "data where DIR/third --document c.bin:0")
        .refused(&["no shard of the training data is called c.bin"]);
}

/// Stages of the data, as nanotron's: the shares of each begin at a token of the run.
#[test]
fn stages_are_phases_of_fractions() {
    let dir = dir();
    let stages = |first: f64, then: f64| {
        let phase = |length: &str, to: f64| format!("{{shape=\"constant\"{length}, from={to}}}");
        let phases = [phase(", length=\"480 tokens\"", first), phase("", then)].join(", ");
        format!("fraction = {first}\nfraction_phases = [{phases}]")
    };
    let data =
        format!("seq_len = 8\n{}{}", source("a", &stages(0.75, 0.25)), source("b", &stages(0.25, 0.75)));
    // A step takes 4 samples of 8 tokens: the stage ends with step 15.
    line(&dir, &(phase(&dir, "staged", None, &data) + " --set train.steps=30")).ok();
    let a = |step| given(&dir, "staged", step, "a")[0];
    assert_eq!((a(15), a(23), a(30)), (45.0, 53.0, 60.0));
}

/// Compute-equivalent replay: the order of the run before, from the beginning or behind what it has read.
#[test]
fn replay_follows_the_order_of_its_run() {
    let dir = dir();
    let first = phase(&dir, "first", None, "seq_len = 8\nseed = 5\ntrain = [\"raw-u16:DIR/a.bin\"]\n");
    line(&dir, &first).ok();
    let replay = |keys: &str| source("b", "") + &source("a", &format!("fraction = 0.5\nseed = 5\n{keys}"));
    let rows = |of: &str, steps: std::ops::RangeInclusive<u64>| -> Vec<Vec<[u64; 2]>> {
        let all = steps.flat_map(|step| read(&dir, of, step));
        all.filter(|(source, _)| source != "b").map(|(_, parts)| parts).collect()
    };
    for (name, keys, behind) in [("again", "", 0), ("behind", "offset = \"after:DIR/first\"", 40)] {
        phase(&dir, name, None, &format!("seq_len = 8\nseed = 99\n{}", replay(keys)));
        phase(&dir, "whole", None, "seq_len = 8\nseed = 5\ntrain = [\"raw-u16:DIR/a.bin\"]\n");
        let text =
            std::fs::read_to_string(dir.join("whole.toml")).unwrap().replace("steps = 10", "steps = 40");
        dir.write("whole.toml", text);
        let expected = rows("whole.toml", behind / 4 + 1..=behind / 4 + 5);
        assert_eq!(rows(&format!("{name}.toml"), 1..=10), expected, "{name}");
    }
    // Without the key it is another order.
    phase(&dir, "other", None, &format!("seq_len = 8\nseed = 99\n{}", replay("").replace("seed = 5", "")));
    assert_ne!(rows("other.toml", 1..=10), rows("whole.toml", 1..=5));
}

#[test]
fn a_part_of_a_source_is_read_several_times_in_another_order_each() {
    let dir = dir();
    let data =
        format!("seq_len = 8\n{}{}", source("a", "subset = 160\nepochs = 3"), source("b", "weight = 2"));
    line(&dir, &phase(&dir, "subset", None, &data)).ok();
    let rows: Vec<_> =
        (1..=10).flat_map(|step| read(&dir, "subset", step)).filter(|row| row.0 == "a").collect();
    let [samples, _, epochs] = given(&dir, "subset", 10, "a");
    assert!(epochs < 1.0 && rows.len() as f64 == samples, "{}", rows.len());
    let long = "data mix DIR/subset.toml --set train.steps=40 --step 40 --json";
    let epochs = json(&line(&dir, long))[0]["sources"]["a"]["epochs"].as_f64().unwrap();
    assert!((epochs - 53.0 / 20.0).abs() < 0.06, "{epochs}");
    line(&dir, "train DIR/subset.toml --set train.steps=60 --set run_dir=\"DIR/more\"")
        .refused(&["\"a\"", "4.00 epochs"]);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let dir = dir();
    let two = source("a", "") + &source("b", "");
    line(&dir, &phase(&dir, "first", None, &format!("seq_len = 8\nwindow = 32\n{two}"))).ok();
    let all = |keys: &str| format!("seq_len = 8\n{}{}", source("a", ""), source("c", keys));
    let before = tree(dir.path());
    for (from, data, words) in [
        (None, all("offset = 296"), ["\"c\"", "begin at token 296", "an epoch of it has 296"]),
        (None, all("offset = 5000\nepochs = 2"), ["begin at token 5000", "ends at token 592", "epochs"]),
        (None, all("subset = 100000"), ["source \"c\"", "its subset is 100000", "all of them have 296"]),
        (None, all("order = \"sorted:quality\""), ["source \"c\"", "c.quality.f32", "cannot read"]),
        (None, all("order = \"best\""), ["data.mixture[1].order", "sorted:KEY", "best"]),
        (
            None,
            all("").replacen("seq_len", "window = 4\nseq_len", 1),
            ["data.window is 4", "data.seq_len 8", "raise"],
        ),
        (
            None,
            all("").replacen("seq_len", "window = 400\nseq_len", 1),
            ["source \"c\"", "300 tokens", "400 + 1"],
        ),
        (Some("first"), all("").replacen("raw-u16:DIR/a", "raw-u16:DIR/c", 1), ["c.bin", "\"a\"", "\"c\""]),
        (
            Some("first"),
            "seq_len = 8\ntrain = [\"raw-u16:DIR/c.bin\"]\n".into(),
            ["the fingerprint of the corpus", "no source is one that the run read from", "restart"],
        ),
        (
            Some("first"),
            format!("seq_len = 8\n{}", source("a", "offset = 80")),
            ["\"a\"", "offset", "remove one"],
        ),
        (
            Some("first"),
            format!("seq_len = 8\n{}", source("a", "seed = 9")),
            ["\"a\"", "data.seed is 1234", "9 now"],
        ),
        (
            Some("first"),
            format!("seq_len = 8\n{}", source("a", "order = \"stored\"")),
            ["\"a\"", "shuffled", "stored now"],
        ),
    ] {
        let train = phase(&dir, "refused", from, &data);
        line(&dir, &train).refused(&words);
        std::fs::remove_file(dir.join("refused.toml")).unwrap();
        assert_eq!(before, tree(dir.path()), "{data}");
    }
}
