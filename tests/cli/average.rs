//! `rewarm average`: its arithmetic, from the files alone, and what can be done with the result.
use crate::support::*;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every tensor of a directory by name.
fn tensors(dir: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values =
        |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut all: Vec<(String, Vec<f32>)> =
        file.tensors().into_iter().map(|(name, view)| (name, values(view.data()))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Whether `found` is the average of the fixture's three steps with these weights, rounded once.
fn is_average(found: &Path, weights: [f64; 3]) {
    let run = fixture().dir.join("run");
    let steps: Vec<_> = steps(&run).iter().map(|step| tensors(&run.join(step))).collect();
    let found = tensors(found);
    assert_eq!(found.len(), steps[0].len());
    for (i, (name, values)) in found.iter().enumerate() {
        for (j, value) in values.iter().enumerate() {
            assert!(steps.iter().all(|step| &step[i].0 == name));
            let sum = steps.iter().zip(weights).fold(0.0, |sum, (step, w)| sum + w * f64::from(step[i].1[j]));
            // Rounded once to f32; the weights here and there may differ by a rounding of f64.
            let bound = 0.5 * f64::from(f32::EPSILON) * f64::abs(sum) * 1.000_001 + 1e-15;
            assert!((f64::from(*value) - sum).abs() <= bound, "{name} element {j}: {value} {sum}");
        }
    }
}

#[test]
fn an_average_is_a_model_like_any_other() {
    let (f, out) = (fixture(), Dir::new());
    let third = 1.0 / 3.0;
    let cases = [
        ("", [third; 3]), // what the run has kept
        ("--last 3", [third; 3]),
        ("--last 3 --method wma", [1.0 / 6.0, 2.0 / 6.0, 0.5]),
        ("--last 3 --method ema --alpha 0.25", [0.75f64.powi(2), 0.25 * 0.75, 0.25]),
        ("--method lawa", [third; 3]),
        (
            "--last 3 --method decay --shape square",
            [1.0 / 9.0, 1.0 - 1.0 / 9.0 - (1.0 - 4.0 / 9.0), 1.0 - 4.0 / 9.0],
        ),
    ];
    for (i, (options, weights)) in cases.iter().enumerate() {
        let to = out.at(&i.to_string());
        let said = line(&f.dir, &format!("average DIR/run -o {to} {options}"));
        assert_eq!(said.ok().trim(), to);
        assert!(said.err.contains("the newest 3 of 3 steps of"), "{}", said.err);
        assert_eq!(said.err.lines().filter(|l| l.contains("/step-")).count(), 3, "{}", said.err);
        is_average(Path::new(&to), *weights);
    }
    let to = out.at("0");
    let said = line(&f.dir, &format!("eval {to} --data more=DIR/data/c --json"));
    let found: Value = serde_json::from_str(said.ok().lines().next().unwrap()).unwrap();
    assert!(found["loss"].as_f64().unwrap() > 0.0, "{found}");
    line(&f.dir, &format!("generate {to} --prompt The --max-tokens 3")).ok();
    // Named directories, and a run that starts from the result.
    let [first, second] = [0, 1].map(|i| steps(&f.dir.join("run"))[i].clone());
    line(&f.dir, &format!("average DIR/run/{first} DIR/run/{second} -o {}", out.at("named"))).ok();
    let mut config: toml::Table = fs::read_to_string(f.dir.join("run.toml")).unwrap().parse().unwrap();
    config.remove("model");
    config.insert("start".into(), toml::toml! { from = "x" }.into());
    let config = out.write("next.toml", config.to_string());
    let sets =
        format!("--set run_dir={} --set start.from={} --set train.steps=6", out.at("next"), out.at("named"));
    line(&f.dir, &format!("train {} {sets}", config.display())).ok();
}

#[test]
fn what_has_no_average_is_refused() {
    let (f, out) = (fixture(), Dir::new());
    let to = out.at("out");
    let refused =
        |args: &str, words: &[&str]| line(&f.dir, &format!("average {args} -o {to}")).refused(words);
    let there = ["has 3 steps, step-0000000020 to step-0000000040", "leave --last out", "checkpoint.keep"];
    refused("DIR/run --last 6", &[&there[..], &["--last is 6"]].concat());
    refused("DIR/run --last 4", &[&there[..], &["--last is 4"]].concat());
    refused("DIR/run --last 1", &["has 3 steps, and --last is 1", "two or more", "leave --last out"]);
    refused("DIR/run --last 0", &["--last is 0"]);
    // A run that has kept one step, by default and asked for; and one that has kept none.
    let step = &steps(&f.dir.join("run"))[0];
    copy(&f.dir.join("run").join(step), &out.join("short").join(step));
    for options in ["", " --last 1", " --last 2", " --method lawa"] {
        let words = ["has one saved step, ", step, "two or more", "`rewarm export`", "checkpoint.keep"];
        refused(&(out.at("short") + options), &words);
    }
    fs::create_dir(out.join("empty")).unwrap();
    refused(&out.at("empty"), &["has no saved step"]);
    // Two steps are enough.
    let next = &steps(&f.dir.join("run"))[1];
    copy(&f.dir.join("run").join(next), &out.join("short").join(next));
    line(&f.dir, &format!("average {} -o {}", out.at("short"), out.at("two"))).ok();
    refused("DIR/hf", &["is one model"]);
    refused("DIR/run --last 3 --alpha 0.5", &["--alpha", "only --method ema"]);
    refused("DIR/run --last 3 --method ema --alpha 2", &["--alpha is 2"]);
    refused("DIR/run --last 3 --shape cosine", &["--shape", "only --method decay"]);
    refused("DIR/hf DIR/hf --last 2", &["--last is given"]);
    refused("DIR/nowhere DIR/hf", &["nowhere is not a directory"]);
    assert!(!Path::new(&to).exists());
    line(&f.dir, "average DIR/run --last 3 -o DIR/hf").refused(&["exists"]);
}

/// The bytes of every tensor of a directory.
fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// Whether `found` is `of`, element by element, of the values of three models, rounded once.
fn is_sum(found: &Path, models: [&Path; 3], of: impl Fn([f64; 3]) -> f64) {
    let [a, b, c] = models.map(tensors);
    for (i, (name, values)) in tensors(found).iter().enumerate() {
        for (j, value) in values.iter().enumerate() {
            let sum = of([a[i].1[j], b[i].1[j], c[i].1[j]].map(f64::from));
            assert!((f64::from(*value) - sum).abs() <= 1e-7 * sum.abs() + 1e-12, "{name} {j}: {value} {sum}");
        }
    }
}

#[test]
fn weights_of_ones_own_are_given_in_the_order_of_the_models() {
    let (f, out) = (fixture(), Dir::new());
    let run = f.dir.join("run");
    let names = steps(&run);
    let [a, b, c] = [0, 1, 2].map(|i| run.join(&names[i]));
    let [old, new] = [&a, &c].map(|dir| dir.display().to_string());
    let average = |to: &str, args: &str| {
        line(&f.dir, &format!("average {args} -o {}", out.at(to))).ok();
        out.join(to)
    };
    is_sum(&average("wise", &format!("--weights 0.3,0.7 {old} {new}")), [&a, &b, &c], |[a, _, c]| {
        0.3 * a + 0.7 * c
    });
    // Of a run the newest, and beyond the new one.
    is_sum(&average("run", "--weights 0.5,0.2,0.3 DIR/run"), [&a, &b, &c], |[a, b, c]| {
        0.5 * a + 0.2 * b + 0.3 * c
    });
    is_sum(&average("past", &format!("--weights=-0.5,1.5 {old} {new}")), [&a, &b, &c], |[a, _, c]| {
        1.5 * c - 0.5 * a
    });
    // One of them alone has its bits, signs of zeros included, in any format.
    copy(&f.dir.join("hf"), &out.join("zeros"));
    let path = out.join("zeros/model.safetensors");
    let mut zeros = fs::read(&path).unwrap();
    let end = zeros.len();
    zeros[end - 8..].copy_from_slice(&[0, 0, 0, 0x80, 0, 0, 0, 0]);
    fs::write(&path, zeros).unwrap();
    let zeros = out.at("zeros");
    assert!(bytes(&average("second", &format!("--weights 0,1 {old} {zeros}"))) == bytes(Path::new(&zeros)));
    assert!(bytes(&average("first", &format!("--weights 1,0 {zeros} {old}"))) == bytes(Path::new(&zeros)));
    line(&f.dir, &format!("export {zeros} {} --dtype bf16", out.at("half"))).ok();
    let half = average("halves", &format!("--weights 0,1 {old} {} --dtype bf16", out.at("half")));
    assert!(bytes(&half) == bytes(&out.join("half")));
    let told: Value = serde_json::from_slice(&fs::read(out.join("wise/config.json")).unwrap()).unwrap();
    let told = told["rewarm_history"][0].as_str().unwrap();
    assert!(told.contains(&format!("0.3 of {old}, 0.7 of {new}")), "{told}");
}

#[test]
fn models_are_added_and_subtracted() {
    let (f, out) = (fixture(), Dir::new());
    let run = f.dir.join("run");
    let names = steps(&run);
    let [a, b, c] = [0, 1, 2].map(|i| run.join(&names[i]));
    let [x, y, z] = [&a, &b, &c].map(|dir| dir.display().to_string());
    let average = |to: &str, args: &str| {
        line(&f.dir, &format!("average {args} -o {}", out.at(to))).ok();
        out.join(to)
    };
    let residual = average("residual", &format!("{x} --add {y} --subtract {z}"));
    is_sum(&residual, [&a, &b, &c], |[a, b, c]| a + (b - c));
    let two = average("two", &format!("{x} --add {y} --add {y} --subtract {z} --subtract {x}"));
    is_sum(&two, [&a, &b, &c], |[_, b, c]| 2.0 * b - c);
    // Differences that are nothing, and one that leads back: the values are those of the model, −0 counting as 0.
    for (to, args) in [
        ("nothing", format!("{x} --add {y} --subtract {y}")),
        ("nothing-of-runs", format!("{x} --add DIR/run --subtract {z}")),
        ("back", format!("{y} --add {x} --subtract {y}")),
    ] {
        assert!(tensors(&average(to, &args)) == tensors(&a), "{args}");
    }
    let said = line(&f.dir, &format!("average {x} --add {y} -o {}", out.at("more")));
    said.ok();
    assert!(said.err.contains("1 added, 0 subtracted"), "{}", said.err);
    is_sum(&out.join("more"), [&a, &b, &c], |[a, b, _]| a + b);
}

#[test]
fn sums_of_other_models_are_refused_by_both_names() {
    let (f, out) = (fixture(), Dir::new());
    let to = out.at("out");
    let refused =
        |args: &str, words: &[&str]| line(&f.dir, &format!("average {args} -o {to}")).refused(words);
    refused("--weights 0.3,0.6 DIR/hf DIR/run", &["the sum 0.89", "1 is expected", "--add"]);
    refused("--weights nan,1 DIR/hf DIR/run", &["the sum NaN"]);
    refused("--weights 0.3,0.3,0.4 DIR/hf DIR/run", &["has 3 numbers", "models are 2"]);
    refused("--weights 0.5,0.5 DIR/run --last 3", &["has 2 numbers", "models are 3"]);
    refused("--weights 0.5,0.5 --method wma DIR/hf DIR/run", &["--weights", "--method"]);
    refused("DIR/hf DIR/run --add DIR/run", &["2 are named before them"]);
    refused("DIR/hf --add DIR/run --weights 1,1", &["--add", "--weights"]);
    refused("DIR/hf --add DIR/nowhere", &["nowhere is not a directory"]);
    // Another vocabulary: of another size, and of the same size.
    let sets = "--set model.vocab_size=400 --set train.steps=1 --set schedule.warmup=0";
    line(&f.dir, &format!("train DIR/run.toml --set run_dir={} {sets}", out.at("larger"))).ok();
    let words = ["hf", "larger", "vocab_size is 400 and 384"];
    refused(&format!("--weights 0.5,0.5 DIR/hf {}", out.at("larger")), &words);
    refused(&format!("{} --add DIR/hf --subtract DIR/run", out.at("larger")), &words);
    copy(&f.dir.join("hf"), &out.join("other"));
    let path = out.join("other/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // A token more is no contradiction.
    let more = json!({"id": 384, "content": "<|user|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    tokenizer["added_tokens"].as_array_mut().unwrap().push(more);
    fs::write(&path, tokenizer.to_string()).unwrap();
    line(&f.dir, &format!("average --weights 0.5,0.5 DIR/hf {} -o {}", out.at("other"), out.at("fine"))).ok();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    for id in vocabulary.values_mut() {
        // The last two change places: both are ends of no other merge.
        *id = match id.as_u64() {
            Some(382) => json!(383),
            Some(383) => json!(382),
            _ => continue,
        };
    }
    fs::write(&path, tokenizer.to_string()).unwrap();
    let words =
        ["DIR/hf", "other", "id 382 is"].map(|word| word.replace("DIR", &f.dir.path().display().to_string()));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(&format!("--weights 0.5,0.5 DIR/hf {}", out.at("other")), &words);
    assert!(!Path::new(&to).exists());
}
