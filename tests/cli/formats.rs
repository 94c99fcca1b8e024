//! Hugging Face → rewarm → Hugging Face through the command line, on models that transformers wrote.
use crate::support::*;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// dtype, shape and bytes of every weight of a directory, however it is split into files.
fn weights(dir: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let files = files.filter(|p| {
        let name = p.file_name().unwrap().to_str().unwrap();
        name.starts_with("model") && name.ends_with(".safetensors")
    });
    let mut all = BTreeMap::new();
    for path in files {
        let bytes = fs::read(&path).unwrap();
        for (name, t) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            // Masks and tables that old transformers stored and new ones drop: not weights.
            if [".attention.bias", ".masked_bias", ".inv_freq"].iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let stored = (format!("{:?}", t.dtype()), t.shape().to_vec(), t.data().to_vec());
            assert!(all.insert(name, stored).is_none(), "a tensor is in two files");
        }
    }
    assert!(!all.is_empty());
    all
}

fn golden() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|p| p.join("config.json").exists());
    cases.sort();
    assert!(cases.len() >= 8, "{cases:?}");
    cases
}

#[test]
fn every_tensor_comes_back_byte_for_byte() {
    let dir = Dir::new();
    for case in golden() {
        let name = case.file_name().unwrap().to_str().unwrap().to_string();
        let from = case.display().to_string();
        rewarm(&dir, ["export", &from, &format!("DIR/{name}")]).ok();
        rewarm(&dir, ["export", &from, &format!("DIR/{name}-split"), "--max-shard-bytes", "20000"]).ok();
        let was = weights(&case);
        assert!(was == weights(&dir.join(&name)), "{name}: a tensor changed");
        assert!(was == weights(&dir.join(&format!("{name}-split"))), "{name}: a tensor changed when split");
        assert!(dir.join(&format!("{name}-split/model.safetensors.index.json")).exists());
        let json =
            |p: PathBuf| -> serde_json::Value { serde_json::from_slice(&fs::read(p).unwrap()).unwrap() };
        let (old, new) = (json(case.join("config.json")), json(dir.join(&name).join("config.json")));
        for key in [
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "use_parallel_residual",
            "tie_word_embeddings",
        ] {
            assert_eq!(old[key], new[key], "{name}: {key}");
        }
        // Through 32 bits and back nothing is lost either.
        rewarm(&dir, ["export", &format!("DIR/{name}"), &format!("DIR/{name}-f32"), "--dtype", "f32"]).ok();
        let dtype = match was.values().next().unwrap().0.as_str() {
            "F16" => "f16",
            "BF16" => "bf16",
            _ => "f32",
        };
        rewarm(&dir, ["export", &format!("DIR/{name}-f32"), &format!("DIR/{name}-back"), "--dtype", dtype])
            .ok();
        assert!(
            was == weights(&dir.join(&format!("{name}-back"))),
            "{name}: a tensor changed on the way back"
        );
    }
}

#[test]
fn an_export_replaces_nothing() {
    let dir = workshop();
    for taken in ["hf", "run", "more.txt"] {
        let before = tree(dir.path());
        line(&dir, &format!("export DIR/run DIR/{taken}")).refused(&[taken, "exists", "choose another"]);
        assert_eq!(before, tree(dir.path()));
    }
    line(&dir, "export DIR/text DIR/out").refused(&["text", "expected"]);
    // A weight that the element type cannot hold.
    let mut model = fs::read(dir.join("hf/model.safetensors")).unwrap();
    let end = model.len();
    model[end - 4..].copy_from_slice(&1e30f32.to_le_bytes());
    fs::write(dir.join("hf/model.safetensors"), model).unwrap();
    let before = tree(dir.path());
    let said = line(&dir, "export DIR/hf DIR/half --dtype f16");
    assert!(said.code == 1 || said.code == 2, "exit code {}", said.code);
    said.one_error(&["float16", "post_attention_layernorm.weight"]);
    assert_eq!(before, tree(dir.path()));
}
