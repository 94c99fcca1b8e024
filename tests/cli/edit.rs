//! `rewarm edit`: what comes out, from the files alone, and what cannot be done.
use crate::support::*;
use rewarm::checkpoint::HfModel;
use rewarm::model::{Init, ParamTable, initial_weights};
use rewarm::ops::HostState;
use rewarm::reference::model::{Net, params_of};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes, format and shape of every tensor of a directory.
fn stored(dir: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor =
        |view: safetensors::tensor::TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

fn values(dir: &Path) -> BTreeMap<String, Vec<f32>> {
    tensors(&dir.join("model.safetensors"), "")
}

fn config(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
}

/// A model `deep` of 3 blocks after 4 steps, with `sets` more settings.
fn train_deep(dir: &Dir, sets: &str) {
    let run = &fixture().dir;
    let common = "--set model.num_hidden_layers=3 --set train.steps=4 --set schedule.warmup=0";
    line(dir, &format!("train {} --set run_dir={} {common} {sets}", run.at("run.toml"), dir.at("run"))).ok();
    line(dir, "export DIR/run DIR/deep").ok();
}

/// The loss of a set, every digit, and a text.
fn computed(dir: &Dir, model: &str) -> (String, String) {
    let eval = format!("eval DIR/{model} --data more={} --seq-len 64 --json", fixture().dir.at("data/c"));
    let said = line(dir, &eval);
    let found: Value = serde_json::from_str(said.ok().lines().next().unwrap()).unwrap();
    let text = line(dir, &format!("generate DIR/{model} --prompt The --max-tokens 12 --temperature 0"));
    (found["loss"].to_string(), text.ok().to_string())
}

/// Logits of some tokens by naive arithmetic in f64.
fn logits(dir: &Path) -> Vec<f64> {
    let hf = HfModel::open(dir).unwrap();
    let table = ParamTable::new(&hf.config);
    let mut state = HostState::of_weights(vec![0.0; table.total]);
    hf.load_weights(&table, &mut state).unwrap();
    let tokens: Vec<i32> = (0..32).map(|i| i * 11 % 384).collect();
    Net::<f64>::new(&hf.config, &params_of(&table, &state.w)).forward(&tokens, 16).logits
}

#[test]
fn shrink_and_perturb_is_a_sum_with_a_fresh_model() {
    let (f, out) = (fixture(), Dir::new());
    let model = f.dir.join("hf");
    let edit = |to: &str, options: &str| {
        line(&f.dir, &format!("edit DIR/hf {} {options}", out.at(to))).ok();
        values(&out.join(to))
    };
    let hf = HfModel::open(&model).unwrap();
    let table = ParamTable::new(&hf.config);
    let old = values(&model);
    for (init, seed) in [(Init::Small, 1), (Init::Normal, 2)] {
        let fresh = initial_weights(&hf.config, &table, init, seed);
        let fresh = params_of(&table, &fresh);
        let options = format!("--init {init} --seed {seed}");
        for (to, flags, lambda, p) in [
            ("both", "--shrink 0.3 --perturb 0.2", 0.3, 0.2),
            ("shrink", "--shrink 0.5", 0.5, 0.1),
            ("perturb", "--perturb 0.7", 0.4, 0.7),
        ] {
            for norms in [false, true] {
                let flag = if norms { "--shrink-norms" } else { "" };
                let new = edit(&format!("{to}-{init}-{norms}"), &format!("{flags} {options} {flag}"));
                assert_eq!(new.keys().collect::<Vec<_>>(), old.keys().collect::<Vec<_>>());
                for (name, new) in &new {
                    let (old, fresh) = (&old[name], &fresh[name]);
                    if name.contains("norm") && !norms {
                        assert_eq!(new, old, "{name}");
                        continue;
                    }
                    for ((new, old), fresh) in new.iter().zip(old).zip(fresh) {
                        let sum = lambda * f64::from(*old) + p * f64::from(*fresh);
                        assert!((f64::from(*new) - sum).abs() <= 1e-7 * sum.abs() + 1e-30, "{name}");
                    }
                }
            }
        }
        // Nothing of the old model: from scratch, as a run of that seed begins.
        let scratch =
            edit(&format!("scratch-{init}"), &format!("--shrink 0 --perturb 1 --shrink-norms {options}"));
        assert!(scratch == fresh, "{init}");
    }
    // Nothing of another: equal bits.
    line(&f.dir, &format!("edit DIR/hf {} --shrink 1 --perturb 0 --shrink-norms", out.at("same"))).ok();
    assert!(stored(&out.join("same")) == stored(&model));
}

/// The old block of each new one, of 3 blocks with START:END inserted.
fn blocks(start: usize, end: usize) -> Vec<(usize, bool)> {
    let part = |blocks: std::ops::Range<usize>, copy| blocks.map(move |block| (block, copy));
    part(0..end, false).chain(part(start..end, true)).chain(part(end..3, false)).collect()
}

#[test]
fn repeated_blocks_are_the_old_ones_and_add_nothing_where_they_are_zeroed() {
    for sets in ["", "--set model.use_parallel_residual=false --set model.tie_word_embeddings=true"] {
        let dir = Dir::new();
        train_deep(&dir, sets);
        let (old, before) = (stored(&dir.join("deep")), computed(&dir, "deep"));
        let outputs = ["attention.dense.weight", "attention.dense.bias"];
        let outputs = [outputs, ["mlp.dense_4h_to_h.weight", "mlp.dense_4h_to_h.bias"]].concat();
        for (start, end) in [(1, 3), (0, 1), (0, 3)] {
            for zeroed in [false, true] {
                let to = format!("{start}-{end}-{zeroed}");
                let flag = if zeroed { "--zero-repeated" } else { "" };
                line(&dir, &format!("edit DIR/deep DIR/{to} --repeat-layers {start}:{end} {flag}")).ok();
                let new = stored(&dir.join(&to));
                let origin = blocks(start, end);
                assert_eq!(config(&dir.join(&to))["num_hidden_layers"], json!(origin.len()));
                let of_blocks = old.keys().filter(|name| name.starts_with("gpt_neox.layers.0.")).count();
                assert_eq!(new.len(), old.len() + (end - start) * of_blocks);
                for (name, (dtype, shape, bytes)) in &new {
                    let Some(rest) = name.strip_prefix("gpt_neox.layers.") else {
                        assert!(
                            (dtype, shape, bytes) == (&old[name].0, &old[name].1, &old[name].2),
                            "{name}"
                        );
                        continue;
                    };
                    let (block, rest) = rest.split_once('.').unwrap();
                    let (block, copy) = origin[block.parse::<usize>().unwrap()];
                    let was = &old[&format!("gpt_neox.layers.{block}.{rest}")];
                    assert_eq!((dtype, shape), (&was.0, &was.1));
                    if copy && zeroed && outputs.contains(&rest) {
                        assert!(bytes.iter().all(|byte| *byte == 0), "{name}");
                    } else {
                        assert!(*bytes == was.2, "{name}");
                    }
                }
                let same = computed(&dir, &to) == before;
                assert_eq!(same, zeroed, "{to}: the loss is {:?}, was {before:?}", computed(&dir, &to));
                if zeroed {
                    assert!(logits(&dir.join(&to)) == logits(&dir.join("deep")), "{to}");
                }
            }
        }
    }
}

#[test]
fn a_vocabulary_grows_by_means_and_shrinks_to_what_it_was() {
    let dir = Dir::new();
    train_deep(&dir, "");
    let edit = |to: &str, options: &str| line(&dir, &format!("edit DIR/{to} {options}"));
    edit("deep DIR/grown", "--vocab 640 --seed 3").ok();
    edit("deep DIR/again", "--vocab 640 --seed 3").ok();
    edit("deep DIR/other", "--vocab 640 --seed 4").ok();
    let (old, new) = (values(&dir.join("deep")), values(&dir.join("grown")));
    assert!(stored(&dir.join("again")) == stored(&dir.join("grown")));
    assert_eq!(config(&dir.join("grown"))["vocab_size"], json!(640));
    let other = values(&dir.join("other"));
    for (name, old) in &old {
        if !["gpt_neox.embed_in.weight", "embed_out.weight"].contains(&name.as_str()) {
            assert_eq!(&new[name], old, "{name}");
            continue;
        }
        let (kept, rows) = new[name].split_at(old.len());
        assert_eq!((kept, rows.len()), (&old[..], 256 * 32), "{name}");
        let mean: Vec<f64> = (0..32)
            .map(|col| old.iter().skip(col).step_by(32).map(|x| f64::from(*x)).sum::<f64>() / 384.0)
            .collect();
        let about = |values: &[f32]| {
            let squares = values.iter().enumerate().map(|(i, x)| (f64::from(*x) - mean[i % 32]).powi(2));
            (squares.sum::<f64>() / values.len() as f64).sqrt()
        };
        // A tenth; of 8,192 draws the deviation is known to 1 %.
        let ratio = about(rows) / about(old);
        assert!((ratio - 0.1).abs() < 0.004, "{name}: {ratio}");
        assert!(rows.chunks(32).skip(1).all(|row| row != &rows[..32]), "{name}: no two rows are the same");
        assert_eq!(other[name][..old.len()], old[..]);
        assert!(other[name] != new[name], "{name}: another seed");
    }
    computed(&dir, "grown");
    // And back.
    edit("grown DIR/back", "--vocab 384").ok();
    assert!(stored(&dir.join("back")) == stored(&dir.join("deep")));
    edit("deep DIR/no", "--vocab 383").refused(&[
        "deep/tokenizer.json has ids up to 383",
        "--vocab is 383",
        "384",
    ]);
    assert!(!dir.join("no").exists());
    fs::remove_file(dir.join("deep/tokenizer.json")).unwrap();
    let said = edit("deep DIR/cut", "--vocab 300");
    said.ok();
    assert!(said.err.contains("was not checked"), "{}", said.err);
    assert_eq!(values(&dir.join("cut"))["embed_out.weight"], old["embed_out.weight"][..300 * 32]);
    let mut raw = config(&dir.join("deep"));
    raw["eos_token_id"] = json!([0, 350]);
    dir.write("deep/config.json", raw.to_string());
    edit("deep DIR/no", "--vocab 350").refused(&["config.json names id 350", "351 rows or more"]);
}

#[test]
fn a_longer_context_is_in_every_spelling_of_the_configuration() {
    let dir = Dir::new();
    copy(&fixture().dir.join("hf"), &dir.join("hf"));
    let mut raw = config(&dir.join("hf"));
    raw["rope_scaling"] = json!({"type": "default", "rope_theta": 10000});
    raw["my_key"] = json!("kept");
    dir.write("hf/config.json", raw.to_string());
    let said = line(&dir, "edit DIR/hf DIR/long --rotary-base 500000 --positions 256");
    assert_eq!(said.ok().trim(), dir.at("long"));
    assert!(said.err.contains("rotary base 500000") && said.err.contains("256 positions"), "{}", said.err);
    let found = config(&dir.join("long"));
    for place in ["/rotary_emb_base", "/rope_parameters/rope_theta", "/rope_scaling/rope_theta"] {
        assert_eq!(found.pointer(place).and_then(Value::as_f64), Some(500_000.0), "{place} in {found}");
    }
    assert_eq!((&found["max_position_embeddings"], &found["my_key"]), (&json!(256), &json!("kept")));
    assert!(stored(&dir.join("long")) == stored(&dir.join("hf")));
    let data = fixture().dir.at("data/c");
    line(&dir, &format!("eval DIR/long --data more={data} --seq-len 256")).ok();
    line(&dir, &format!("eval DIR/hf --data more={data} --seq-len 256")).refused(&["1 to 128"]);
}

#[test]
fn several_edits_at_once_are_noted_and_a_phase_begins_from_them() {
    let dir = workshop();
    line(&dir, "export DIR/run DIR/half --dtype bf16").ok();
    let all = "--shrink 0.9 --perturb 0.05 --repeat-layers 0:1 --zero-repeated --vocab 448 --rotary-base 20000 \
               --positions 192 --seed 5";
    line(&dir, &format!("edit DIR/half DIR/new {all}")).ok();
    let one_by_one = [
        ("half DIR/a", "--shrink 0.9 --perturb 0.05 --seed 5 --dtype f32"),
        ("a DIR/b", "--repeat-layers 0:1 --zero-repeated"),
        ("b DIR/c", "--vocab 448 --seed 5"),
        ("c DIR/d", "--rotary-base 20000 --positions 192 --dtype bf16"),
    ];
    one_by_one.iter().for_each(|(dirs, options)| {
        line(&dir, &format!("edit DIR/{dirs} {options}")).ok();
    });
    assert!(stored(&dir.join("new")) == stored(&dir.join("d")), "the order is that of the flags' help");
    assert!(stored(&dir.join("new")).values().all(|(dtype, ..)| *dtype == Dtype::BF16), "that of the model");
    assert!(
        stored(&dir.join("c")).values().all(|(dtype, ..)| *dtype == Dtype::F32),
        "that which was asked for"
    );
    let told = config(&dir.join("new"));
    let history = told["rewarm_history"].as_array().unwrap();
    let [entry] = &history[..] else { panic!("{history:?}") };
    for word in ["edit of", "half", "0.9", "0.05", "seed 5", "0:1", "448", "20000", "192"] {
        assert!(entry.as_str().unwrap().contains(word), "{word} is missing in {entry}");
    }
    assert_eq!(config(&dir.join("d"))["rewarm_history"].as_array().map(Vec::len), Some(4));
    // A run and its step, whose moments stay behind; and a phase from what comes out, which keeps the history.
    let said = line(&dir, "edit DIR/run DIR/of_run --vocab 448");
    said.ok();
    assert!(said.err.contains("moments stay behind"), "{}", said.err);
    let step = steps(&dir.join("run")).pop().unwrap();
    line(&dir, &format!("edit DIR/run/{step} DIR/of_step --vocab 448")).ok();
    assert!(stored(&dir.join("of_run")) == stored(&dir.join("of_step")));
    let (_, rest) = CONFIG.split_once("[data]").unwrap();
    let head = "run_dir = \"DIR/next\"\nthreads = 2\n[start]\nfrom = \"DIR/new\"\n";
    dir.config("next.toml", &format!("{head}[data]{rest}"));
    let train = "train DIR/next.toml --set train.steps=2 --set schedule.warmup=0";
    line(&dir, &format!("{train} --set start.optimizer=keep")).refused(&["optimizer"]);
    line(&dir, train).ok();
    let step = steps(&dir.join("next")).pop().unwrap();
    let kept = config(&dir.join("next").join(step));
    assert_eq!((&kept["rewarm_history"], &kept["vocab_size"]), (&told["rewarm_history"], &json!(448)));
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    let dir = Dir::new();
    copy(&fixture().dir.join("hf"), &dir.join("hf"));
    let before = tree(dir.path());
    let refused = |options: &str, words: &[&str]| {
        line(&dir, &format!("edit DIR/hf DIR/new/and/deep {options}")).refused(words);
    };
    refused("", &["no edit is asked for", "--shrink", "--vocab", "rewarm export"]);
    for range in ["0:2", "1:1", "1:2"] {
        refused(
            &format!("--repeat-layers {range}"),
            &["hf", &format!("is {range}"), "has 1 blocks", "START < END <= 1"],
        );
    }
    for range in ["1", "a:b", "0:-1", "0:1:2", ":"] {
        refused(&format!("--repeat-layers {range}"), &["--repeat-layers", "START:END"]);
    }
    refused("--zero-repeated", &["--repeat-layers"]);
    refused("--shrink-norms", &["--shrink-norms", "give --shrink"]);
    refused("--vocab 448 --init normal", &["--init"]);
    refused("--shrink inf", &["--shrink is inf", "0 or more"]);
    refused("--shrink=-0.5", &["--shrink is -0.5", "0 or more"]);
    refused("--perturb nan", &["--perturb is NaN"]);
    refused("--vocab 0", &["vocab_size is 0"]);
    refused("--positions 0", &["max_position_embeddings is 0"]);
    refused("--rotary-base 0", &["rotary_emb_base is 0"]);
    refused("--vocab 448 --dtype f8", &["f32", "bf16"]);
    line(&dir, "edit DIR/nowhere DIR/new --vocab 448").refused(&["nowhere is not a directory"]);
    line(&dir, "edit DIR/hf DIR/hf --vocab 448").refused(&["hf exists"]);
    // One that fails in the middle: a weight that f16 cannot hold.
    let said = line(&dir, "edit DIR/hf DIR/new/and/deep --shrink 1e9 --dtype f16");
    assert_eq!(said.code, 2, "{}", said.err);
    said.one_error(&["float16"]);
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_kill_leaves_no_half_of_a_model() {
    let dir = Dir::new();
    copy(&fixture().dir.join("hf"), &dir.join("hf"));
    let names = || -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    // A gigabyte, of which the first bytes are written when the kill comes.
    let mut child = Command::new(REWARM)
        .args(["edit", &dir.at("hf"), &dir.at("new"), "--vocab", "4000000"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while names().len() < 2 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(names(), ["hf".to_string(), format!("new.tmp-{}", child.id())]);
    line(&dir, "edit DIR/hf DIR/new --vocab 448").ok();
}
