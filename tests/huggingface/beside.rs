//! What lies beside the weights: carried along unchanged, exchanged with the tokenizer it belongs to, and completed so
//! that transformers opens a tokenizer of ours as it is.
use crate::{config, plain, tensors, weights, write_model};
use rewarm::checkpoint::{Companions, Dtype, Export, MAX_SHARD_BYTES, export};
use rewarm::data::TextTokenizer;
use rewarm::model::{ModelConfig, ParamTable, TokenIds};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const TOKENIZER: &str = include_str!("tokenizer/tokenizer.json");

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn export_from(from: &Path, to: &Path, config: &ModelConfig) {
    let table = ParamTable::new(config);
    let w = weights(&table);
    export(to, &Export { companions_from: Some(from), ..plain(config, &table) }, &tensors(&w)).unwrap();
}

#[test]
fn what_is_not_used_is_carried_along_unchanged() {
    let temp = tempfile::tempdir().unwrap();
    let (from, to, again) = (temp.path().join("from"), temp.path().join("to"), temp.path().join("again"));
    fs::create_dir_all(from.join("additional_chat_templates")).unwrap();
    let carried = [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "LICENSE",
        "license.md",
        "NOTICE.txt",
        "USE_POLICY.md",
        "additional_chat_templates/rag.jinja",
        "additional_chat_templates/tool.use.jinja",
    ];
    // A model card is of other weights; the rest is of a training that is over, or no part of a model.
    let left = [
        "README.md",
        "training_args.bin",
        "trainer_state.json",
        "optimizer.pt",
        "pytorch_model.bin",
        "events.out",
        "model.safetensors",
        "train.py",
        ".gitattributes",
        "additional_chat_templates/notes.txt",
    ];
    for name in carried.iter().chain(&left) {
        fs::write(from.join(name), format!("\r\n{name} \u{feff}as it is")).unwrap();
    }
    export_from(&from, &to, &config());
    let more = ["config.json", "model.safetensors", "additional_chat_templates"];
    let mut expected: Vec<&str> =
        carried.into_iter().filter(|name| !name.contains('/')).chain(more).collect();
    expected.sort_unstable();
    assert_eq!(names(&to), expected);
    assert_eq!(names(&to.join("additional_chat_templates")), ["rag.jinja", "tool.use.jinja"]);
    for name in carried {
        assert_eq!(fs::read(to.join(name)).unwrap(), fs::read(from.join(name)).unwrap(), "{name}");
    }
    // Code goes with the entry of config.json that names it. The hub's cache is made of links.
    fs::write(from.join("config.json"), r#"{"auto_map": {"AutoModel": "train.X"}}"#).unwrap();
    fs::rename(from.join("LICENSE"), temp.path().join("blob")).unwrap();
    std::os::unix::fs::symlink(temp.path().join("blob"), from.join("LICENSE")).unwrap();
    export_from(&from, &again, &config());
    assert_eq!(names(&again).len(), expected.len() + 1);
    assert!(names(&again).contains(&"train.py".to_string()));
    assert_eq!(fs::read(again.join("LICENSE")).unwrap(), fs::read(to.join("LICENSE")).unwrap());
}

#[test]
fn another_tokenizer_takes_its_own_files_with_it() {
    let temp = tempfile::tempdir().unwrap();
    let [model, other] = ["model", "other"].map(|name| temp.path().join(name));
    write_model(&model, &config(), Dtype::F32, MAX_SHARD_BYTES);
    fs::create_dir(&other).unwrap();
    let changed = TOKENIZER.replace("<|endoftext|>", "<|end|>");
    for (dir, json) in [(&model, TOKENIZER), (&other, changed.as_str())] {
        fs::write(dir.join("tokenizer.json"), json).unwrap();
    }
    for name in ["chat_template.jinja", "tokenizer_config.json", "generation_config.json", "LICENSE"] {
        fs::write(model.join(name), format!("{{\"of\": \"model\", \"name\": \"{name}\"}}")).unwrap();
    }
    fs::write(other.join("special_tokens_map.json"), "{\"of\": \"other\"}").unwrap();
    fs::write(other.join("generation_config.json"), "{\"of\": \"other\"}").unwrap();
    let files = |path: &Path| {
        let mut companions = Companions::read(&model).unwrap();
        companions.set_tokenizer(path).unwrap();
        let mut files = companions.into_files(&config()).unwrap();
        files.sort();
        files.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect::<Vec<_>>()
    };
    let names = |files: &[(String, String)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>().join(" ");
    let new = files(&other.join("tokenizer.json"));
    assert_eq!(
        names(&new),
        "LICENSE generation_config.json special_tokens_map.json tokenizer.json tokenizer_config.json"
    );
    assert!(new[1].1.contains("model") && new[2].1.contains("other") && new[3].1 == changed);
    assert!(new[4].1.contains("<|end|>") && !new[4].1.contains("<|endoftext|>"), "{}", new[4].1);
    // A file of another name may be one of many in its folder: nothing beside it is taken.
    fs::rename(other.join("tokenizer.json"), other.join("mine.json")).unwrap();
    assert_eq!(
        names(&files(&other.join("mine.json"))),
        "LICENSE generation_config.json tokenizer.json tokenizer_config.json"
    );
    // The model's own, copied elsewhere: everything stays.
    fs::write(other.join("tokenizer.json"), TOKENIZER).unwrap();
    let same = files(&other.join("tokenizer.json"));
    assert_eq!(
        names(&same),
        "LICENSE chat_template.jinja generation_config.json tokenizer.json tokenizer_config.json"
    );
    assert!(same[4].1.contains("\"of\": \"model\""));
    let mut companions = Companions::read(&model).unwrap();
    let message = companions.set_tokenizer(&other.join("special_tokens_map.json")).unwrap_err().to_string();
    assert!(message.contains("special_tokens_map.json: "), "{message}");
}

/// `tokenizer/ids.json` is what `AutoTokenizer` gave (`tools/golden_tokenizer.py`) for the very files that an export
/// writes: the ids of the texts are ours, nothing is normalised, and no token is added beyond the embedding.
#[test]
fn transformers_opens_our_tokenizer_as_it_is() {
    let golden: Value = serde_json::from_str(include_str!("tokenizer/ids.json")).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let (from, to) = (temp.path().join("from"), temp.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("tokenizer.json"), TOKENIZER).unwrap();
    let sizes = ModelConfig { vocab_size: 330, max_position_embeddings: 128, ..config() };
    export_from(&from, &to, &sizes);
    let written = fs::read_to_string(to.join("tokenizer_config.json")).unwrap();
    assert_eq!(
        written,
        include_str!("tokenizer/tokenizer_config.json"),
        "the file that transformers was asked about"
    );
    let tokenizer = TextTokenizer::load(&to).unwrap();
    for case in golden["texts"].as_array().unwrap() {
        assert_eq!(json!(tokenizer.encode(case["text"].as_str().unwrap()).unwrap()), case["ids"], "{case}");
    }
    assert_eq!(golden["length"], json!(tokenizer.vocab_size()));
    assert_eq!((&golden["eos"], &golden["eos_id"]), (&json!("<|endoftext|>"), &json!(0)));
    assert_eq!(golden["max_length"], json!(128));
}

/// Only what is special already is named: naming any other token would change how texts are cut.
#[test]
fn the_ends_of_a_text_are_named_where_the_tokenizer_has_them() {
    let told = |tokenizer: &str, eos: TokenIds, bos: Option<u32>| {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("tokenizer.json"), tokenizer).unwrap();
        let sizes = ModelConfig { eos_token_id: eos, bos_token_id: bos, ..config() };
        let files = Companions::read(temp.path()).unwrap().into_files(&sizes).unwrap();
        let config: Value = serde_json::from_slice(&files[1].1).unwrap();
        assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
        [config["bos_token"].clone(), config["eos_token"].clone()]
    };
    let end = json!("<|endoftext|>");
    assert_eq!(told(TOKENIZER, TokenIds::One(0), Some(0)), [end.clone(), end.clone()]);
    assert_eq!(told(TOKENIZER, TokenIds::None, None), [Value::Null, end.clone()]);
    assert_eq!(told(TOKENIZER, TokenIds::One(7), Some(7)), [Value::Null, end.clone()]);
    assert_eq!(told(TOKENIZER, TokenIds::Many(vec![7, 0]), None), [Value::Null, end.clone()]);
    let mut other: Value = serde_json::from_str(TOKENIZER).unwrap();
    let token = |id: u32, content: &str, special: bool| {
        let mut token = other["added_tokens"][0].clone();
        token["id"] = json!(id);
        token["content"] = json!(content);
        token["special"] = json!(special);
        token
    };
    let tokens = json!([token(0, "<s>", true), token(1, "</s>", true), token(2, "plain", false)]);
    other["added_tokens"] = tokens;
    let other = other.to_string();
    assert_eq!(told(&other, TokenIds::One(1), Some(0)), [json!("<s>"), json!("</s>")]);
    assert_eq!(told(&other, TokenIds::One(2), Some(2)), [Value::Null, Value::Null]);
}
