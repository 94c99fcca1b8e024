//! Hugging Face directories: round trips, both spellings of config.json, and every way in which a directory
//! can be wrong (row F34 of the fault matrix).
mod beside;
mod configs;
mod ids;
mod names;
mod refusals;

use rewarm::checkpoint::hf_config::parse_config;
use rewarm::checkpoint::{Dtype, Export, HfModel, MAX_SHARD_BYTES, config_json, export, read_config};
use rewarm::model::{ModelConfig, Param, ParamTable, preset};
use rewarm::ops::{Gelu, HostState};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype as FileDtype, TensorView, serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

fn config() -> ModelConfig {
    let mut config = preset("pythia-14m").unwrap();
    config.vocab_size = 37;
    config.hidden_size = 16;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.intermediate_size = 24;
    config
}

/// Weights that `dtype` holds exactly: multiples of 1/64 below 2.
fn weights(table: &ParamTable) -> Vec<f32> {
    let value = |i: usize| ((i * 37 + 11) % 127) as f32 / 64.0 - 1.0;
    (0..table.total).map(value).collect()
}

/// The tensors of a flat buffer, as an export reads them.
fn tensors(w: &[f32]) -> impl Fn(&Param, usize, &mut [f32]) -> rewarm::Result<()> + Sync {
    |param, first, values| {
        values.copy_from_slice(&param.gather(w)[first..][..values.len()]);
        Ok(())
    }
}

/// Weights of f32 in one file, with nothing beside them.
fn plain<'a>(config: &'a ModelConfig, table: &'a ParamTable) -> Export<'a> {
    Export {
        config,
        table,
        dtype: Dtype::F32,
        base_config: None,
        companions_from: None,
        max_shard_bytes: MAX_SHARD_BYTES,
    }
}

fn write_model(dir: &Path, config: &ModelConfig, dtype: Dtype, max_shard_bytes: u64) {
    let table = ParamTable::new(config);
    let plan = Export { dtype, max_shard_bytes, ..plain(config, &table) };
    export(dir, &plan, &tensors(&weights(&table))).unwrap();
}

fn load(dir: &Path) -> Result<(HfModel, ParamTable, Vec<f32>), String> {
    let model = HfModel::open(dir).map_err(|e| e.to_string())?;
    let table = ParamTable::new(&model.config);
    let mut values = HostState::of_weights(vec![f32::NAN; table.total]);
    model.load_weights(&table, &mut values).map_err(|e| e.to_string())?;
    Ok((model, table, values.w))
}

/// A tensor as it lies in a file.
#[derive(Clone, Debug, PartialEq)]
struct Stored(FileDtype, Vec<usize>, Vec<u8>);

type Tensors = BTreeMap<String, Stored>;

fn read_tensors(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |t: TensorView| Stored(t.dtype(), t.shape().to_vec(), t.data().to_vec());
    file.tensors().into_iter().map(|(name, t)| (name, stored(t))).collect()
}

/// All weights of a directory, whatever its files.
fn all_tensors(dir: &Path) -> Tensors {
    let weights = |p: &PathBuf| {
        let name = p.file_name().unwrap().to_str().unwrap().to_string();
        name.starts_with("model") && name.ends_with(".safetensors")
    };
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(weights);
    files.flat_map(|p| read_tensors(&p)).collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    let view = |s: &'_ Stored| -> (FileDtype, Vec<usize>) { (s.0, s.1.clone()) };
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, s)| (name.clone(), TensorView::new(view(s).0, view(s).1, &s.2).unwrap()))
        .collect();
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    fs::write(path, serialize(views, Some(metadata)).unwrap()).unwrap();
}

#[test]
fn every_format_comes_back_byte_for_byte() {
    for (tied, bias) in [(false, true), (true, true), (false, false)] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            for shard in [MAX_SHARD_BYTES, 2000, 1] {
                let temp = tempfile::tempdir().unwrap();
                let (a, b) = (temp.path().join("a"), temp.path().join("b"));
                let config = ModelConfig { tie_word_embeddings: tied, attention_bias: bias, ..config() };
                write_model(&a, &config, dtype, shard);
                let (model, table, w) = load(&a).unwrap();
                assert_eq!((&model.config, model.dtype), (&config, dtype));
                assert!(model.notes.is_empty(), "{:?}", model.notes);
                for param in &table.params {
                    assert_eq!(param.gather(&w), param.gather(&weights(&table)), "{}", param.name);
                }
                let plan = Export {
                    dtype: model.dtype,
                    base_config: Some(&model.raw_config),
                    max_shard_bytes: shard,
                    ..plain(&model.config, &table)
                };
                export(&b, &plan, &tensors(&w)).unwrap();
                for entry in fs::read_dir(&a).unwrap() {
                    let name = entry.unwrap().file_name();
                    let same = fs::read(a.join(&name)).unwrap() == fs::read(b.join(&name)).unwrap();
                    assert!(same, "{name:?} of {dtype:?} at {shard}");
                }
                assert_eq!(a.join("model.safetensors.index.json").exists(), shard != MAX_SHARD_BYTES);
                assert_eq!(all_tensors(&b).contains_key("embed_out.weight"), !tied);
            }
        }
    }
}

/// The writer's bytes are those of Hugging Face's own writer.
#[test]
fn a_single_file_equals_the_one_of_the_safetensors_crate() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("m");
    write_model(&dir, &config(), Dtype::F16, MAX_SHARD_BYTES);
    let ours = fs::read(dir.join("model.safetensors")).unwrap();
    write_tensors(&temp.path().join("theirs"), &read_tensors(&dir.join("model.safetensors")));
    assert!(ours == fs::read(temp.path().join("theirs")).unwrap());
}

/// Directories written by transformers itself (tools/golden.py).
#[test]
fn golden_directories_round_trip() {
    let root = std::env::var("GOLDEN").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden").into());
    let Ok(entries) = fs::read_dir(&root) else { return println!("skipped: no {root}") };
    let mut cases = 0;
    for dir in entries.map(|e| e.unwrap().path()).filter(|p| p.join("config.json").exists()) {
        let (model, table, w) = load(&dir).unwrap_or_else(|e| panic!("{e}"));
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("out");
        let shard = if dir.join("model.safetensors").exists() { MAX_SHARD_BYTES } else { 60_000 };
        let plan = Export {
            dtype: model.dtype,
            base_config: Some(&model.raw_config),
            companions_from: Some(&dir),
            max_shard_bytes: shard,
            ..plain(&model.config, &table)
        };
        export(&out, &plan, &tensors(&w)).unwrap();
        let known = |t: &Tensors| -> Tensors {
            t.iter().filter(|(n, _)| table.find(n).is_some()).map(|(n, s)| (n.clone(), s.clone())).collect()
        };
        let (there, here) = (all_tensors(&dir), all_tensors(&out));
        assert!(known(&there) == here && here.len() == table.params.len(), "{dir:?}");
        if there == here && shard == MAX_SHARD_BYTES {
            let file = "model.safetensors";
            assert!(fs::read(dir.join(file)).unwrap() == fs::read(out.join(file)).unwrap(), "{dir:?}");
        }
        let written: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        for (key, value) in model.raw_config.as_object().unwrap() {
            assert_eq!(&written[key], value, "{dir:?}: {key}");
        }
        assert_eq!(read_config(&out).unwrap(), model.config);
        cases += 1;
    }
    println!("{cases} golden directories");
    assert!(cases > 0, "{root} holds no case");
}

#[test]
fn an_export_replaces_nothing_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let config = config();
    let table = ParamTable::new(&config);
    let mut w = weights(&table);
    let dir = temp.path().join("m");
    fs::create_dir(&dir).unwrap();
    let again = |w: &[f32], dir: &Path, dtype| {
        export(dir, &Export { dtype, ..plain(&config, &table) }, &tensors(w)).unwrap_err()
    };
    assert_eq!(again(&w, &dir, Dtype::F32).exit_code(), 1);
    fs::remove_dir(&dir).unwrap();
    w[5] = 1e6;
    let message = again(&w, &dir, Dtype::F16).to_string();
    assert!(message.contains("gpt_neox.embed_in.weight element 5 is 1000000"), "{message}");
    w[5] = f32::INFINITY;
    again(&w, &dir, Dtype::F32);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

/// The published config.json of Pythia-1B (EleutherAI/pythia-1b).
fn pythia_1b() -> Value {
    json!({
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu",
        "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 8,
        "num_hidden_layers": 16, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false,
        "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
        "use_parallel_residual": true, "vocab_size": 50304
    })
}

#[test]
fn both_spellings_are_read_and_written() {
    let parse = |v: Value| parse_config(v, "config.json").map_err(|e| e.to_string());
    let with = |changes: &[(&str, Value)]| {
        let mut v = pythia_1b();
        for (key, value) in changes {
            v[*key] = value.clone();
        }
        v
    };
    let old = parse(pythia_1b()).unwrap();
    assert_eq!((&old.model, old.dtype), (&preset("pythia-1b").unwrap(), Some(Dtype::F16)));
    let mut new = pythia_1b();
    let object = new.as_object_mut().unwrap();
    object.remove("rotary_pct");
    object.remove("rotary_emb_base");
    assert_eq!(parse(new.clone()).unwrap().model, old.model, "defaults");
    let rope = json!({"rope_theta": 500.0, "partial_rotary_factor": 0.5, "rope_type": "default"});
    new["rope_parameters"] = rope.clone();
    let model = parse(new.clone()).unwrap().model;
    assert_eq!((model.rotary_pct, model.rotary_emb_base), (0.5, 500.0));
    // Contradictions and what is not computed here are refused by name.
    for (changes, word) in [
        (vec![("rope_parameters", rope)], "rotary_pct is 0.25, where the 0.5"),
        (
            vec![("rope_parameters", json!({"rope_type": "linear", "factor": 2.0}))],
            "rope_parameters.rope_type",
        ),
        (vec![("rope_scaling", json!({"type": "dynamic", "factor": 2.0}))], "rope_scaling.type"),
        (vec![("rope_parameters", json!(3))], "rope_parameters is 3"),
        (vec![("hidden_act", json!("relu"))], "hidden_act is \"relu\""),
        (vec![("model_type", json!("llama"))], "model_type is llama"),
        (vec![("model_type", Value::Null)], "model_type is missing"),
        (vec![("hidden_size", json!(-1))], "hidden_size is -1"),
        (vec![("hidden_size", json!(2047))], "does not divide"),
        (vec![("vocab_size", Value::Null)], "vocab_size is null"),
        (vec![("use_parallel_residual", json!("yes"))], "use_parallel_residual"),
        (vec![("eos_token_id", json!(1u64 << 40))], "eos_token_id"),
    ] {
        let message = parse(with(&changes)).unwrap_err();
        assert!(message.contains(word) && message.contains("config.json"), "{word}: {message}");
    }
    for (act, gelu) in
        [("gelu_fast", Gelu::Tanh), ("gelu_new", Gelu::Tanh), ("gelu_pytorch_tanh", Gelu::Tanh)]
    {
        let parsed = parse(with(&[("hidden_act", json!(act))])).unwrap();
        assert_eq!(parsed.model.gelu, gelu);
        assert_eq!(config_json(&parsed.model, Dtype::F32, Some(&parsed.raw))["hidden_act"], json!(act));
    }
    let dropout = parse(with(&[("hidden_dropout", json!(0.1))])).unwrap();
    assert!(dropout.notes[0].contains("without dropout"));

    let written = config_json(&old.model, Dtype::Bf16, Some(&with(&[("my_key", json!([1]))])));
    assert_eq!(written["my_key"], json!([1]));
    assert_eq!((&written["dtype"], &written["torch_dtype"]), (&json!("bfloat16"), &json!("bfloat16")));
    assert_eq!(written["rope_parameters"]["rope_type"], json!("default"));
    assert_eq!(written["rotary_emb_base"], json!(10000), "kept as it was spelled");
    assert_eq!(parse(written).unwrap().model, old.model);
    assert_eq!(parse(config_json(&model, Dtype::F32, None)).unwrap().model, model);
}
