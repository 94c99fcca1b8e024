//! `rewarm average`: its arithmetic, from the files alone, and what can be done with the result.
use crate::support::*;
use safetensors::SafeTensors;
use serde_json::Value;
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
