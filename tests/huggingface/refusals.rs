//! Directories whose weights are not those of their configuration: each is refused with the tensor or file at fault.
use crate::{FileDtype, Stored, Tensors, config, load, read_tensors, weights, write_model, write_tensors};
use rewarm::checkpoint::{Dtype, HfModel, MAX_SHARD_BYTES, config_json};
use rewarm::model::{ModelConfig, ParamTable};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Applies `change` to the weights of a fresh directory and gives the refusal.
fn refusal(change: impl Fn(&mut Tensors)) -> String {
    refusal_of(&config(), change)
}

fn refusal_of(config: &ModelConfig, change: impl Fn(&mut Tensors)) -> String {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("m");
    write_model(&dir, config, Dtype::F32, MAX_SHARD_BYTES);
    let path = dir.join("model.safetensors");
    let mut tensors = read_tensors(&path);
    change(&mut tensors);
    write_tensors(&path, &tensors);
    load(&dir).map(|_| ()).expect_err("a wrong directory was accepted")
}

/// Each tensor in turn: missing, of another shape, transposed, of another format, not finite.
#[test]
fn every_wrong_tensor_is_refused_with_its_name_and_shapes() {
    let names: Vec<String> = ParamTable::new(&config()).params.into_iter().map(|p| p.name).collect();
    let mut cases = 0;
    for name in &names {
        let mut check = |change: &dyn Fn(&mut Stored), words: &[&str]| {
            let message = refusal(|t| change(t.get_mut(name).unwrap()));
            for word in words.iter().chain(&[name.as_str()]) {
                assert!(message.contains(word), "{word:?} is not in {message}");
            }
            cases += 1;
        };
        let shape = read_shape(name);
        let expected = format!("{shape:?}");
        if shape.len() == 2 && shape[0] != shape[1] {
            let reversed = format!("[{}, {}]", shape[1], shape[0]);
            check(&|s| s.1.reverse(), &[&expected, &reversed, "transposed"]);
        }
        check(&|s| s.1.insert(0, 1), &[&expected, &format!("{:?}", [vec![1], shape.clone()].concat())]);
        check(&|s| *s = Stored(s.0, vec![3], vec![0; 12]), &[&expected, "[3]"]);
        check(&|s| s.0 = FileDtype::I32, &[&expected, "I32"]);
        check(&|s| s.2[4..8].copy_from_slice(&f32::NAN.to_le_bytes()), &["element 1 is NaN"]);
        let message = refusal(|t| drop(t.remove(name)));
        assert!(message.contains(name) && message.contains("missing"), "{message}");
        cases += 1;
    }
    println!("F34: {cases} wrong tensors refused by name");
    let message =
        refusal(|t| drop(t.insert("score.weight".into(), Stored(FileDtype::F32, vec![1], vec![0; 4]))));
    assert!(message.contains("1 tensors are unknown: score.weight"), "{message}");
    let message = refusal(|t| drop(t.remove("embed_out.weight")));
    assert!(message.contains("tie_word_embeddings"), "{message}");
}

fn read_shape(name: &str) -> Vec<usize> {
    ParamTable::new(&config()).find(name).unwrap().shape.clone()
}

#[test]
fn tied_models_may_store_their_output_matrix_and_old_files_their_buffers() {
    let tied = ModelConfig { tie_word_embeddings: true, ..config() };
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("m");
    write_model(&dir, &tied, Dtype::F16, MAX_SHARD_BYTES);
    let path = dir.join("model.safetensors");
    let mut tensors = read_tensors(&path);
    let embed = tensors["gpt_neox.embed_in.weight"].clone();
    tensors.insert("embed_out.weight".into(), embed.clone());
    let prefix = "gpt_neox.layers.0.attention";
    tensors.insert(format!("{prefix}.bias"), Stored(FileDtype::U8, vec![1, 1, 4, 4], vec![1; 16]));
    tensors.insert(format!("{prefix}.masked_bias"), Stored(FileDtype::F16, vec![], vec![0, 0xfc]));
    tensors.insert(format!("{prefix}.rotary_emb.inv_freq"), Stored(FileDtype::F32, vec![1], vec![0; 4]));
    write_tensors(&path, &tensors);
    let (model, table, w) = load(&dir).unwrap();
    assert_eq!(model.dtype, Dtype::F16);
    assert_eq!(table.params[0].gather(&w), table.params[0].gather(&weights(&table)));
    let message = refusal_of(&tied, |t| {
        let mut other = t["gpt_neox.embed_in.weight"].clone();
        *other.2.last_mut().unwrap() ^= 1;
        t.insert("embed_out.weight".into(), other);
    });
    assert!(message.contains("embed_out.weight differs"), "{message}");
}

#[test]
fn hostile_headers_are_refused_without_allocation_or_panic() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("m");
    write_model(&dir, &config(), Dtype::F32, MAX_SHARD_BYTES);
    let path = dir.join("model.safetensors");
    let good = fs::read(&path).unwrap();
    let mut cases = 0;
    let mut refused = |bytes: Vec<u8>| {
        fs::write(&path, bytes).unwrap();
        let message = load(&dir).map(|_| ()).expect_err("hostile bytes were accepted");
        assert!(message.contains("model.safetensors"), "{message}");
        cases += 1;
    };
    for length in [0, 1, good.len() as u64, 100_000_001, 1 << 40, 1 << 63, u64::MAX - 7, u64::MAX] {
        refused([&length.to_le_bytes(), &good[8..]].concat());
    }
    for length in (0..good.len()).step_by(97).chain([7, 8, 9, good.len() - 1]) {
        refused(good[..length].to_vec());
    }
    refused([good.clone(), vec![0]].concat());
    let header = |json: String| [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    for json in ["", "{", "[]", "null", "{\"a\":1}", "\u{0}", "{\"__metadata__\":{\"format\":1}}"] {
        refused(header(json.into()));
    }
    for (shape, from, to) in
        [("[4]", 0u64, 8u64), ("[2]", 8, 16), ("[2]", 8, 0), ("[4294967296,4294967296]", 0, 0)]
    {
        refused(header(format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)));
    }
    // Sizes whose sum wraps around 2^64 to the length of the file.
    let n = (1u64 << 61) - 1;
    let tensor = |i: u64, from: u64, n: u64| {
        let to = from.wrapping_add(n);
        format!(r#""t{i}":{{"dtype":"U8","shape":[{n}],"data_offsets":[{from},{to}]}}"#)
    };
    let list: Vec<String> = (0..8).map(|i| tensor(i, i * n, n)).collect();
    refused(header(format!("{{{}}}", list.join(","))));
    println!("F34: {cases} hostile files refused");
}

#[test]
fn broken_shards_and_indexes_are_refused() {
    let index = "model.safetensors.index.json";
    let broken = |change: &dyn Fn(&Path, &mut Value)| {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("m");
        write_model(&dir, &config(), Dtype::F32, 8000);
        let mut json: Value = serde_json::from_slice(&fs::read(dir.join(index)).unwrap()).unwrap();
        change(&dir, &mut json);
        fs::write(dir.join(index), json.to_string()).unwrap();
        load(&dir).map(|_| ()).expect_err("a broken index was accepted")
    };
    let first = |dir: &Path| {
        let is_first = |p: &PathBuf| p.to_str().unwrap().contains("model-00001-of");
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).find(is_first).unwrap()
    };
    let embed = "gpt_neox.embed_in.weight";
    assert!(broken(&|dir, _| fs::remove_file(first(dir)).unwrap()).contains("model-00001-of"));
    assert!(broken(&|_, j| *j = json!({})).contains("weight_map"));
    assert!(
        broken(&|_, j| j["weight_map"][embed] = json!("../model.safetensors")).contains("plain file name")
    );
    assert!(broken(&|_, j| j["weight_map"][embed] = json!(7)).contains("plain file name"));
    assert!(broken(&|_, j| j["weight_map"]["ghost"] = j["weight_map"][embed].clone()).contains("ghost"));
    let moved = broken(&|_, j| j["weight_map"][embed] = j["weight_map"]["embed_out.weight"].clone());
    assert!(moved.contains(embed), "{moved}");
    let twice = broken(&|dir, j| {
        fs::copy(first(dir), dir.join("again.safetensors")).unwrap();
        j["weight_map"]["ghost"] = json!("again.safetensors");
    });
    assert!(twice.contains("one of them"), "{twice}");
}

#[test]
fn directories_without_safetensors_are_refused_with_advice() {
    let temp = tempfile::tempdir().unwrap();
    let message = |dir: &Path| HfModel::open(dir).err().unwrap().to_string();
    assert!(message(temp.path()).contains("config.json"));
    let json = config_json(&config(), Dtype::F32, None);
    fs::write(temp.path().join("config.json"), json.to_string()).unwrap();
    assert!(message(temp.path()).contains("neither"));
    fs::write(temp.path().join("pytorch_model.bin"), b"pickle").unwrap();
    assert!(message(temp.path()).contains("no file of torch.save"));
    let mut huge = json;
    huge["hidden_size"] = json!(1 << 30);
    let dir = temp.path().join("m");
    write_model(&dir, &config(), Dtype::F32, MAX_SHARD_BYTES);
    fs::write(dir.join("config.json"), huge.to_string()).unwrap();
    assert!(message(&dir).contains("check that both belong together"));
}
