//! What shares mean, the refusal of what they cannot mean, and what of a mixture a resume may change.
use crate::config::tests::{SMALL, assert_refused, load};
use crate::config::{DifferenceKind, Role, resume_differences};

pub const MIXED: &str = r#"
run_dir = "runs/mixed"
[model]
preset = "pythia-70m"
[data]
seq_len = 512
validation_fraction = 0.1
[[data.mixture]]
name = "code"
paths = ["data/code"]
weight = 3
seed = 9
order = "sorted:-quality"
subset = "20M"
epochs = 1.5
tokens = "10M"
offset = "after:runs/a"
when_empty = "others"
[[data.mixture]]
name = "prose"
paths = ["data/prose", "data/more"]
weight = 1
[[data.mixture.weight_phases]]
shape = "constant"
length = "50%"
[[data.mixture.weight_phases]]
shape = "linear"
to = 0
[[data.mixture]]
name = "replay"
paths = ["data/pile"]
fraction = 0.5
role = "retain"
[[data.mixture.fraction_phases]]
shape = "linear"
length = 4
to = 0.1
[[data.mixture.fraction_phases]]
shape = "constant"
[schedule]
lr = 1e-3
[train]
steps = 16
"#;

#[test]
fn fractions_are_of_everything_and_weights_of_the_rest() {
    let config = load(MIXED, &[]).unwrap();
    let names: Vec<&str> = config.data.sources().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["code", "prose", "replay"]);
    assert_eq!(config.data.mixture[2].heldout(), "heldout-replay");
    let shares = config.shares(512, 0, config.data.untouched()).unwrap();
    let step = |step: u64| -> Vec<f64> {
        let [before, after] = [step, step + 1].map(|step| shares.due(8 * step));
        before.iter().zip(after).map(|(before, after)| (after - before) / 8.0).collect()
    };
    let close = |is: Vec<f64>, expected: [f64; 3]| {
        assert!(is.iter().zip(expected).all(|(is, e)| (is - e).abs() < 1e-9), "{is:?} {expected:?}");
    };
    close(step(0), [0.375, 0.125, 0.5]);
    close(step(2), [0.525, 0.175, 0.3]);
    close(step(4), [0.675, 0.225, 0.1]);
    close(step(8), [0.675, 0.225, 0.1]);
    close(step(12), [0.9 * 3.0 / 3.5, 0.9 * 0.5 / 3.5, 0.1]);
    let one = load(SMALL, &[]).unwrap();
    assert_eq!(one.data.sources(), [("train", &one.data.train[..])]);
    assert_eq!(one.shares(512, 0, one.data.untouched()).unwrap().due(9), [9.0]);
}

#[test]
fn mixtures_without_meaning_are_refused() {
    let mixture = |sources: &str| {
        let sources = sources.split(';').enumerate();
        let sources: Vec<String> =
            sources.map(|(i, s)| format!("{{name = \"{i}\", paths = [\"p{i}\"]{s}}}")).collect();
        SMALL.replace("train = [\"data/pile\"]", &format!("mixture = [{}]", sources.join(", ")))
    };
    let refused =
        |sources: &str, key: &str, remedy: &str| assert_refused(&mixture(sources), &[], key, remedy);
    load(&mixture(", weight = 0;, weight = 1"), &[]).unwrap();
    load(&mixture(", fraction = 0.7;, fraction = 0.2;, fraction = 0.1"), &[]).unwrap();
    load(&mixture(", fraction = 1;, fraction = 0;"), &[]).unwrap();
    refused(", weight = -1;", "data.mixture[0].weight", "at least 0");
    refused(", weight = nan;", "data.mixture[0].weight", "finite");
    refused(", fraction = inf;", "data.mixture[0].fraction", "finite");
    refused(", weight = \"half\";", "data.mixture[0].weight", "finite number");
    refused(", weight = 0;, weight = 0", "data.mixture", "above 0");
    refused(", fraction = 1.5;", "data.mixture[0].fraction is 1.5", "0 to 1");
    refused(", fraction = 0.7;, fraction = 0.4;", "1.1 in step 0", "lower them");
    refused(", fraction = 0.7;, fraction = 0.2", "step 0", "a sum of 1");
    refused(", fraction = 0.5, weight = 1;", "data.mixture[0]", "remove one");
    refused(", fraction_phases = [{shape = \"constant\"}];", "data.mixture[0].fraction_phases", "largest");
    let late =
        ", fraction = 0.9, fraction_phases = [{shape = \"linear\", from = 0.1, to = 0.9}];, fraction = 0.5;";
    refused(late, "in step 5", "lower them");
    refused(", temperature = 1;", "data.mixture[0].temperature", "name, paths, weight");
    refused(", replay_fraction = 0.1;", "replay_fraction", "data.mixture[].fraction");
    refused(", weight = 2, weight_phases = [{shap = \"linear\"}];", "weight_phases[0].shap", "shape");
    refused(
        ", weight = 2, weight_phases = [{shape = \"linear\", length = 2000, to = 1}];",
        "weight_phases",
        "shorten",
    );
    assert_refused(
        &mixture(";").replace("name = \"1\"", "name = \"0\""),
        &[],
        "data.mixture[1].name",
        "another",
    );
    assert_refused(&mixture(";").replace("[\"p1\"]", "[]"), &[], "data.mixture[1].paths", "at least one");
    assert_refused(
        &mixture(";").replace("paths = [\"p1\"]", "weight = 1"),
        &[],
        "data.mixture[1].paths",
        "name and paths",
    );
    assert_refused(MIXED, &["data.mixture[0].order=random"], "data.mixture[0].order", "\"sorted:-KEY\"");
    assert_refused(
        MIXED,
        &["data.window=256"],
        "data.window is 256 and data.seq_len 512",
        "raise data.window",
    );
    assert_refused(MIXED, &["data.train=[\"x\"]"], "data.train and data.mixture", "source of the mixture");
    assert_refused(MIXED, &["train.steps=5000000000"], "5000000000 steps", "constant shares");
    let taken = "data.validation=[{name=\"heldout-code\", paths=[\"x\"]}]";
    assert_refused(MIXED, &[taken], "heldout-code", "choose another");
}

/// A role is of what is held out: of the one source, or of each source of a mixture.
#[test]
fn roles_are_of_held_out_sets() {
    let heldout = |text: &str, sets: &[&str]| load(text, sets).unwrap().data.heldout();
    let fraction = "data.validation_fraction=0.1";
    let set = |name: &str, role| (name.to_owned(), role);
    assert_eq!(heldout(SMALL, &[]), []);
    assert_eq!(heldout(SMALL, &[fraction]), [set("heldout", None)]);
    assert_eq!(heldout(SMALL, &[fraction, "data.role=retain"]), [set("heldout", Some(Role::Retain))]);
    let expected = [
        set("heldout-code", None),
        set("heldout-prose", Some(Role::Learn)),
        set("heldout-replay", Some(Role::Retain)),
    ];
    let another = ["data.mixture[1].role=learn"];
    assert_eq!(heldout(MIXED, &another), expected);
    let nothing = "data.validation_fraction=0";
    for (text, sets, key, remedy) in [
        (SMALL, &["data.role=learn"][..], "data.role is \"learn\"", "set data.validation_fraction = 0.01"),
        (MIXED, &[nothing], "data.mixture[2].role is \"retain\"", "set data.validation_fraction = 0.01"),
        (MIXED, &["data.role=learn"], "data.role is of what is held out of data.train", "roles of their own"),
        (SMALL, &["data.role=keep", fraction], "data.role is \"keep\"", "\"retain\", \"learn\""),
        (MIXED, &["data.mixture[1].role=lern"], "data.mixture[1].role", "did you mean \"learn\"?"),
    ] {
        assert_refused(text, sets, key, remedy);
    }
    let json = |sets: &[&str]| load(MIXED, sets).unwrap().to_json();
    let changes = resume_differences(&json(&[]), &json(&another));
    assert!(changes.len() == 1 && changes[0].kind == DifferenceKind::Free, "{changes:?}");
}

#[test]
fn shares_are_of_the_plan_and_paths_are_free() {
    let old = load(MIXED, &[]).unwrap().to_json();
    let kinds = |from: &str, to: &str| -> Vec<(String, DifferenceKind)> {
        let new = load(&MIXED.replace(from, to), &[]).unwrap().to_json();
        resume_differences(&old, &new).into_iter().map(|d| (d.key, d.kind)).collect()
    };
    let one = |key: &str, kind| vec![(key.to_owned(), kind)];
    assert_eq!(kinds("weight = 3", "weight = 4"), one("data.mixture[0].weight", DifferenceKind::Plan));
    assert_eq!(
        kinds("length = 4", "length = 5"),
        one("data.mixture[2].fraction_phases", DifferenceKind::Plan)
    );
    assert_eq!(kinds("data/code", "moved/code"), one("data.mixture[0].paths", DifferenceKind::Free));
    assert_eq!(kinds("\"code\"", "\"rust\""), one("data.mixture[0].name", DifferenceKind::Plan));
    let validation = "[[data.validation]]\nname = \"a\"\npaths = [\"b\"]\n[schedule]";
    let kinds = kinds("[schedule]", validation);
    assert!(!kinds.is_empty() && kinds.iter().all(|(_, kind)| *kind == DifferenceKind::Free), "{kinds:?}");
}
