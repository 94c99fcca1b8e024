//! What a run is computed in: kept by a resume, changed by an override or a new phase, and read from runs of earlier versions.
use super::*;
use rewarm::checkpoint::{Disk, Manifest};

/// Weights and moments of the step that are no bf16 values.
fn wider_than_bf16(step: &Path) -> [usize; 2] {
    ["model.safetensors", "optimizer.safetensors"].map(|file| {
        let bytes = fs::read(step.join(file)).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].chunks_exact(4).filter(|x| x[..2] != [0, 0]).count()
    })
}

#[test]
fn runs_start_from_runs_in_another_precision() {
    let dir = small();
    line(&dir, "train DIR/small.toml").ok();
    // Rounded, but for the few weights of norms and biases, and said once.
    let from =
        "--set start.from=DIR/run --set start.optimizer=keep --set schedule.warmup=0 --set train.steps=5";
    let low = format!("train DIR/phase.toml --set run_dir=DIR/low --set train.precision=bf16 {from}");
    dir.config(
        "phase.toml",
        &SMALL.replace(&SMALL[SMALL.find("[model]").unwrap()..SMALL.find("[data]").unwrap()], ""),
    );
    let said = line(&dir, &low);
    said.ok();
    assert_eq!(said.err.matches("are rounded to bf16").count(), 1, "{}", said.err);
    let [weights, moments] = wider_than_bf16(&dir.join("low/step-0000000005"));
    assert!(weights > 0 && weights < 2000 && moments == 0, "{weights} weights and {moments} moments");
    let low = losses(&dir.join("low"));
    let mixed = format!("train DIR/phase.toml --set run_dir=DIR/mixed {from}");
    line(&dir, &mixed).ok();
    for (a, b) in losses(&dir.join("mixed")).iter().zip(&low) {
        assert!((a - b).abs() <= 0.02, "{b} in bf16, {a} with master weights");
    }
    // And back, exactly: the model is the same before the first step.
    let back = "train DIR/phase.toml --set run_dir=DIR/back --set start.from=DIR/low --set schedule.warmup=0 --set train.steps=1";
    let said = line(&dir, back);
    said.ok();
    assert_eq!(said.err.matches("were kept in bf16").count(), 1, "{}", said.err);
    let evaluated = |run: &str, step: u64| {
        let log = log(&dir.join(run));
        let found = log.iter().find(|l| l.get("eval").is_some() && l["step"] == step).unwrap().clone();
        found["loss"].as_f64().unwrap()
    };
    assert_eq!(evaluated("low", 5), evaluated("back", 0));
    // A Hugging Face directory like any other.
    line(&dir, "export DIR/low DIR/exported").ok();
    let loss = |model: &str| {
        let command =
            format!("eval DIR/{model} --data raw-u16:DIR/other.bin --seq-len 16 --json --device cpu");
        let value: serde_json::Value = serde_json::from_str(line(&dir, &command).ok()).unwrap();
        value["loss"].as_f64().unwrap()
    };
    assert_eq!(loss("low"), loss("exported"));
}

#[test]
fn a_precision_is_kept_or_refused() {
    let dir = small();
    let refused = |command: &str, words: &[&str]| line(&dir, command).refused(words);
    refused(
        "train DIR/small.toml --set train.precision=f32",
        &["train.precision is \"f32\"", "device is emulated", "bf16 activations", "\"mixed\""],
    );
    refused("train DIR/small.toml --set train.precision=fp8", &["train.precision", "f32", "mixed", "bf16"]);
    refused(
        "train DIR/small.toml --set train.precision=bf16 --set train.ema=0.9",
        &["train.ema", "train.precision"],
    );
    refused("bench train --device emulated --precision f32", &["device is emulated", "--precision"]);
    refused("plan --preset pythia-70m --gpu h200 --precision f32", &["\"f32\"", "--precision"]);
    refused("plan DIR/small.toml --set train.precision=f32 --gpu h200", &["\"f32\"", "--precision"]);
    assert!(!dir.join("run").join("metrics.jsonl").exists());
    line(&dir, "train DIR/small.toml --set train.precision=bf16 --set train.steps=5").ok();
    let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
    assert!(config.contains("precision = \"bf16\""), "{config}");
    let before = tree(&dir.join("run"));
    refused(
        "resume DIR/run --set train.precision=mixed",
        &["train.precision", "continues the same run only"],
    );
    refused("resume DIR/run --override --set train.precision=mixed", &["train.precision", "same run only"]);
    refused(
        "resume DIR/run --device cpu --override --set train.precision=f32",
        &["train.precision is \"bf16\" in the run and \"f32\" now", "same run only"],
    );
    assert!(before == tree(&dir.join("run")));
    // It is evaluated anywhere.
    line(&dir, "eval DIR/run --data raw-u16:DIR/other.bin --seq-len 16 --device cpu").ok();
}

/// Its state is the same numbers on either.
#[test]
fn a_run_moves_between_devices_in_its_precision() {
    let cpu = small();
    line(&cpu, "train DIR/small.toml --device cpu").ok();
    let expected = losses(&cpu.join("run"));
    for precision in ["mixed", "bf16"] {
        for [first, second] in [["emulated", "cpu"], ["cpu", "emulated"]] {
            let (dir, stated) = (small(), format!("train.precision={precision}"));
            kill_after_ten_steps(&dir, &["--device", first, "--set", &stated]);
            let said = line(&dir, &format!("resume DIR/run --device {second}"));
            said.ok();
            let words = format!("device: \"{second}\" was \"{first}\"");
            assert!(said.err.contains(&words) && !said.err.contains("override"), "{}", said.err);
            let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
            assert!(config.contains(&format!("precision = \"{precision}\"")), "{config}");
            let what = format!("{precision}, {first} to {second}");
            are_near(&expected, &losses(&dir.join("run")), &what);
        }
    }
}

/// Losses of all steps that are within two hundredths.
fn are_near(expected: &[f64], found: &[f64], what: &str) {
    assert_eq!(found.len(), 20);
    for (step, (a, b)) in expected.iter().zip(found).enumerate() {
        assert!((a - b).abs() <= 0.02, "{what}, step {step}: {b} instead of {a}");
    }
}

#[test]
fn a_run_moves_to_another_device_and_precision() {
    let cpu = small();
    line(&cpu, "train DIR/small.toml --device cpu").ok();
    let expected = losses(&cpu.join("run"));
    for [first, second] in [["emulated", "cpu"], ["cpu", "emulated"]] {
        let dir = small();
        kill_after_ten_steps(&dir, &["--device", first]);
        // In the precision of the first, which is kept until an override says otherwise.
        let [was, is] = [first, second].map(|device| if device == "cpu" { "f32" } else { "mixed" });
        let written =
            || ["config.toml", "metrics.jsonl"].map(|file| fs::read(dir.join("run").join(file)).unwrap());
        let (before, remedy) = (written(), on(second));
        if second == "emulated" {
            let kept = format!("is \"{was}\" in the run and the device is {second}");
            let words = [&kept, "keeps its precision", remedy.split_once("--override").unwrap().1];
            line(&dir, &format!("resume DIR/run --device {second}")).refused(&words);
        }
        let set = format!("resume DIR/run --device {second} --set train.precision={is}");
        let words = format!("train.precision is \"{was}\" in the run and \"{is}\" now (--override");
        line(&dir, &set).refused(&[&words]);
        assert!(before == written(), "refused, and something was written");
        let step: u64 = steps(&dir.join("run")).pop().unwrap()[5..].parse().unwrap();
        let said = line(&dir, &format!("resume DIR/run {remedy}"));
        said.ok();
        let override_ = format!("override: train.precision is \"{is}\", was \"{was}\"");
        for words in [
            &format!("device: \"{second}\" was \"{first}\"")[..],
            &override_,
            &format!("override: from step {step} on"),
        ] {
            assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
        }
        // Which it keeps.
        let config = fs::read_to_string(dir.join("run/config.toml")).unwrap();
        assert!(config.contains(&format!("precision = \"{is}\"")), "{config}");
        assert!(line(&dir, "resume DIR/run").ok().contains("all 20 steps"));
        are_near(&expected, &losses(&dir.join("run")), &format!("{first} to {second}"));
    }
}

/// The run as it was written by versions that stated no precision but bf16.
fn unstated(run: &Path) {
    let path = run.join("config.toml");
    let mut config: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    config["train"].as_table_mut().unwrap().remove("precision").expect("it is stated");
    fs::write(path, config.to_string()).unwrap();
    for step in steps(run) {
        let step = run.join(step);
        let mut manifest = Manifest::read(&Disk, &step).unwrap();
        let train = manifest.state.run_config["train"].as_object_mut().unwrap();
        train.remove("precision").expect("it is stated");
        fs::write(step.join("manifest.json"), manifest.to_text()).unwrap();
    }
}

/// The precision that the last checkpoint states.
fn stated(run: &Path) -> serde_json::Value {
    Manifest::read(&Disk, &run.join("step-0000000020")).unwrap().state.run_config["train"]["precision"]
        .clone()
}

/// Its default was called "mixed" on every device, and was f32 on a processor.
#[test]
fn an_earlier_run_goes_on_in_what_it_computed_in() {
    for (device, precision) in [("cpu", "f32"), ("emulated", "mixed")] {
        let (whole, killed) = (small(), small());
        line(&whole, &format!("train DIR/small.toml --device {device}")).ok();
        kill_after_ten_steps(&killed, &["--device", device]);
        let run = killed.join("run");
        unstated(&run);
        if device == "cpu" {
            // Nor does another device change it in silence, however it is named.
            let words =
                [&format!("train.precision is \"{precision}\" in the run")[..], "keeps its precision"];
            line(&killed, "resume DIR/run --device emulated").refused(&words);
            let path = run.join("config.toml");
            let config = fs::read_to_string(&path).unwrap();
            fs::write(&path, config.replace("device = \"cpu\"", "device = \"emulated\"")).unwrap();
            line(&killed, "resume DIR/run").refused(&words);
            fs::write(&path, config).unwrap();
        }

        let said = line(&killed, "resume DIR/run");
        said.ok();
        assert!(!said.err.contains("precision"), "nothing has changed: {}", said.err);
        assert_eq!(curve(&whole.join("run")), curve(&run));
        assert!(last_bytes(&whole.join("run")) == last_bytes(&run), "{device}: the last checkpoints differ");
        assert_eq!(stated(&run), precision, "stated from here on");
    }
}

/// Whatever that device's default is.
#[test]
fn an_earlier_run_keeps_its_precision_on_another_device() {
    for edited in [false, true] {
        let dir = small();
        kill_after_ten_steps(&dir, &[]);
        let run = dir.join("run");
        unstated(&run);
        if edited {
            let path = run.join("config.toml");
            let config = fs::read_to_string(&path).unwrap();
            fs::write(&path, config.replace("device = \"emulated\"", "device = \"cpu\"")).unwrap();
        }
        line(&dir, if edited { "resume DIR/run" } else { "resume DIR/run --device cpu" }).ok();
        assert_eq!(stated(&run), "mixed");
    }
}
