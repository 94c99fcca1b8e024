//! Where the weights of a directory lie and what they are called: everything that transformers 5.24 loads is read, or
//! the message says which file is meant.
use crate::{FileDtype, Stored, Tensors, config, load, read_tensors, weights, write_model, write_tensors};
use rewarm::checkpoint::{Dtype, MAX_SHARD_BYTES, config_json};
use rewarm::model::{ModelConfig, ParamTable};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What happens to a fresh directory after `change`: its notes where every weight is as written, or the refusal.
fn after(config: &ModelConfig, shard: u64, change: impl Fn(&Path)) -> Result<Vec<String>, String> {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("m");
    write_model(&dir, config, Dtype::F32, shard);
    change(&dir);
    let (model, table, w) = load(&dir)?;
    let exact = weights(&table);
    table.params.iter().for_each(|p| assert_eq!(p.gather(&w), p.gather(&exact), "{}", p.name));
    Ok(model.notes)
}

/// Renames the tensors of the single file; `None` leaves one out.
fn rename(dir: &Path, new: impl Fn(&str) -> Option<String>) {
    let path = dir.join("model.safetensors");
    let tensors: Tensors =
        read_tensors(&path).into_iter().filter_map(|(name, t)| Some((new(&name)?, t))).collect();
    write_tensors(&path, &tensors);
}

/// As `save_pretrained(…, save_original_format=False)` writes it.
fn head_of_5(name: &str) -> String {
    name.replace("embed_out.", "lm_head.")
}

/// As `model.gpt_neox.save_pretrained(…)` writes it.
fn without_prefix(name: &str) -> String {
    name.strip_prefix("gpt_neox.").unwrap_or(name).into()
}

#[test]
fn every_spelling_of_transformers_is_read() {
    let single = |new: &dyn Fn(&str) -> Option<String>| {
        after(&config(), MAX_SHARD_BYTES, |dir| rename(dir, new)).map(|notes| assert_eq!(notes, [""; 0]))
    };
    single(&|n| Some(head_of_5(n))).unwrap();
    single(&|n| Some(without_prefix(n))).unwrap();
    single(&|n| Some(without_prefix(&head_of_5(n)))).unwrap();
    // The base model of a tied one is all of it; of another it lacks the head.
    let tied = ModelConfig { tie_word_embeddings: true, ..config() };
    after(&tied, MAX_SHARD_BYTES, |dir| rename(dir, |n| Some(without_prefix(n)))).unwrap();
    let bare = |n: &str| (n != "embed_out.weight").then(|| without_prefix(n));
    let message = single(&bare).unwrap_err();
    for word in ["embed_out.weight is missing", "tie_word_embeddings", "GPTNeoXForCausalLM"] {
        assert!(message.contains(word), "{message}");
    }
    // Other wrappers are nobody's spelling of a saved model.
    for prefix in ["module.", "_orig_mod.", "model.", "base_model.model."] {
        let message = single(&|n| Some(format!("{prefix}{n}"))).unwrap_err();
        assert!(message.contains("unknown") && message.contains(prefix), "{message}");
    }
    let twice = after(&config(), MAX_SHARD_BYTES, |dir| {
        let path = dir.join("model.safetensors");
        let mut tensors = read_tensors(&path);
        tensors.insert("lm_head.weight".into(), tensors["embed_out.weight"].clone());
        write_tensors(&path, &tensors);
    });
    let message = twice.unwrap_err();
    assert!(message.contains("lm_head.weight is in") && message.contains("as embed_out.weight"), "{message}");
}

#[test]
fn old_buffers_are_passed_over_under_every_spelling() {
    after(&config(), MAX_SHARD_BYTES, |dir| {
        let path = dir.join("model.safetensors");
        let mut tensors = read_tensors(&path);
        for (name, t) in [
            ("gpt_neox.layers.0.attention.bias", Stored(FileDtype::BOOL, vec![1, 1, 2, 2], vec![1; 4])),
            ("layers.1.attention.masked_bias", Stored(FileDtype::F16, vec![], vec![0, 0xfc])),
            ("layers.1.attention.rotary_emb.inv_freq", Stored(FileDtype::F64, vec![1], vec![0; 8])),
        ] {
            tensors.insert(name.into(), t);
        }
        write_tensors(&path, &tensors);
    })
    .unwrap();
}

/// The weights are multiples of 1/64 below 2, exact in every format.
#[test]
fn formats_may_be_mixed() {
    let stored = |dtype: FileDtype, value: f32| match dtype {
        FileDtype::F64 => f64::from(value).to_le_bytes().to_vec(),
        FileDtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        FileDtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let with = |formats: &[FileDtype]| {
        after(&config(), MAX_SHARD_BYTES, |dir| {
            let path = dir.join("model.safetensors");
            let mut tensors = read_tensors(&path);
            for (i, t) in tensors.values_mut().enumerate() {
                let dtype = formats[i % formats.len()];
                let values = t.2.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                t.2 = values.flat_map(|value| stored(dtype, value)).collect();
                t.0 = dtype;
            }
            write_tensors(&path, &tensors);
        })
        .unwrap()
    };
    use FileDtype::{BF16, F16, F32, F64};
    for one in [F32, F16, BF16] {
        assert_eq!(with(&[one]), [""; 0]);
    }
    for (mix, words) in [
        (vec![F64], "stored as float64;"),
        (vec![F32, F16], "float16 and float32;"),
        (vec![BF16, F64, F16, F32], "bfloat16 and float16 and float32 and float64;"),
    ] {
        let notes = with(&mix);
        assert!(notes.len() == 1 && notes[0].contains(words) && notes[0].contains("float32"), "{notes:?}");
    }
}

/// A change to `model.safetensors.index.json`.
fn edit_index(dir: &Path, change: impl Fn(&mut Value)) {
    let path = dir.join("model.safetensors.index.json");
    let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut index);
    fs::write(path, index.to_string()).unwrap();
}

#[test]
fn shards_may_lie_in_folders_and_the_index_may_be_incomplete() {
    let sharded = |change: &dyn Fn(&Path)| after(&config(), 4000, change);
    sharded(&|dir| {
        fs::create_dir(dir.join("shards")).unwrap();
        edit_index(dir, |index| {
            for file in index["weight_map"].as_object_mut().unwrap().values_mut() {
                let name = file.as_str().unwrap().to_string();
                let (from, to) = (dir.join(&name), dir.join("shards").join(&name));
                if from.exists() {
                    fs::rename(from, to).unwrap();
                }
                *file = json!(format!("shards/{name}"));
            }
        });
    })
    .unwrap();
    // A tensor that the index does not list is in a shard that it does: transformers 5 loads every tensor of a shard.
    sharded(&|dir| {
        edit_index(dir, |index| {
            let map = index["weight_map"].as_object_mut().unwrap();
            map.remove("gpt_neox.final_layer_norm.bias").unwrap();
        });
    })
    .unwrap();
    for outside in ["../m/x.safetensors", "/x.safetensors", "a/../../x.safetensors", ""] {
        let message =
            sharded(&|dir| edit_index(dir, |i| i["weight_map"]["embed_out.weight"] = json!(outside)));
        assert!(message.unwrap_err().contains("plain file name"), "{outside}");
    }
}

#[test]
fn of_several_files_it_is_said_which_is_read() {
    let only = |notes: Vec<String>, words: &[&str]| {
        assert!(notes.len() == 1 && words.iter().all(|word| notes[0].contains(word)), "{words:?}: {notes:?}");
    };
    // An older save in shards beside the single file, which transformers takes.
    let notes = after(&config(), MAX_SHARD_BYTES, |dir| {
        fs::write(dir.join("model.safetensors.index.json"), "old").unwrap();
        fs::write(dir.join("model-00001-of-00002.safetensors"), "old").unwrap();
        fs::write(dir.join("optimizer.safetensors"), "not of the model").unwrap();
    });
    only(
        notes.unwrap(),
        &["model.safetensors is read, as transformers does, and model-00001-of-00002.safetensors, \
         model.safetensors.index.json is not"],
    );
    // A shard that the index does not name.
    let notes = after(&config(), 4000, |dir| {
        fs::write(dir.join("model-00009-of-00009.safetensors"), "left over").unwrap();
    });
    only(notes.unwrap(), &["index.json is read", "model-00009-of-00009.safetensors is not"]);
    // config.json may name the file.
    let named = |file: Value, to: &str| {
        after(&config(), MAX_SHARD_BYTES, |dir| {
            let mut json = config_json(&config(), Dtype::F32, None);
            json["transformers_weights"] = file.clone();
            fs::write(dir.join("config.json"), json.to_string()).unwrap();
            fs::create_dir(dir.join("sub")).unwrap();
            fs::rename(dir.join("model.safetensors"), dir.join(to)).unwrap();
        })
    };
    assert_eq!(named(json!("best.safetensors"), "best.safetensors").unwrap(), [""; 0]);
    assert_eq!(named(json!("sub/best.safetensors"), "sub/best.safetensors").unwrap(), [""; 0]);
    assert!(named(json!("gone.safetensors"), "best.safetensors").unwrap_err().contains("gone.safetensors"));
    for bad in [json!("../m/best.safetensors"), json!("best.bin"), json!(3)] {
        let message = named(bad.clone(), "best.safetensors").unwrap_err();
        assert!(message.contains(&format!("transformers_weights is {bad}")), "{message}");
    }
    let mut json = config_json(&config(), Dtype::F32, None);
    json["transformers_weights"] = json!("best.safetensors");
    let written = config_json(&config(), Dtype::F32, Some(&json));
    assert_eq!(written.get("transformers_weights"), None, "an export writes other files");
}

#[test]
fn directories_of_other_kinds_are_told_by_what_they_are() {
    let message = |change: &dyn Fn(&Path)| {
        after(&config(), MAX_SHARD_BYTES, |dir| {
            fs::remove_file(dir.join("model.safetensors")).unwrap();
            change(dir);
        })
        .unwrap_err()
    };
    let files: [(&[&str], &str); 9] = [
        (
            &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            "model.safetensors.index.json",
        ),
        (&["model.fp16.safetensors"], "\"transformers_weights\": \"model.fp16.safetensors\""),
        (&["pytorch_model.fp16.bin"], "where pytorch_model.bin is expected"),
        (&["pytorch_model-00001-of-00002.bin"], "pytorch_model.bin.index.json"),
        (&["adapter_config.json", "adapter_model.safetensors"], "merge_and_unload"),
        (&["tf_model.h5"], "tf_model.h5 only"),
        (&["flax_model.msgpack"], "flax_model.msgpack only"),
        (&["pythia.Q8_0.gguf"], "pythia.Q8_0.gguf only"),
        (&["layer_00-model_00-model_states.pt"], "rewarm import"),
    ];
    for (names, words) in files {
        let message = message(&|dir| names.iter().for_each(|name| fs::write(dir.join(name), "x").unwrap()));
        assert!(message.contains(words), "{names:?}: {message}");
    }
    for (folder, words) in [
        ("global_step143000", "rewarm import"),
        ("checkpoint-500", "checkpoint-500"),
        ("snapshots/0123abc", "snapshots/0123abc"),
    ] {
        let message = message(&|dir| {
            fs::create_dir_all(dir.join(folder)).unwrap();
            fs::write(dir.join(folder).join("config.json"), "{}").unwrap();
        });
        assert!(message.contains(words), "{folder}: {message}");
    }
    assert!(message(&|_| ()).contains("neither"));
    // An adapter beside whole weights changes what transformers computes, too.
    let whole =
        after(&config(), MAX_SHARD_BYTES, |dir| fs::write(dir.join("adapter_config.json"), "{}").unwrap());
    assert!(whole.unwrap_err().contains("merge_and_unload"));
    assert_eq!(ParamTable::new(&config()).params.len(), 28);
}
