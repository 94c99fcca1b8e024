//! Training on several sources: what is held out, what is logged, and what is refused.
use crate::support::*;

/// [`CONFIG`] on these sources instead of one corpus.
fn mixed(sources: &str) -> String {
    CONFIG.replacen("train = [\"DIR/data/a\"]\n", "", 1).replacen(
        "[batch]",
        &format!("{sources}\n[batch]"),
        1,
    )
}

fn source(name: &str, path: &str, share: &str) -> String {
    format!("[[data.mixture]]\nname = \"{name}\"\npaths = [\"{path}\"]\n{share}\n")
}

#[test]
fn sources_are_held_out_evaluated_and_logged_by_name() {
    let dir = workshop();
    let sources =
        [source("new", "DIR/data/a", ""), source("replay", "DIR/data/b", "fraction = 0.25")].concat();
    dir.config("mixed.toml", &mixed(&sources));
    let said = line(&dir, "train DIR/mixed.toml --set run_dir=\"DIR/mixed\"");
    said.ok();
    for words in ["75.00 % of the run", "25.00 % of the run", "\"tales\" reads", "(source \"replay\")"] {
        assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
    }
    let lines = log(&dir.join("mixed"));
    for set in ["heldout-new", "heldout-replay", "tales", "both"] {
        let at: Vec<u64> =
            lines.iter().filter(|l| l["eval"] == *set).map(|l| l["step"].as_u64().unwrap()).collect();
        assert_eq!(at, [0, 10, 20, 30, 40], "{set}");
    }
    // A quarter of 8 sequences of 64 tokens each step.
    let given = lines.iter().filter(|l| !l["sources"].is_null());
    let given: Vec<[u64; 3]> = given
        .map(|l| {
            let tokens = |name: &str| l["sources"][name]["tokens"].as_u64().unwrap();
            [l["step"].as_u64().unwrap(), tokens("new"), tokens("replay")]
        })
        .collect();
    assert_eq!(given, [0, 10, 20, 30, 40].map(|step| [step, step * 6 * 64, step * 2 * 64]));
    // So the mean of the sources' losses, by their sequences, is that of the step.
    for l in lines.iter().filter(|l| !l["lr"].is_null()) {
        let [loss, new, replay] = [&l["loss"], &l["loss_by_source"]["new"], &l["loss_by_source"]["replay"]]
            .map(|loss| loss.as_f64().unwrap_or_else(|| panic!("{l}")));
        assert!((0.75 * new + 0.25 * replay - loss).abs() <= 1e-6 * loss && new != replay, "{l}");
    }
    let one = log(&fixture().dir.join("run"));
    assert!(one.iter().all(|l| l.get("loss_by_source").is_none()), "one source needs no name");
    line(&dir, "generate DIR/mixed --prompt The --max-tokens 4").ok();

    let said = line(&dir, "data inspect --config DIR/mixed.toml");
    let at =
        |words: &str| said.ok().find(words).unwrap_or_else(|| panic!("{words} is missing in {}", said.out));
    assert!(at("source new") < at("data/a.bin") && at("data/a.bin") < at("source replay"));
    let said = line(&dir, "data inspect --config DIR/mixed.toml --json");
    let found: serde_json::Value = serde_json::from_str(said.ok()).unwrap();
    assert_eq!(found["replay"]["documents"], 60);
    let said = line(&dir, "data inspect --config DIR/run.toml");
    assert!(said.ok().starts_with("source train"), "{}", said.out);
}

#[test]
fn sources_that_cannot_be() {
    let dir = workshop();
    dir.write("data/short.bin", [1u8, 0, 2, 0, 3, 0]);
    let a = source("new", "DIR/data/a", "");
    let refuse = |sources: &str, sets: &str, words: &[&str]| {
        dir.config("bad.toml", &mixed(sources));
        let before = tree(dir.path());
        line(&dir, &format!("train DIR/bad.toml --set run_dir=\"DIR/new\" {sets}")).refused(words);
        assert_eq!(before, tree(dir.path()));
    };
    let all = "--set data.validation_fraction=0";
    let short = source("replay", "raw-u16:DIR/data/short.bin", "fraction = 0.1");
    refuse(&(a.clone() + &short), all, &["source \"replay\"", "3 tokens", "64 + 1"]);
    let one = source("replay", "DIR/data/c", "");
    refuse(&(a.clone() + &one), "", &["heldout-replay", "no tokens", "1 documents"]);
    refuse(&(a.clone() + &source("replay", "DIR/data/a", "")), all, &["a.bin", "\"new\"", "\"replay\""]);
    refuse(&(a.clone() + &source("replay", "DIR/data/none", "")), all, &["source \"replay\"", "none"]);
    refuse(&(a.clone() + &source("new", "DIR/data/b", "")), all, &["data.mixture[1].name", "taken"]);
    refuse(&a, "--set data.train=[\"DIR/data/b\"]", &["data.train and data.mixture"]);
    refuse(&(a + &source("replay", "DIR/data/b", "fraction = 1.5")), all, &["fraction is 1.5"]);
}
