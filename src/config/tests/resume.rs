//! What a resume may change, and what is written so that earlier runs can be resumed.
use super::*;

#[test]
fn resume_tells_free_changes_from_those_that_change_the_run() {
    let old = load(SMALL, &[]).unwrap().to_json();
    let kinds = |sets: &[&str]| -> Vec<(String, DifferenceKind)> {
        let new = load(SMALL, sets).unwrap().to_json();
        resume_differences(&old, &new).into_iter().map(|d| (d.key, d.kind)).collect()
    };
    assert_eq!(kinds(&[]), []);
    let free = [
        "run_dir=x",
        "threads=1",
        "batch.micro=2",
        "train.recompute=block",
        "eval.every=7",
        "checkpoint.keep=9",
        "log.tensorboard=true",
        "data.train=[\"x\"]",
    ];
    for set in free {
        let key = set.split('=').next().unwrap().to_owned();
        assert_eq!(kinds(&[set]), [(key, DifferenceKind::Free)], "{set}");
    }
    let changes = [
        "seed=1",
        "model.gelu=tanh",
        "data.seq_len=8",
        "batch.sequences=16",
        "optim.clip=0",
        "optim.layer_decay=0.5",
        "train.ema=0.9",
        "head.chunk_rows=1",
    ];
    for set in changes {
        let key = set.split('=').next().unwrap().to_owned();
        assert!(kinds(&[set]).contains(&(key, DifferenceKind::ChangesRun)), "{set}");
    }
    let plan = [
        "schedule.warmup=1",
        "data.skip=[\"sample 7\"]",
        "train.steps=1001",
        "optim.weight_decay=0",
        "optim.betas=[0.8, 0.9]",
        "optim.beta1_phases=[{shape=\"linear\", to=0.5}]",
    ];
    for set in plan {
        let key = set.split('=').next().unwrap().to_owned();
        assert_eq!(kinds(&[set]), [(key, DifferenceKind::Plan)], "{set}");
    }
    let mut wider = old.clone();
    wider["optim"]["new_key"] = 1.into();
    let difference = &resume_differences(&old, &wider)[0];
    assert_eq!((difference.key.as_str(), &difference.old), ("optim.new_key", &serde_json::Value::Null));
}

/// Where weights and moments are f32 before and after, they mean the same; nothing else may change.
#[test]
fn a_precision_changes_between_those_with_f32_state() {
    let json = |set: &str| load(SMALL, &["device=cuda:0", set]).unwrap().to_json();
    let (mixed, low) = (json("train.precision=mixed"), json("train.precision=bf16"));
    let f32 = load(SMALL, &[]).unwrap().to_json();
    for (old, new, kind) in [
        (&f32, &mixed, DifferenceKind::Plan),
        (&mixed, &f32, DifferenceKind::Plan),
        (&mixed, &low, DifferenceKind::ChangesRun),
        (&low, &mixed, DifferenceKind::ChangesRun),
        (&low, &f32, DifferenceKind::ChangesRun),
    ] {
        let differences = resume_differences(old, new);
        let precision = differences.iter().find(|d| d.key == "train.precision").unwrap();
        assert_eq!(precision.kind, kind, "{precision:?}");
    }
}

/// The help names what the rules allow: sections as one, lists without their entries' keys.
#[test]
fn the_help_of_a_resume_is_of_its_rules() {
    let help = resume_help();
    let (free, plan) = help.split_once("; with --override also ").unwrap();
    for (part, has, has_not) in [
        (
            free,
            "run_dir, threads, device, data.train, data.mixture[].paths, data.mixture[].role, data.role, data.tokenizer, data.validation,",
            "seed",
        ),
        (free, "eval.*, checkpoint.*, log.*; on a cpu batch.micro", "data.validation[]"),
        (plan, "data.mixture, data.skip,", "name"),
        (plan, "optim.betas, optim.weight_decay,", "optim.eps"),
        (plan, "schedule.*, train.steps, train.tokens", "schedule.lr"),
        (plan, ", and between f32 and mixed train.precision", "train.ema"),
    ] {
        assert!(part.contains(has) && !part.contains(has_not), "{help}");
    }
}

/// Which sums are whose decides about bits: no key that a resume may change.
#[test]
fn separate_bias_gradients_belong_to_a_run() {
    let json = |sets: &[&str]| load(SMALL, sets).unwrap().to_json();
    let (plain, separate) = (json(&[]), json(&["train.separate_bias_gradients=true"]));
    assert_eq!(plain, json(&["train.separate_bias_gradients=false"]), "written where it is not the default");
    let [difference] = &resume_differences(&plain, &separate)[..] else { panic!("one") };
    assert_eq!(difference.key, "train.separate_bias_gradients");
    assert_eq!(difference.kind, DifferenceKind::ChangesRun);
}

#[test]
fn precision_is_the_devices_and_always_written() {
    let text = |sets: &[&str]| load(SMALL, sets).unwrap().resolved_toml();
    for (device, default) in [("cpu", "f32"), ("cuda:0", "mixed"), ("emulated", "mixed")] {
        let device = format!("device={device}");
        let resolved = text(&[&device]);
        assert!(resolved.contains(&format!("precision = \"{default}\"")), "{resolved}");
        assert_eq!(text(&[&device, &format!("train.precision={default}")]), resolved);
        assert_eq!(load(&resolved, &[]).unwrap().resolved_toml(), resolved);
    }
    let low = text(&["device=cuda:0", "train.precision=bf16"]);
    assert!(low.contains("precision = \"bf16\""), "{low}");
    for precision in ["mixed", "bf16"] {
        let resolved = text(&[&format!("train.precision={precision}")]);
        assert!(resolved.contains(&format!("precision = \"{precision}\"")), "{resolved}");
        assert_eq!(load(&resolved, &[]).unwrap().resolved_toml(), resolved);
    }
    for device in ["cuda:0", "emulated"] {
        let sets = ["train.precision=f32", &format!("device={device}")];
        let words = format!("train.precision is \"f32\" and the device is {device}");
        assert_refused(SMALL, &sets, &words, "compute with bf16 activations; give \"mixed\"");
    }
    let error =
        load(SMALL, &["train.precision=bf16", "device=cuda:0", "train.ema=0.9"]).unwrap_err().to_string();
    assert!(error.contains("train.precision") && error.contains("train.ema"), "{error}");
}
