//! What evaluations measure beside losses: against the saved weights and a forward pass of the reference, the same through kills
//! and resumes, and without what cannot be had.
use super::*;
use rewarm::checkpoint::{Disk, Manifest};
use rewarm::reference::model::Net;
use serde_json::Value;
use std::collections::BTreeMap;

const ON: &str = "--set eval.diagnostics=true";
const TOKENS: usize = 16;

type Weights = BTreeMap<String, Vec<f32>>;

/// The lines of a run, by their steps.
fn measured(run: &Path) -> Vec<(u64, Value)> {
    let lines = log(run).into_iter().filter(|line| line.get("diagnostics").is_some());
    lines.map(|line| (line["step"].as_u64().unwrap(), line["diagnostics"].clone())).collect()
}

fn step_dir(run: &Path, step: u64) -> std::path::PathBuf {
    run.join(format!("step-{step:010}"))
}

fn weights(run: &Path, step: u64) -> Weights {
    tensors(&step_dir(run, step).join("model.safetensors"), "")
}

/// Every figure of a group, by the name of its tensors.
fn groups(figures: &Value) -> Vec<(String, f64)> {
    let blocks = figures["blocks"].as_array().unwrap().iter().enumerate();
    let blocks = blocks.map(|(i, value)| (format!("gpt_neox.layers.{i}."), value));
    let named = [
        ("total", ""),
        ("embed", "gpt_neox.embed_in"),
        ("final_norm", "gpt_neox.final"),
        ("head", "embed_out"),
    ];
    let named = named.into_iter().filter_map(|(key, prefix)| Some((prefix.to_owned(), figures.get(key)?)));
    named.chain(blocks).map(|(prefix, value)| (prefix, value.as_f64().unwrap())).collect()
}

/// The figures of `now` against `before`, by the formulas over whole groups.
#[track_caller]
fn assert_moved(found: &Value, before: &Weights, now: &Weights) {
    let (updates, angles) = (groups(&found["update"]), groups(&found["angle"]));
    assert_eq!(updates.len(), 6, "all, embedding, norm, head and two blocks");
    for ((prefix, update), (_, angle)) in updates.into_iter().zip(angles) {
        let of_group = before.iter().filter(|(name, _)| name.starts_with(&prefix));
        let pairs = of_group.flat_map(|(name, before)| before.iter().zip(&now[name]));
        let pairs: Vec<(f64, f64)> = pairs.map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let sum = |f: fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
        let (aa, bb, ab) = (sum(|(a, _)| a * a), sum(|(_, b)| b * b), sum(|(a, b)| a * b));
        let expected = (sum(|(a, b)| (b - a) * (b - a)) / aa).sqrt();
        assert!((update / expected - 1.0).abs() < 1e-12, "{prefix}: {update} {expected}");
        let expected = (ab / (aa * bb).sqrt()).acos().to_degrees();
        assert!(expected > 0.5 && (angle / expected - 1.0).abs() < 1e-10, "{prefix}: {angle} {expected}");
    }
}

/// The kurtosis of every stream of the reference in f64, over eight windows of `other.bin` evenly apart.
fn kurtosis(dir: &Dir, run: &Path, step: u64) -> Vec<f64> {
    let config = Manifest::read(&Disk, &step_dir(run, step)).unwrap().model;
    let net = Net::<f64>::new(&config, &weights(run, step));
    let bytes = fs::read(dir.join("other.bin")).unwrap();
    let tokens: Vec<i32> = bytes.chunks(2).map(|t| i32::from(u16::from_le_bytes([t[0], t[1]]))).collect();
    let windows = (tokens.len() - 1) / TOKENS;
    let mut of_tokens: Vec<Vec<f64>> = Vec::new();
    for window in (0..8).map(|i| i * windows / 8) {
        let forward = net.forward(&tokens[window * TOKENS..][..TOKENS], TOKENS);
        let streams = forward.streams();
        of_tokens.resize(streams.len(), Vec::new());
        for (stream, of_tokens) in streams.iter().zip(&mut of_tokens) {
            of_tokens.extend(stream.chunks(config.hidden_size).map(|x| {
                let n = x.len() as f64;
                let mean = x.iter().sum::<f64>() / n;
                let moment = |power| x.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
                moment(4) / moment(2).powi(2) - 3.0
            }));
        }
    }
    of_tokens.iter().map(|all| all.iter().sum::<f64>() / all.len() as f64).collect()
}

/// From a seed, whose weights are those after a step whose rate is 0, and from a checkpoint.
#[test]
fn figures_are_those_of_the_saved_weights() {
    let dir = tiny();
    line(&dir, &format!("train DIR/tiny.toml {ON}")).ok();
    let still = "--set run_dir=\"DIR/still\" --set schedule.warmup=2 --set train.steps=4 --set checkpoint.every=1 \
                 --set checkpoint.keep=9";
    line(&dir, &format!("train DIR/tiny.toml {still}")).ok();
    let (run, phase) = (dir.join("run"), dir.join("phase"));
    let more = "--set checkpoint.keep=9 --set optim.weight_decay=0.3 --set run_dir=\"DIR/phase\"";
    line(&dir, &format!("branch DIR/run/step-10 DIR/phase {more}")).ok();
    for (run, before, start) in
        [(&run, weights(&dir.join("still"), 1), "still"), (&phase, weights(&run, 10), "a step")]
    {
        let found = measured(run);
        assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 10, 20]);
        let zero = groups(&found[0].1["update"]).into_iter().chain(groups(&found[0].1["angle"]));
        zero.for_each(|(group, value)| assert_eq!(value, 0.0, "{group} before the first step, from {start}"));
        for (step, found) in &found[1..] {
            assert_moved(found, &before, &weights(run, *step));
            let kept = &found["kurtosis"];
            let blocks = kept["blocks"].as_array().unwrap().iter().chain([&kept["final_norm"]]);
            let expected = kurtosis(&dir, run, *step);
            assert_eq!(expected.len(), 3);
            for (found, expected) in blocks.zip(expected) {
                let found = found.as_f64().unwrap();
                assert!((found - expected).abs() < 1e-5, "f32 activations: {found} {expected}");
            }
        }
    }
}

/// On or off, in every precision and from a seed or a checkpoint: the same run but for the lines. Cut anywhere, with other
/// threads, micro-batches and recomputation: the same lines.
#[test]
fn lines_are_equal_through_kills_and_resumes() {
    let mut dice = Dice::from_environment();
    for precision in ["f32", "mixed", "bf16"] {
        let dir = tiny();
        let all = format!("--set train.precision={precision} --set checkpoint.keep=9");
        line(&dir, &format!("train DIR/tiny.toml {all} --set run_dir=\"DIR/base\"")).ok();
        line(&dir, "branch DIR/base DIR/off --set seed=9").ok();
        line(&dir, &format!("branch DIR/base DIR/from --set seed=9 {ON}")).ok();
        line(&dir, &format!("train DIR/tiny.toml {all} {ON}")).ok();
        for (on, off) in [("run", "base"), ("from", "off")] {
            let (on, off) = (dir.join(on), dir.join(off));
            assert_eq!((measured(&on).len(), measured(&off).len()), (3, 0));
            assert_eq!(groups(&measured(&on)[0].1["update"])[0].1, 0.0, "{precision}: step 0");
            let rest: Vec<String> = curve(&on).into_iter().filter(|l| !l.contains("diagnostics")).collect();
            assert_eq!(rest, curve(&off), "{precision}");
            for step in steps(&off) {
                let bytes = |run: &Path| fs::read(run.join(&step).join("model.safetensors")).unwrap();
                assert!(bytes(&on) == bytes(&off), "{precision}: {step}");
            }
        }
        for whole in ["run", "from"].map(|name| dir.join(name)) {
            let again = dir.join("again");
            for sets in ["--set threads=1", "--set threads=3 --set batch.micro=1 --set train.recompute=block"]
            {
                copy(&whole, &again);
                let cut = 5 * (1 + dice.below(3) as u64);
                for step in (5..=20).step_by(5).filter(|step| *step > cut) {
                    fs::remove_dir_all(step_dir(&again, step)).unwrap();
                }
                line(&dir, &format!("resume DIR/again {sets}")).ok();
                assert_equal_runs(&again, &whole, &format!("{precision} from step {cut}, {sets}"));
                fs::remove_dir_all(&again).unwrap();
            }
        }
    }
}

/// A signal at any time, between the figures and the losses of an evaluation, too.
#[test]
fn a_stop_in_an_evaluation_leaves_no_gap() {
    let dir = tiny();
    let sets = format!("--set eval.every=1 --set train.steps=60 {ON}");
    line(&dir, &format!("train DIR/tiny.toml {sets}")).ok();
    let mut dice = Dice::from_environment();
    for _ in 0..4 {
        let text = format!("train DIR/tiny.toml {sets} --set run_dir=\"DIR/stopped\"");
        let mut child = start(&dir, &text.split_whitespace().collect::<Vec<_>>());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|l| l.is_ok_and(|l| l.starts_with("saved"))), "nothing was saved");
        std::thread::sleep(Duration::from_micros(dice.below(20_000) as u64));
        signal(&child, "TERM");
        lines.for_each(drop);
        child.wait().unwrap();
        line(&dir, "resume DIR/stopped").ok();
        assert_equal_runs(&dir.join("stopped"), &dir.join("run"), "stopped");
        fs::remove_dir_all(dir.join("stopped")).unwrap();
    }
}

/// Where the model that a phase started from is gone or another one, that is said once, and the run goes on without these
/// figures; they come back with it.
#[test]
fn a_start_that_is_gone_is_said_once() {
    let dir = tiny();
    line(&dir, "train DIR/tiny.toml --set run_dir=\"DIR/base\"").ok();
    line(&dir, &format!("branch DIR/base DIR/run --set eval.every=2 --set checkpoint.keep=9 {ON}")).ok();
    let (whole, base) = (dir.join("run"), step_dir(&dir.join("base"), 20));
    let file = base.join("model.safetensors");
    let kept = fs::read(&file).unwrap();
    let others = [
        ("gone", None, "model.safetensors"),
        (
            "other",
            Some(fs::read(step_dir(&dir.join("base"), 15).join("model.safetensors")).unwrap()),
            "are others now",
        ),
        ("torn", Some(kept[..kept.len() / 2].to_vec()), "model.safetensors"),
    ];
    for (name, bytes, why) in others {
        bytes.map_or_else(|| fs::remove_file(&file).unwrap(), |bytes| fs::write(&file, bytes).unwrap());
        let run = dir.join(name);
        copy(&whole, &run);
        for step in [10, 15, 20] {
            fs::remove_dir_all(step_dir(&run, step)).unwrap();
        }
        let said = line(&dir, &format!("resume DIR/{name} --set train.recompute=block"));
        said.ok();
        let warned: Vec<&str> =
            said.err.lines().filter(|l| l.contains("the weights that this run started from")).collect();
        assert_eq!(warned.len(), 1, "{}", said.err);
        assert!(warned[0].contains(&base.display().to_string()) && warned[0].contains(why), "{warned:?}");
        assert_eq!(measured(&run).len(), 11);
        for ((step, found), (_, before)) in measured(&run).iter().zip(measured(&whole)) {
            assert_eq!(found["kurtosis"], before["kurtosis"]);
            assert_eq!(found.get("update").is_some() && found.get("angle").is_some(), *step <= 4, "{step}");
        }
        fs::write(&file, &kept).unwrap();
        for step in [15, 20] {
            fs::remove_dir_all(step_dir(&run, step)).unwrap();
        }
        line(&dir, &format!("resume DIR/{name}")).ok();
        assert_eq!(measured(&run)[6..], measured(&whole)[6..], "{name}: it is back");
    }
}

/// Asked for on the way they are those of a run that had them all along. Without a validation set there is no stream to look
/// at.
#[test]
fn they_may_begin_on_the_way_and_without_sets() {
    let dir = tiny();
    line(&dir, "train DIR/tiny.toml --set run_dir=\"DIR/base\"").ok();
    for (name, on) in [("whole", ON), ("run", "")] {
        line(&dir, &format!("branch DIR/base DIR/{name} --set eval.every=2 --set checkpoint.keep=9 {on}"))
            .ok();
    }
    for step in [10, 15, 20] {
        fs::remove_dir_all(step_dir(&dir.join("run"), step)).unwrap();
    }
    let said = line(&dir, &format!("resume DIR/run {ON}"));
    said.ok();
    assert!(said.err.contains("as they are today"), "{}", said.err);
    let (found, whole) = (measured(&dir.join("run")), measured(&dir.join("whole")));
    assert_eq!((found.len(), &found[..]), (8, &whole[3..]));
    assert!(!line(&dir, "resume DIR/whole --set train.steps=20").err.contains("as they are today"));

    let none = "--unset data.validation --set run_dir=\"DIR/none\"";
    let said = line(&dir, &format!("train DIR/tiny.toml {none} {ON}"));
    said.ok();
    assert!(said.err.contains("eval.diagnostics: the kurtosis"), "{}", said.err);
    for (_, found) in measured(&dir.join("none")) {
        assert!(found.get("kurtosis").is_none() && found.get("update").is_some(), "{found}");
    }
    line(&dir, "train DIR/tiny.toml --set eval.diagnostics=1 --set run_dir=\"DIR/nowhere\"")
        .refused(&["eval.diagnostics is 1", "true or false"]);
}

/// Event files have every figure of the log.
#[test]
fn tensorboard_has_them() {
    let dir = tiny();
    line(&dir, &format!("train DIR/tiny.toml {ON} --set log.tensorboard=true")).ok();
    let folder = fs::read_dir(dir.join("run/tensorboard")).unwrap();
    let bytes: Vec<u8> = folder.flat_map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    let count = |tag: &str| bytes.windows(tag.len()).filter(|at| *at == tag.as_bytes()).count();
    for tag in ["update/total", "update/head", "angle/blocks/1", "kurtosis/blocks/0", "kurtosis/final_norm"] {
        assert_eq!(count(&format!("diagnostics/{tag}")), 3, "{tag}");
    }
}
