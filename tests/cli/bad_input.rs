//! Shards, tokenizers and models that are not what they say: one refusal each, and nothing is left behind.
use crate::support::*;
#[allow(dead_code)]
#[path = "../data/support.rs"]
mod shards;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use shards::{Idx, megatron};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Training on one shard that is not `data tokenize`'s own, to run `new`.
fn plain(dir: &Dir) {
    let head = CONFIG.split_once("[data]").unwrap().0.replace("DIR/run", "DIR/new");
    let rest = &CONFIG[CONFIG.find("[batch]").unwrap()..];
    let text = format!(
        "{head}[data]\ntrain = [\"DIR/shards/x\"]\nseq_len = 64\nvalidation_fraction = 0.2\n\n{rest}"
    );
    dir.config("plain.toml", &text);
}

/// 30 documents of 300 tokens below 300.
fn documents() -> Vec<Vec<u16>> {
    (0..30).map(|d| (0..300).map(|i| ((d * 7 + i * 11) % 300) as u16).collect()).collect()
}

fn shard(dir: &Dir) {
    fs::create_dir_all(dir.join("shards")).unwrap();
    megatron(&dir.join("shards"), "x", &documents());
}

#[test]
fn shards_that_are_not_what_they_say() {
    let dir = Dir::new();
    plain(&dir);
    shard(&dir);
    let (bin, idx) = (dir.join("shards/x.bin"), dir.join("shards/x.idx"));
    let (good_bin, good_idx) = (fs::read(&bin).unwrap(), fs::read(&idx).unwrap());
    line(&dir, "data verify DIR/shards/x").ok();
    let lie = |change: fn(&mut Idx)| {
        let mut index = Idx::new(8, 2, &[300; 30]);
        change(&mut index);
        index.bytes()
    };
    let cut = |bytes: &[u8], end: usize| bytes[..end].to_vec();
    let indexes: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("wrong magic", lie(|i| i.magic = *b"MMIDIDY\0\0"), &["MMIDIDX"]),
        ("an old format", lie(|i| i.magic = *b"TNTIDX\0\0\0"), &["x.idx"]),
        ("another version", lie(|i| i.version = 2), &["version", "2"]),
        ("an unknown dtype", lie(|i| i.code = 77), &["77"]),
        ("a dtype of floats", lie(|i| i.code = 6), &["6"]),
        ("more sequences than there are", lie(|i| i.sequences = 31), &["x.idx"]),
        ("fewer sequences than there are", lie(|i| i.sequences = 29), &["x.idx"]),
        ("2^64 - 1 sequences", lie(|i| i.sequences = u64::MAX), &["x.idx"]),
        ("2^60 documents", lie(|i| i.bounds = 1 << 60), &["x.idx"]),
        ("no documents", lie(|i| i.bounds = 0), &["x.idx"]),
        // Not read by training, which goes by pointers and documents: only `verify` reads every length.
        ("a negative length", lie(|i| i.sizes[3] = -300), &["number 3 is -300"]),
        ("a length past the end", lie(|i| i.sizes[29] = 301), &["x"]),
        ("a pointer past the end", lie(|i| i.pointers[29] = 1 << 40), &["x"]),
        ("unsorted documents", lie(|i| i.documents.swap(3, 4)), &["x.idx"]),
        ("documents past the end", lie(|i| i.documents[30] = 31), &["x.idx"]),
        ("a truncated index", cut(&good_idx, 100), &["x.idx"]),
        ("an index without an end", cut(&good_idx, good_idx.len() - 1), &["x.idx"]),
        ("an empty index", vec![], &["x.idx"]),
    ];
    // Name, content of .bin and .idx (None: no such file), words of the refusal.
    type Case = (String, Option<Vec<u8>>, Option<Vec<u8>>, Vec<&'static str>);
    let mut cases: Vec<Case> = Vec::new();
    for (name, index, words) in indexes {
        cases.push((name.into(), Some(good_bin.clone()), Some(index), words.to_vec()));
    }
    let mut bin_case = |name: &str, bytes: Option<Vec<u8>>| {
        cases.push((name.into(), bytes, Some(good_idx.clone()), vec!["bin"]));
    };
    bin_case("a truncated shard", Some(cut(&good_bin, good_bin.len() / 2)));
    bin_case("a shard without its last byte", Some(cut(&good_bin, good_bin.len() - 1)));
    bin_case("a shard that is longer", Some([&good_bin[..], &[0, 0]].concat()));
    bin_case("an empty shard", Some(vec![]));
    bin_case("a missing shard", None);
    cases.push(("a missing index".into(), Some(good_bin.clone()), None, vec!["x"]));
    cases.push(("nothing".into(), None, None, vec!["x"]));
    for (name, new_bin, new_idx, words) in cases {
        let set = |path: &Path, bytes: Option<Vec<u8>>| match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => drop(fs::remove_file(path)),
        };
        set(&bin, new_bin);
        set(&idx, new_idx);
        let before = tree(dir.path());
        println!("{name}");
        let verified = line(&dir, "data verify DIR/shards/x");
        verified.refused(&[]);
        assert!(
            (verified.out.clone() + &verified.err).contains(words[0]),
            "{}{}",
            verified.out,
            verified.err
        );
        let trained = line(&dir, "train DIR/plain.toml");
        if name == "a negative length" {
            trained.ok();
            fs::remove_dir_all(dir.join("new")).unwrap();
            continue;
        }
        trained.refused(&words);
        let after = tree(dir.path());
        let new: Vec<_> = after.keys().filter(|k| !before.contains_key(*k)).collect();
        println!("{}new: {new:?}", trained.err);
        assert!(!dir.join("new").exists(), "{name}: {new:?}");
        assert_eq!(before, after, "{name}");
    }
}

/// A token that the model has no row for, where no sample at the start of a run sees it.
#[test]
fn a_token_outside_of_the_vocabulary_stops_the_run() {
    let dir = Dir::new();
    plain(&dir);
    let mut all = documents();
    all.extend(documents());
    all[41][123] = 5000;
    fs::create_dir_all(dir.join("shards")).unwrap();
    megatron(&dir.join("shards"), "x", &all);
    let position = (41 * 300 + 123).to_string();
    line(&dir, "data verify DIR/shards/x --vocab-size 384").refused(&["fault"]);
    let said =
        line(&dir, "train DIR/plain.toml --set train.steps=200 --set checkpoint.every=2 --set eval.every=0");
    // There is a run by then: it failed, and says what is saved.
    assert_eq!(said.code, 2, "{}", said.err);
    said.one_error(&["x.bin", "5000", &position, "384", "is saved: put it right, then `rewarm resume"]);
    // What was done is saved and whole, and the log says where the run stood.
    let run = dir.join("new");
    let lines = log(&run);
    let last = lines.last().unwrap()["step"].as_u64().unwrap();
    assert!((2..36).contains(&last), "stopped after {last} steps: choose another seed");
    assert_eq!(*steps(&run).last().unwrap(), format!("step-{last:010}"));
    line(&dir, "export DIR/new DIR/out").ok();
    // Resuming meets it again.
    let before = tree(&run);
    line(&dir, "resume DIR/new").refused(&["x.bin", "5000", &position]);
    assert_eq!(before.keys().collect::<Vec<_>>(), tree(&run).keys().collect::<Vec<_>>());
}

#[test]
fn data_that_do_not_fit_the_run() {
    let dir = workshop();
    let refuse = |args: &str, words: &[&str]| {
        let before = tree(dir.path());
        line(&dir, args).refused(words);
        assert_eq!(before, tree(dir.path()), "{args}");
    };
    let train = "train DIR/run.toml --set run_dir=\"DIR/new\" --set";
    // The tokenizer of the data has 384 ids.
    refuse(&format!("{train} model.vocab_size=256"), &["384", "256", "vocab"]);
    refuse(&format!("{train} data.train=[\"DIR/data/nothing\"]"), &["nothing"]);
    refuse(&format!("{train} data.train=[\"DIR/data/a\",\"DIR/data/a\"]"), &["twice"]);
    refuse(&format!("{train} data.train=[\"DIR/text\"]"), &["text"]);
    dir.write("short.txt", "The river. ");
    line(&dir, "data tokenize DIR/short.txt -o DIR/data/short --tokenizer DIR/data/tokenizer.json").ok();
    refuse(
        &format!("{train} data.train=[\"DIR/data/short\"] --set data.validation_fraction=0"),
        &["tokens", "64", "shorten"],
    );
    let one = "[{name=\"x\",paths=[\"DIR/data/short\"]}]";
    refuse(&format!("{train} data.validation={one}"), &["\"x\"", "64"]);
    // Tokenizers: missing, broken, another one.
    refuse(&format!("{train} data.tokenizer=\"DIR/none.json\""), &["none.json"]);
    dir.write("broken.json", "{\"version\": \"1.0\"}");
    refuse(&format!("{train} data.tokenizer=\"DIR/broken.json\""), &["tokenizer"]);
    dir.write("verse.txt", "abc abd abe ".repeat(300));
    line(&dir, "data tokenize DIR/verse.txt -o DIR/other/v --vocab-size 300").ok();
    refuse(&format!("{train} data.tokenizer=\"DIR/other/tokenizer.json\""), &["tokenizer"]);
    // The same size, other merges.
    let text = fs::read_to_string(dir.join("data/tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["model"]["merges"].as_array_mut().unwrap().pop();
    dir.write("merges.json", json.to_string());
    refuse(&format!("{train} data.tokenizer=\"DIR/merges.json\""), &["tokenizer"]);
    // Output of `data tokenize` is not replaced, and bad text is not taken.
    refuse("data tokenize DIR/more.txt -o DIR/data/a --tokenizer DIR/data/tokenizer.json", &["exists"]);
    refuse("data tokenize DIR/none.txt -o DIR/data/n --tokenizer DIR/data/tokenizer.json", &["none.txt"]);
    refuse("data tokenize DIR/more.txt -o DIR/data/n --tokenizer DIR/broken.json", &["broken.json"]);
    refuse(
        "data tokenize DIR/stories.jsonl -o DIR/data/n --tokenizer DIR/data/tokenizer.json",
        &["\"text\""],
    );
    refuse("data tokenize DIR/more.txt -o DIR/elsewhere/n --vocab-size 100", &["100"]);
    refuse("generate DIR/run --tokenizer DIR/broken.json", &["tokenizer"]);
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(n, t)| (n, (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let view = |(n, (d, s, b)): (&String, &'_ (Dtype, Vec<usize>, Vec<u8>))| {
        // The views borrow the bytes only while this function runs.
        (n.clone(), *d, s.clone(), b.clone())
    };
    let owned: Vec<_> = tensors.iter().map(view).collect();
    let views = owned.iter().map(|(n, d, s, b)| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap()));
    fs::write(path, serialize(views, Some([("format".to_string(), "pt".to_string())].into())).unwrap())
        .unwrap();
}

/// `train` from the directory `hf`, `generate`, `eval` and `export` of it: all refuse with these words.
fn refuse_model(dir: &Dir, name: &str, words: &[&str]) {
    println!("{name}");
    let before = tree(dir.path());
    for args in [
        "train DIR/phase.toml",
        "eval DIR/hf --data DIR/data/b",
        "generate DIR/hf --max-tokens 2",
        "export DIR/hf DIR/out",
    ] {
        line(dir, args).refused(words);
    }
    // A run directory may have been created before the weights were read, but no trace of a run in it.
    let mut after = tree(dir.path());
    after.remove(Path::new("new"));
    assert_eq!(before, after, "{name}");
    let _ = fs::remove_dir_all(dir.join("new"));
}

fn phase_config(dir: &Dir) {
    let (head, rest) = CONFIG.split_once("[model]").unwrap();
    let data = rest.split_once("[data]").unwrap().1;
    dir.config(
        "phase.toml",
        &format!("{}[start]\nfrom = \"DIR/hf\"\n[data]{data}", head.replace("DIR/run", "DIR/new")),
    );
}

#[test]
fn models_with_wrong_tensors() {
    let dir = workshop();
    phase_config(&dir);
    let path = dir.join("hf/model.safetensors");
    let good = read(&path);
    let name = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight";
    let case = |what: &str, words: &[&str], change: &dyn Fn(&mut Tensors)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        write(&path, &tensors);
        refuse_model(&dir, what, words);
    };
    case("missing", &[name], &|t| drop(t.remove(name)));
    case("extra", &["gpt_neox.layers.1.mlp"], &|t| {
        let copy = t[name].clone();
        t.insert(name.replace("layers.0", "layers.1"), copy);
    });
    case("transposed", &[name, "[32, 128]", "[128, 32]"], &|t| t.get_mut(name).unwrap().1 = vec![32, 128]);
    case("wrong shape", &[name, "[64, 64]", "[128, 32]"], &|t| t.get_mut(name).unwrap().1 = vec![64, 64]);
    case("too small", &[name, "[16, 32]"], &|t| {
        let tensor = t.get_mut(name).unwrap();
        tensor.1 = vec![16, 32];
        tensor.2.truncate(16 * 32 * 4);
    });
    case("integers", &[name], &|t| t.get_mut(name).unwrap().0 = Dtype::I32);
    case("not a number", &[name], &|t| {
        t.get_mut(name).unwrap().2[..4].copy_from_slice(&f32::NAN.to_le_bytes())
    });
    write(&path, &good);
    let bytes = fs::read(&path).unwrap();
    for (what, content) in [
        ("truncated", bytes[..bytes.len() - 1].to_vec()),
        ("cut in the header", bytes[..100].to_vec()),
        ("empty", vec![]),
        ("a header of 2^60 bytes", [&(1u64 << 60).to_le_bytes()[..], &bytes[8..]].concat()),
        ("not safetensors", b"PK\x03\x04 a pickle".to_vec()),
    ] {
        fs::write(&path, content).unwrap();
        refuse_model(&dir, what, &["model.safetensors"]);
    }
    fs::remove_file(&path).unwrap();
    refuse_model(&dir, "no weights", &["hf"]);
    write(&path, &good);
    line(&dir, "train DIR/phase.toml --set train.steps=6").ok();
}

#[test]
fn models_with_wrong_configurations() {
    let dir = workshop();
    phase_config(&dir);
    let path = dir.join("hf/config.json");
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("hidden_size", json!(48), &["48"]),
        ("vocab_size", json!(385), &["385"]),
        ("num_hidden_layers", json!(2), &["layers.1"]),
        ("num_attention_heads", json!(3), &["3", "32"]),
        ("num_attention_heads", json!(0), &["num_attention_heads"]),
        ("intermediate_size", json!(-1), &["intermediate_size"]),
        ("model_type", json!("llama"), &["llama", "gpt_neox"]),
        ("hidden_act", json!("silu"), &["silu"]),
        ("layer_norm_eps", json!("small"), &["layer_norm_eps"]),
        ("hidden_size", Value::Null, &["hidden_size"]),
    ];
    for (key, value, words) in cases {
        let mut config = good.clone();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        refuse_model(&dir, key, words);
    }
    for text in ["", "{", "[]", "null"] {
        fs::write(&path, text).unwrap();
        refuse_model(&dir, text, &["config.json"]);
    }
    fs::remove_file(&path).unwrap();
    refuse_model(&dir, "no config.json", &["hf", "expected"]);
}

#[test]
fn models_that_are_not_there() {
    let dir = workshop();
    phase_config(&dir);
    fs::create_dir(dir.join("empty")).unwrap();
    let before = tree(dir.path());
    for (from, words) in [
        ("DIR/nothing", ["nothing", "is not a directory"]),
        ("DIR/empty", ["empty", "expected a Hugging Face directory"]),
        ("DIR/more.txt", ["more.txt", "is not a directory"]),
        ("DIR/run/step-0000000007", ["step-0000000007", "is not a directory"]),
    ] {
        line(&dir, &format!("train DIR/phase.toml --set start.from=\"{from}\"")).refused(&words);
        assert_eq!(before, tree(dir.path()), "{from}");
    }
    line(&dir, "train DIR/phase.toml --set start.optimizer=\"keep\"").refused(&[
        "keep",
        "reset",
        "no optimizer state",
    ]);
    line(&dir, "train DIR/phase.toml --set data.seq_len=129").refused(&["129", "128"]);
    line(&dir, "train DIR/phase.toml --set model.hidden_size=64")
        .refused(&["model.hidden_size", "start.from"]);
    assert_eq!(before, tree(dir.path()));
    fs::remove_file(dir.join("hf/tokenizer.json")).unwrap();
    line(&dir, "generate DIR/hf").refused(&["tokenizer.json", "--tokenizer"]);
    line(&dir, "generate DIR/hf --tokenizer DIR/data/tokenizer.json --max-tokens 3").ok();
}
