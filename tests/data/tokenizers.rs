//! Tokenizers of many kinds, as `tools/golden_tokenizers.py` made them and transformers encodes with them.
use std::fs;
use std::path::{Path, PathBuf};

use rewarm::data::TextTokenizer;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Changes the content of a file.
type Edit<'a> = &'a dyn Fn(&mut Value);

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    /// Tokenizer → the ids of each text.
    ids: BTreeMap<String, Vec<Vec<u32>>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_tokenizers")
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(folder().join("ids.json")).unwrap()).unwrap()
}

fn load(name: &str) -> TextTokenizer {
    TextTokenizer::load(folder().join(format!("{name}.json"))).unwrap()
}

fn edited(name: &str, edit: impl FnOnce(&mut Value)) -> TextTokenizer {
    let mut file: Value = serde_json::from_slice(load(name).json()).unwrap();
    edit(&mut file);
    TextTokenizer::from_json(file.to_string().into_bytes()).unwrap()
}

#[test]
fn ids_are_those_of_transformers() {
    let golden = golden();
    assert!(golden.ids.len() >= 18 && golden.texts.len() >= 12);
    let mut fast = Vec::new();
    for (name, ids) in &golden.ids {
        let tokenizer = load(name);
        for (text, ids) in golden.texts.iter().zip(ids) {
            // Twice: dropout would differ.
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(&tokenizer.encode_slow(text).unwrap(), ids, "{name}: {text:?}, by the library");
        }
        fast.extend(tokenizer.is_fast().then_some(name.as_str()));
    }
    assert_eq!(fast, ["dropout", "merge-strings", "neox", "neox-strings", "padding", "truncation"]);
}

#[test]
fn what_is_written_is_the_users_file() {
    for name in golden().ids.keys() {
        let bytes = fs::read(folder().join(format!("{name}.json"))).unwrap();
        assert!(load(name).json() == bytes, "{name}");
    }
}

#[test]
fn a_tokenizer_saved_again_is_the_same() {
    let names: Vec<String> = golden().ids.into_keys().collect();
    let identities: Vec<String> = names.iter().map(|name| load(name).identity()).collect();
    for (name, identity) in names.iter().zip(&identities) {
        let again = load(&format!("resaved/{name}"));
        assert_eq!((&again.identity(), again.difference(&load(name)).as_str()), (identity, ""), "{name}");
    }
    // Of these alone the same ids were made twice, or once without dropout.
    let same = [
        ["dropout", "merge-strings"],
        ["dropout", "padding"],
        ["dropout", "truncation"],
        ["llama", "llama-dropout"],
    ];
    let of = |name: &str| &identities[names.iter().position(|n| n == name).unwrap()];
    assert!(same.iter().all(|[a, b]| of(a) == of(b)));
    assert_eq!(of("neox"), of("neox-strings"));
    let mut different = identities.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 13);
}

#[test]
fn the_form_of_a_file_is_not_its_identity() {
    let was = load("neox").identity();
    let same: [(&str, Edit); 7] = [
        ("padding", &|f| {
            f["padding"] = serde_json::json!({"strategy": {"Fixed": 8}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"})
        }),
        ("dropout", &|f| f["model"]["dropout"] = 0.5.into()),
        ("post-processor", &|f| f["post_processor"] = Value::Null),
        ("decoder", &|f| f["decoder"] = Value::Null),
        ("sorted keys", &Value::sort_all_objects),
        ("special", &|f| f["added_tokens"][0]["special"] = false.into()),
        ("defaults left out", &|f| {
            f["model"]
                .as_object_mut()
                .unwrap()
                .retain(|key, _| ["type", "vocab", "merges"].contains(&key.as_str()));
            f.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        }),
    ];
    for (what, edit) in same {
        assert_eq!(edited("neox", edit).identity(), was, "{what}");
    }
    let other: [(&str, &str, Edit); 9] = [
        ("normalizer", "none", &|f| f["normalizer"] = Value::Null),
        ("normalizer", "another", &|f| f["normalizer"]["type"] = "NFKC".into()),
        ("pre tokenizer", "a space in front", &|f| f["pre_tokenizer"]["add_prefix_space"] = true.into()),
        ("added tokens", "one less", &|f| drop(f["added_tokens"].as_array_mut().unwrap().pop())),
        ("added tokens", "stripping", &|f| f["added_tokens"][0]["lstrip"] = true.into()),
        ("vocabulary or merges", "merges swapped", &|f| {
            f["model"]["merges"].as_array_mut().unwrap().swap(0, 1)
        }),
        ("vocabulary or merges", "one merge less", &|f| {
            drop(f["model"]["merges"].as_array_mut().unwrap().pop())
        }),
        ("vocabulary or merges", "whole words first", &|f| f["model"]["ignore_merges"] = true.into()),
        ("vocabulary or merges", "ids swapped", &|f| {
            let vocab = f["model"]["vocab"].as_object_mut().unwrap();
            let (a, b) = (vocab["a"].clone(), vocab["b"].clone());
            vocab.insert("a".into(), b);
            vocab.insert("b".into(), a);
        }),
    ];
    for (part, what, edit) in other {
        let edited = edited("neox", edit);
        assert_ne!(edited.identity(), was, "{what}");
        assert_eq!(edited.difference(&load("neox")), part, "{what}");
    }
}

#[test]
fn ids_without_end_are_refused() {
    let mut file: Value = serde_json::from_slice(load("wordlevel").json()).unwrap();
    file["model"]["vocab"]["river"] = 4_000_000_000u32.into();
    let refused = TextTokenizer::from_json(file.to_string().into_bytes()).unwrap_err().to_string();
    assert!(refused.contains("4000000000") && refused.contains("16777216"), "{refused}");
}
