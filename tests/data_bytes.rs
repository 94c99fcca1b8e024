//! Bits per byte of a part of a text: against the bytes that were put in.
mod data_support;
use std::fs;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use data_support::text::{Dice, document, documents};
use data_support::*;
use rewarm::data::{Order, Progress, Side, Split, TextTokenizer, TokenBytes, tokenize_documents, train_bpe};
use tempfile::tempdir;
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer, normalizers::NFC};

static TRAINED: LazyLock<TextTokenizer> =
    LazyLock::new(|| train_bpe(documents(400).into_iter().map(Ok), 1024).unwrap());

fn changed(change: impl FnOnce(&mut Tokenizer)) -> TextTokenizer {
    let mut inner = Tokenizer::from_bytes(TRAINED.json()).unwrap();
    change(&mut inner);
    TextTokenizer::from_json(inner.to_string(false).unwrap().into_bytes()).unwrap()
}

#[test]
fn the_bytes_of_tokens_add_up_to_the_text() {
    let spaces = changed(|t| {
        t.with_normalizer(Some(NormalizerWrapper::NFC(NFC))).unwrap();
        t.add_special_tokens(vec![AddedToken::from("<|padding|>", true)]).unwrap();
        let spaces = (2..=24).rev().map(|n| AddedToken::from(" ".repeat(n), false).normalized(true));
        t.add_tokens(spaces.collect::<Vec<_>>()).unwrap();
    });
    let mut dice = Dice::new(3);
    for tokenizer in [&*TRAINED, &spaces] {
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
#[test]
fn bits_per_byte_count_what_was_evaluated() {
    let dir = tempdir().unwrap();
    let mut dice = Dice::new(11);
    let long = documents(400).concat();
    let mut texts = Vec::new();
    for i in 0..60 {
        let dense: String = (0..400).map(|_| char::from(33 + dice.below(90) as u8)).collect();
        texts.push(if i < 30 { long[..].chars().skip(i * 900).take(800).collect() } else { dense });
    }
    for (name, texts) in [("long", &texts[..30]), ("both", &texts[..])] {
        let prefix = dir.path().join(name);
        tokenize_documents(
            texts.iter().cloned().map(Ok),
            &TRAINED,
            Some(0),
            &prefix,
            &mut Progress::hidden(),
        )
        .unwrap();
    }
    fs::write(
        dir.path().join("run.toml"),
        r#"
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
[[data.validation]]
name = "long"
paths = ["long"]
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
"#,
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewarm"));
    let said = command.args(["train", "run.toml"]).current_dir(dir.path()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let log = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    let lines = log.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let evals: Vec<_> = lines.filter(|l| l["eval"].is_string()).collect();
    assert_eq!(evals.len(), 4);
    let mut ratios = Vec::new();
    let library = Tokenizer::from_bytes(TRAINED.json()).unwrap();
    for line in &evals {
        let (name, side, fraction) = match line["eval"].as_str().unwrap() {
            "heldout" => ("both", Side::Validation, 0.3),
            _ => ("long", Side::All, 0.0),
        };
        let corpus = Arc::new(open(&dir.path().join(name)));
        let order = Order::new(corpus, side, Split { fraction, seed: 5 }, 32, 0).unwrap();
        let windows = 7.min(order.windows());
        let (mut bytes, mut window) = (0, vec![0; 33]);
        for i in 0..windows {
            order.read_window(i * order.windows() / windows, &mut window, 1024).unwrap();
            // Of the byte-level alphabet, each character is one byte; an end is none.
            bytes += window[1..]
                .iter()
                .filter(|id| **id != 0)
                .map(|id| library.id_to_token(*id).unwrap().chars().count())
                .sum::<usize>();
        }
        let number = |key: &str| line[key].as_f64().unwrap();
        assert_eq!(number("tokens"), 32.0 * windows as f64);
        let expected = number("loss") * number("tokens") / 2f64.ln() / bytes as f64;
        let found = number("bits_per_byte");
        assert!((found / expected - 1.0).abs() < 1e-12, "{found}, expected {expected}");
        ratios.push(bytes as f64 / number("tokens"));
    }
    // Were there one ratio for all, this would test nothing.
    assert!(
        ratios.iter().any(|r| *r > 1.3 * ratios[0]) || ratios.iter().any(|r| *r < ratios[0] / 1.3),
        "{ratios:?}"
    );
}
