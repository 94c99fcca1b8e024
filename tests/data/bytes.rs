//! Bits per byte of a part of a text: against the bytes that were put in.
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::text::{Dice, LIKE_PYTHIA, TRAINED, as_library, changed, document, documents};
use rewarm::data::{Corpus, Order, Progress, Side, Split, TokenBytes, tokenize_documents};
use serde_json::Value;
use tempfile::tempdir;
use tokenizers::AddedToken;

#[test]
fn the_bytes_of_tokens_add_up_to_the_text() {
    let mut dice = Dice::new(3);
    for tokenizer in [&*TRAINED, &*LIKE_PYTHIA] {
        let table = TokenBytes::new(tokenizer.json(), &[0]).unwrap();
        for words in [1, 10, 1000] {
            // In composed form, and without the spelled-out end that becomes one.
            let text = document(&mut dice, words).replace("e\u{301}", "é").replace("\u{1100}\u{1161}", "가");
            let text = text.replace('\u{212b}', "Å").replace("<|endoftext|>", "").replace("<|endo|>", "");
            let mut ids = tokenizer.encode(&text).unwrap();
            assert_eq!(table.sum(&ids), Some(text.len() as u64), "{text:?}");
            ids.push(0);
            assert_eq!(table.sum(&ids), Some(text.len() as u64));
        }
        assert_eq!(table.sum(&[]), Some(0));
        assert_eq!(table.sum(&[tokenizer.vocab_size()]), None);
    }
}

#[test]
fn of_tokenizers_that_do_not_keep_every_byte_nothing_is_said() {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    let prefix = changed(|t| {
        t.with_pre_tokenizer(Some(ByteLevel::default()));
    });
    let lower = changed(|t| {
        t.with_normalizer(Some(tokenizers::normalizers::Lowercase)).unwrap();
    });
    let strips = changed(|t| {
        t.add_tokens(vec![AddedToken::from("<x>", false).lstrip(true)]).unwrap();
    });
    let bare = changed(|t| {
        t.with_decoder(None::<ByteLevel>);
    });
    for tokenizer in [prefix, lower, strips, bare] {
        assert_eq!(TokenBytes::new(tokenizer.json(), &[0]), None);
    }
    let words = br#"{"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"},"added_tokens":[]}"#;
    assert_eq!(TokenBytes::new(words, &[]), None);
    // An end that is also a word of the texts: "a" is one.
    let a = TRAINED.encode("a").unwrap()[0];
    assert_eq!(TokenBytes::new(TRAINED.json(), &[a]), None);
}

/// Half of the documents are of long tokens, half of single bytes: the ratio of the whole is that of neither.
fn texts() -> Vec<String> {
    let mut dice = Dice::new(11);
    let long = documents(400).concat();
    let mut texts = Vec::new();
    for i in 0..60 {
        let dense: String = (0..400).map(|_| char::from(33 + dice.below(90) as u8)).collect();
        texts.push(if i < 30 { long[..].chars().skip(i * 900).take(800).collect() } else { dense });
    }
    texts
}

fn tokenized(texts: &[String], prefix: &Path) {
    let texts = texts.iter().cloned().map(Ok);
    tokenize_documents(texts, &TRAINED, Some(0), prefix, &mut Progress::hidden()).unwrap();
}

const RUN: &str = r#"
run_dir = "run"
seed = 5
[model]
vocab_size = 1024
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[data]
train = ["both"]
seq_len = 32
validation_fraction = 0.3
[batch]
sequences = 4
micro = 4
[schedule]
name = "constant"
lr = 1e-3
[train]
steps = 1
[eval]
every = 1
sequences = 7
"#;

/// What `rewarm` says on success.
fn rewarm(dir: &Path, args: &[&str]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_rewarm")).args(args).current_dir(dir).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

/// The lines of evaluations.
fn evaluations(lines: &str) -> Vec<Value> {
    let lines = lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    lines.filter(|l| l["eval"].is_string()).collect()
}

/// Bytes of the text that the predicted tokens of the first `windows` windows, evenly spread, stand for: of the
/// byte-level alphabet, each character is one byte; an end is none.
fn bytes_of(spec: &str, side: Side, fraction: f64, windows: u64) -> usize {
    let library = as_library(&TRAINED);
    let corpus = Arc::new(Corpus::open(&[spec]).unwrap());
    let order = Order::new(corpus, side, Split { fraction, seed: 5 }, 32, 0).unwrap();
    assert!(windows <= order.windows());
    let (mut bytes, mut window) = (0, vec![0; 33]);
    for i in 0..windows {
        order.read_window(i * order.windows() / windows, &mut window, 1024).unwrap();
        let tokens = window[1..].iter().filter(|id| **id != 0);
        bytes += tokens.map(|id| library.id_to_token(*id).unwrap().chars().count()).sum::<usize>();
    }
    bytes
}

/// The bytes per token that `line` was divided by, after it was compared with arithmetic.
fn checked(line: &Value, spec: &str, side: Side, fraction: f64) -> f64 {
    let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"));
    let bytes = bytes_of(spec, side, fraction, number("tokens") as u64 / 32) as f64;
    let expected = number("loss") * number("tokens") / 2f64.ln() / bytes;
    let found = number("bits_per_byte");
    assert!((found / expected - 1.0).abs() < 1e-12, "{found}, expected {expected}");
    bytes / number("tokens")
}

#[test]
fn bits_per_byte_count_what_was_evaluated() {
    let (dir, texts) = (tempdir().unwrap(), texts());
    let path = |name: &str| dir.path().join(name).display().to_string();
    tokenized(&texts[..30], Path::new(&path("long")));
    tokenized(&texts, Path::new(&path("both")));
    let long = "[[data.validation]]\nname = \"long\"\npaths = [\"long\"]\n";
    fs::write(path("run.toml"), format!("{RUN}{long}")).unwrap();
    rewarm(dir.path(), &["train", "run.toml"]);
    let lines = evaluations(&fs::read_to_string(path("run/metrics.jsonl")).unwrap());
    assert_eq!(lines.len(), 4);
    let ratio = |line: &Value| match line["eval"].as_str().unwrap() {
        "heldout" => checked(line, &path("both"), Side::Validation, 0.3),
        _ => checked(line, &path("long"), Side::All, 0.0),
    };
    let ratios: Vec<f64> = lines.iter().map(ratio).collect();
    // Were there one ratio for all, this would test nothing.
    assert!(
        ratios.iter().any(|r| *r > 1.3 * ratios[0]) || ratios.iter().any(|r| *r < ratios[0] / 1.3),
        "{ratios:?}"
    );
}

/// Shards that say nothing of a tokenizer: that of the run or of the model is what their tokens are of.
#[test]
fn bits_per_byte_of_shards_from_elsewhere() {
    let (dir, texts) = (tempdir().unwrap(), texts());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let spec = |spec: &str| match spec.split_once(':') {
        Some((format, name)) => format!("{format}:{}", path(name)),
        None => path(spec),
    };
    tokenized(&texts, Path::new(&path("both")));
    // As llm.c, Megatron-LM and nanoGPT leave them; and beside one of ours, and one of ours whose tokenizer went away.
    let tokens = fs::read(path("both.bin")).unwrap();
    let mut header = [0i32; 256];
    header[..3].copy_from_slice(&[20240520, 1, tokens.len() as i32 / 2]);
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(path("llmc.bin"), [header, tokens.clone()].concat()).unwrap();
    fs::write(path("raw.bin"), &tokens).unwrap();
    fs::copy(path("both.bin"), path("megatron.bin")).unwrap();
    fs::copy(path("both.idx"), path("megatron.idx")).unwrap();
    fs::rename(path("tokenizer.json"), path("named.json")).unwrap();
    let foreign = ["llmc.bin", "raw-u16:raw.bin", "megatron", "both"];
    let set = |s: &str| format!("[[data.validation]]\nname = {s:?}\npaths = [{s:?}]\n");
    let sets: String = foreign.iter().map(|s| set(s)).collect();
    let run = RUN.replace("train = [\"both\"]", "train = [\"megatron\"]");
    let named = run.replace("[data]", "[data]\ntokenizer = \"named.json\"");
    fs::write(path("run.toml"), format!("{named}{sets}")).unwrap();
    rewarm(dir.path(), &["train", "run.toml"]);
    let lines = evaluations(&fs::read_to_string(path("run/metrics.jsonl")).unwrap());
    assert_eq!(lines.len(), 2 * (1 + foreign.len()));
    for line in &lines {
        match line["eval"].as_str().unwrap() {
            "heldout" => checked(line, &path("megatron"), Side::Validation, 0.3),
            name => checked(line, &spec(name), Side::All, 0.0),
        };
    }
    // Of the tokenizer beside the model.
    for name in foreign {
        let data = format!("set={name}");
        let line = rewarm(dir.path(), &["eval", "run", "--data", &data, "--sequences", "5", "--json"]);
        checked(&evaluations(&line)[0], &spec(name), Side::All, 0.0);
    }
    let mixed =
        evaluations(&rewarm(dir.path(), &["eval", "run", "--data", "set=raw-u16:raw.bin,both", "--json"]));
    assert!(mixed[0]["bits_per_byte"].is_f64(), "{mixed:?}");
    // A run that knows none says none.
    fs::write(path("none.toml"), run.replace("\"run\"", "\"none\"")).unwrap();
    rewarm(dir.path(), &["train", "none.toml"]);
    let lines = evaluations(&fs::read_to_string(path("none/metrics.jsonl")).unwrap());
    assert!(lines.iter().all(|line| line["bits_per_byte"].is_null()), "{lines:?}");
}
