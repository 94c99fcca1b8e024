//! F30, F31, F40 and the rules of saving: what is refused, and equal bytes for equal state.
use crate::common::{Run, config, copy, memory_with, names, run_dir, save};
use rewarm::checkpoint::{self as ckpt, Disk, Storage, find_newest, load, step_name, verify};
use rewarm::model::{ModelConfig, ParamTable, TokenIds};
use rewarm::ops::{Gelu, HostState};
use std::path::Path;
use std::process::Command;

const CHILD: &str = "REWARM_TEST_SAVE_DIR";

#[test]
fn equal_state_gives_equal_bytes() {
    assert!(memory_with(&[5]).tree() == memory_with(&[5]).tree());
    let disk = memory_with(&[5]);
    let temp = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rules::child_process"])
        .env(CHILD, temp.path())
        .output()
        .unwrap();
    assert!(status.status.success());
    let mut compared = 0;
    for (path, bytes) in disk.tree() {
        let Some(bytes) = bytes else { continue };
        let there = std::fs::read(temp.path().join(path.strip_prefix(run_dir()).unwrap())).unwrap();
        assert!(there == *bytes, "{path:?} differs between two processes");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

/// Runs as a child of the test above.
#[test]
fn child_process() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    Run::at(5).save(&Disk, Path::new(&dir)).unwrap();
}

#[test]
fn a_step_is_saved_once() {
    let disk = memory_with(&[1, 2]);
    let before = disk.tree();
    save(&disk, 2).unwrap();
    assert!(disk.tree() == before, "saving the same state again changes nothing");
    let mut other = Run::at(2);
    other.values.w[0] += 1.0;
    let error = other.save(&disk, &run_dir()).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(disk.tree() == before, "{error}");
    // A damaged one is replaced.
    disk.put(&run_dir().join("step-0000000002/manifest.json"), vec![]);
    save(&disk, 2).unwrap();
    assert!(disk.tree() == before);
}

/// Saving below steps of an abandoned branch does not delete what was just saved.
#[test]
fn the_saved_step_survives_its_rotation() {
    let disk = memory_with(&[20, 30]);
    save(&disk, 10).unwrap();
    assert!(names(&disk).contains(&step_name(10)));
    assert!(verify(&disk, &run_dir().join(step_name(10))).is_ok());
}

#[test]
fn nothing_non_finite_is_written() {
    for (poke, what) in [(0, "weight"), (1, "first moment"), (2, "second moment"), (3, "average")] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let disk = memory_with(&[1]);
            let before = disk.tree();
            let mut run = Run::at(2);
            let param = run.table.find("gpt_neox.layers.0.mlp.dense_4h_to_h.weight").unwrap().place;
            let at = param.offset + param.ld + 3;
            let values = &mut run.values;
            [&mut values.w, &mut values.m, &mut values.v, &mut values.ema][poke][at] = value;
            let error = run.save(&disk, &run_dir()).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("dense_4h_to_h.weight element 19 is"), "{error}");
            assert!(disk.tree() == before);
        }
    }
}

/// F31: no checkpoint is never step 0 in silence.
#[test]
fn a_run_without_a_checkpoint_is_refused() {
    let refused = |disk: &dyn Storage, dir: &Path| {
        let error = find_newest(disk, dir).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        error.to_string()
    };
    let disk = memory_with(&[]);
    assert!(refused(&disk, Path::new("/typo")).contains("/typo"));
    assert!(refused(&disk, &run_dir()).contains("is the path right?"));
    disk.put(&run_dir().join("metrics.jsonl"), b"{}\n".to_vec());
    assert!(refused(&disk, &run_dir()).contains("has a log but no checkpoint"));
    let disk = memory_with(&[1, 2]);
    for step in [1, 2] {
        disk.put(&run_dir().join(step_name(step)).join("model.safetensors"), vec![1]);
    }
    let message = refused(&disk, &run_dir());
    assert!(message.contains(&step_name(1)) && message.contains(&step_name(2)), "{message}");
    assert!(message.contains("model.safetensors has 1 bytes"), "{message}");
}

/// F30: each field of the model, with both values.
#[test]
fn another_model_is_refused_field_by_field() {
    let disk = memory_with(&[1]);
    let manifest = find_newest(&disk, &run_dir()).unwrap().manifest;
    manifest.check_model(&config()).unwrap();
    type Change = (&'static str, fn(&mut ModelConfig));
    let changes: [Change; 16] = [
        ("vocab_size is 11 in the checkpoint and 12 now", |c| c.vocab_size = 12),
        ("hidden_size", |c| c.hidden_size = 16),
        ("num_hidden_layers", |c| c.num_hidden_layers = 2),
        ("num_attention_heads", |c| c.num_attention_heads = 1),
        ("intermediate_size", |c| c.intermediate_size = 8),
        ("max_position_embeddings", |c| c.max_position_embeddings = 8),
        ("rotary_pct", |c| c.rotary_pct = 1.0),
        ("rotary_emb_base", |c| c.rotary_emb_base = 500.0),
        ("layer_norm_eps", |c| c.layer_norm_eps = 1e-6),
        ("gelu", |c| c.gelu = Gelu::Tanh),
        ("use_parallel_residual", |c| c.use_parallel_residual = false),
        ("attention_bias", |c| c.attention_bias = false),
        ("tie_word_embeddings", |c| c.tie_word_embeddings = true),
        ("initializer_range", |c| c.initializer_range = 0.01),
        ("bos_token_id", |c| c.bos_token_id = None),
        ("eos_token_id", |c| c.eos_token_id = TokenIds::Many(vec![0, 1])),
    ];
    assert_eq!(changes.len(), serde_json::to_value(config()).unwrap().as_object().unwrap().len());
    for (text, change) in changes {
        let mut other = config();
        change(&mut other);
        let error = manifest.check_model(&other).unwrap_err();
        assert!(error.to_string().contains(&format!("model.{text}")), "{error}");
        let table = ParamTable::new(&other);
        let mut into = HostState::of_weights(vec![0.0; table.total]);
        let loaded = load(&disk, &run_dir().join(step_name(1)), &table, &mut into, false);
        let shapes =
            |t: &ParamTable| t.params.iter().map(|p| (p.name.clone(), p.shape.clone())).collect::<Vec<_>>();
        let same_shapes = shapes(&table) == shapes(&ParamTable::new(&config()));
        assert_eq!(loaded.is_ok(), same_shapes, "{text}");
    }
    let mut fingerprints = manifest.state.fingerprints.clone();
    fingerprints.corpus = "dd".into();
    let error = manifest.state.fingerprints.check(&fingerprints).unwrap_err().to_string();
    assert!(error.contains("corpus is cc in the checkpoint and dd now"), "{error}");
}

/// Weights alone start a new phase; elements between the tensors stay the caller's.
#[test]
fn weights_load_without_moments() {
    let disk = memory_with(&[3]);
    let run = Run::at(3);
    let mut into = HostState::of_weights(vec![7.0; run.table.total]);
    load(&disk, &run_dir().join(step_name(3)), &run.table, &mut into, false).unwrap();
    let w = into.w;
    let first = &run.table.params[0].place;
    assert_eq!(w[first.offset..first.rows * first.cols], run.values.w[first.offset..first.rows * first.cols]);
    assert_eq!(w[first.rows * first.cols], 7.0);
}

/// Only names of our own making are cleaned up.
#[test]
fn cleaning_leaves_other_directories_alone() {
    let disk = memory_with(&[1]);
    let ours = ["tmp-0000000009-77", "trash-step-0000000001"];
    let theirs = ["tmp-notes", "trash", "tmp-1-x", "step-5", "step-+000000005"];
    for name in ours.iter().chain(&theirs) {
        disk.put_dir(&run_dir().join(name));
        disk.put(&run_dir().join(name).join("file"), vec![1]);
    }
    let expected = copy(&disk);
    let mut removed = ckpt::clean(&disk, &run_dir()).unwrap();
    removed.sort();
    assert_eq!(removed, ours);
    assert_eq!(names(&disk).len(), names(&expected).len() - 2);
    assert_eq!(find_newest(&disk, &run_dir()).unwrap().manifest.state.step, 1);
}
