//! Checkpoints of GPT-NeoX as torch writes them (tools/neox_checkpoints.py): both layouts and stage 0, one and more
//! intervals, one and two ranks, three sizes. Tensors and moments come byte for byte, and training goes on as PyTorch's does.
use crate::torch_files::without_checksums;
use rewarm::backend::cpu::Cpu;
use rewarm::checkpoint::safetensors::TensorFile;
use rewarm::checkpoint::{self, Disk, Neox};
use rewarm::model::{Model, ModelConfig, Purpose, Recompute, Workspace};
use rewarm::ops::{AdamSettings, Backend, Shape, State, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, train_step};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CASES: [&str; 5] = ["v1", "v1_intervals_mp2", "v2", "bf16_mp2", "whole"];
const TOLERANCE: f64 = 1e-4;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoint/neox").join(name)
}

/// The script's value of an element: 32 bits that the index, the tensor and the kind of values give.
pub fn hashed(index: u32, tensor: u32, kind: u32) -> u32 {
    let sum = index.wrapping_mul(2654435761).wrapping_add(tensor * 40503 + kind * 97 + 12345);
    let mixed = (sum ^ sum >> 15).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ mixed >> 12).wrapping_mul(0x297a_2d39);
    mixed ^ mixed >> 15
}

/// A tensor, or what a rank has of a bias that is added up.
pub fn value(name: &str, number: usize, elements: usize, part: u32, rank: u32) -> Vec<f32> {
    let element = |i: usize| {
        let x = f64::from(hashed(i as u32, number as u32, part + 16 * rank) >> 8) / f64::from(1 << 24) - 0.5;
        let x = match part {
            1 => x / 1024.0,
            2 => (x + 0.5) / f64::from(1 << 20),
            _ if name.contains("norm.weight") => 1.0 + x / 2.0,
            _ if name.contains("norm") || name.ends_with(".bias") => x / 8.0,
            _ => x,
        };
        x as f32
    };
    (0..elements).map(element).collect()
}

/// The order in which the script counts tensors: Hugging Face's, without transformers' own sorting.
pub fn names(config: &ModelConfig) -> Vec<String> {
    const BLOCK: [&str; 12] = [
        "input_layernorm.weight",
        "input_layernorm.bias",
        "attention.query_key_value.weight",
        "attention.query_key_value.bias",
        "attention.dense.weight",
        "attention.dense.bias",
        "post_attention_layernorm.weight",
        "post_attention_layernorm.bias",
        "mlp.dense_h_to_4h.weight",
        "mlp.dense_h_to_4h.bias",
        "mlp.dense_4h_to_h.weight",
        "mlp.dense_4h_to_h.bias",
    ];
    let mut names = vec!["gpt_neox.embed_in.weight".to_owned()];
    for layer in 0..config.num_hidden_layers {
        names.extend(BLOCK.map(|leaf| format!("gpt_neox.layers.{layer}.{leaf}")));
    }
    names.extend(["weight", "bias"].map(|leaf| format!("gpt_neox.final_layer_norm.{leaf}")));
    names.push("embed_out.weight".into());
    names
}

/// A checkpoint, imported into a fresh directory.
fn import(name: &str) -> (TempDir, PathBuf, Neox) {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("new/out");
    let neox = Neox::open(&case(name), Some(&case(name).join("like"))).unwrap();
    neox.write(&out, Value::Null).unwrap();
    (temp, out, neox)
}

#[test]
fn tensors_and_moments_come_byte_for_byte() {
    for name in CASES {
        let (temp, out, neox) = import(name);
        let manifest = checkpoint::verify(&Disk, &out).unwrap();
        assert_eq!(fs::read_dir(temp.path().join("new")).unwrap().count(), 1, "nothing else is left");
        let steps: Value = serde_json::from_slice(&fs::read(case(name).join("steps.json")).unwrap()).unwrap();
        let state = &manifest.state;
        assert_eq!(
            (state.step, state.sample, Value::from(state.applied)),
            (37, 37 * 64, steps["applied"].clone())
        );
        let rate =
            [("v2", 0.00075), ("bf16_mp2", 0.00075), ("whole", 0.0005)].into_iter().find(|r| r.0 == name);
        assert_eq!(neox.reached().lr, rate.map(|r| r.1), "{name}");
        let config = neox.config();
        let two_ranks = name == "v1_intervals_mp2";
        for (file, part, prefix) in [("model", 0, ""), ("optimizer", 1, "m."), ("optimizer", 2, "v.")] {
            let file = TensorFile::open(&Disk, &out.join(format!("{file}.safetensors"))).unwrap();
            for (number, tensor) in names(config).iter().enumerate() {
                let stored = format!("{prefix}{tensor}");
                let elements = file.info(&stored).unwrap().shape.iter().product();
                let mut found = vec![0.0; elements];
                file.fill(&stored, 0, &mut found).unwrap();
                let mut expected = value(tensor, number, elements, part, 0);
                let row_bias =
                    tensor.ends_with("attention.dense.bias") || tensor.ends_with("dense_4h_to_h.bias");
                if two_ranks && row_bias && part == 0 {
                    let other = value(tensor, number, elements, part, 1);
                    expected.iter_mut().zip(other).for_each(|(sum, own)| *sum += own);
                }
                let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&expected), "{name}: {stored}");
            }
        }
    }
}

#[test]
fn five_steps_from_there_agree_with_pytorch() {
    let (rows, time, mut worst) = (2, 12, [0.0f64; 3]);
    for name in CASES {
        let (_temp, out, neox) = import(name);
        let steps: Value = serde_json::from_slice(&fs::read(case(name).join("steps.json")).unwrap()).unwrap();
        let model = Model::new(neox.config().clone());
        let shape = Shape { batch: rows, time };
        let workspace = Workspace::new(&model.config, shape, 7, Purpose::Train(Recompute::None));
        let mut ops = Cpu::new(&model.config, &model.table, &workspace);
        let manifest = checkpoint::load(&Disk, &out, &model.table, &mut ops, true).unwrap();
        ops.set_applied(manifest.state.applied);
        let params = assign(&model.table, &[], 0.1);
        let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
        for step in 0..5 {
            let vocab = neox.config().vocab_size as u32;
            let token = |i: u32| (hashed(i + step as u32 * 1000, 999, 7) % vocab) as i32;
            let batch: Vec<i32> = (0..(rows * (time + 1)) as u32).map(token).collect();
            let rows = || batch.chunks(time + 1);
            let tokens: Vec<i32> = rows().flat_map(|row| row[..time].iter().copied()).collect();
            let targets: Vec<i32> = rows().flat_map(|row| row[1..].iter().copied()).collect();
            let input = Micro::new(&tokens, &targets, time, 2);
            let update = Update::new(adam, steps["lr"].as_f64().unwrap(), step as u64);
            let found = train_step(&model, &mut ops, &workspace, input, &params, update).unwrap();
            let loss = (found.loss - steps["losses"][step].as_f64().unwrap()).abs();
            let norm = (found.norm / steps["norms"][step].as_f64().unwrap() - 1.0).abs();
            assert!(loss <= TOLERANCE && norm <= TOLERANCE, "{name} step {step}: {loss:e} {norm:e}");
            worst = [worst[0].max(loss), worst[1].max(norm), worst[2]];
        }
        let weights = ops.state().unwrap().w;
        for param in &model.table.params {
            let found = param.gather(&weights);
            let length = found.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let apart = (length / steps["lengths"][&param.name].as_f64().unwrap() - 1.0).abs();
            assert!(apart <= TOLERANCE, "{name}: {} is {apart:e} longer", param.name);
            let first = steps["first"][&param.name].as_array().unwrap();
            for (own, theirs) in found.iter().zip(first) {
                let apart = (f64::from(*own) - theirs.as_f64().unwrap()).abs();
                assert!(apart <= TOLERANCE, "{name}: {} {own} {theirs}", param.name);
                worst[2] = worst[2].max(apart);
            }
        }
    }
    println!("worst: loss {:.1e}, norm {:.1e}, weight {:.1e}", worst[0], worst[1], worst[2]);
}

/// What becomes of a copy of a checkpoint after `change`.
fn after(name: &str, change: impl Fn(&Path)) -> String {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("copy");
    for entry in walkdir::WalkDir::new(case(name)).into_iter().map(Result::unwrap) {
        let to = dir.join(entry.path().strip_prefix(case(name)).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(to).unwrap()
        } else {
            fs::copy(entry.path(), to).map(drop).unwrap()
        }
    }
    change(&dir);
    let out = temp.path().join("out");
    let like = dir.join("like");
    let done =
        Neox::open(&dir, like.exists().then_some(&*like)).and_then(|neox| neox.write(&out, Value::Null));
    let there: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    match done {
        Ok(()) => String::new(),
        Err(error) => {
            assert_eq!(there.len(), 1, "{there:?}");
            assert_eq!(error.exit_code(), 1, "{error}");
            error.to_string()
        }
    }
}

#[test]
fn what_is_wrong_is_told_by_name_and_nothing_is_written() {
    const STEP: &str = "global_step37";
    let step = |name: &'static str| move |dir: &Path| fs::remove_file(dir.join(STEP).join(name)).unwrap();
    let refused = |message: String, words: &[&str]| {
        words.iter().for_each(|word| assert!(message.contains(word), "{word:?} is missing in: {message}"));
    };
    assert_eq!(after("v1", |_| ()), "");
    refused(
        after("v1", step("zero_pp_rank_0_mp_rank_00_optim_states.pt")),
        &["zero_pp_rank_0_mp_rank_00", "missing"],
    );
    refused(
        after("v1", step("zero_pp_rank_1_mp_rank_00_optim_states.pt")),
        &["1 of the 2 files zero_pp_rank_*"],
    );
    refused(after("v1", step("layer_04-model_00-model_states.pt")), &["4.norm.weight", "files of layers"]);
    refused(after("v1", step("mp_rank_00_model_states.pt")), &["mp_rank_00_model_states.pt is not"]);
    refused(
        after("v1_intervals_mp2", step("mp_rank_01_model_states.pt")),
        &["mp_rank_01_model_states.pt is not"],
    );
    // Half a file, and the weights of another step.
    refused(
        after("v2", |dir| {
            let path = dir.join(STEP).join("zero_pp_rank_1_mp_rank_00_optim_states.pt");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        &["zero_pp_rank_1_mp_rank_00_optim_states.pt", "incomplete"],
    );
    let flip = |dir: &Path, file: &str, checked: bool| {
        let path = dir.join(STEP).join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        if !checked {
            without_checksums(&mut bytes);
        }
        fs::write(&path, bytes).unwrap();
    };
    let [layer, moments] = ["layer_05-model_00-model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"];
    refused(
        after("v1", |dir| flip(dir, layer, false)),
        &["5.final_linear.weight", "is not its master", "two steps"],
    );
    for file in [layer, moments] {
        refused(after("v1", |dir| flip(dir, file, true)), &[file, "is damaged", "copy it again"]);
    }
    // Another model's config.json, and none for sizes that nobody published.
    let change = |dir: &Path| {
        let path = dir.join("like/config.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"vocab_size\": 48", "\"vocab_size\": 50304")).unwrap();
    };
    refused(after("v1", change), &["vocabulary 50304", "vocabulary 48"]);
    refused(after("v1", |dir| fs::remove_dir_all(dir.join("like")).unwrap()), &["1 layers of 16", "--like"]);
    // A name that leads elsewhere is not followed; with two checkpoints it would have to say which.
    assert_eq!(after("v1", |dir| fs::write(dir.join("latest"), "../v2").unwrap()), "");
    let two = |dir: &Path| {
        fs::write(dir.join("latest"), "global_step99").unwrap();
        fs::create_dir(dir.join("global_step9")).unwrap();
    };
    refused(after("v1", two), &["2 checkpoints", "global_step37"]);
}
