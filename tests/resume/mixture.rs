//! Runs on several sources: exact through kills, changes of shares and branches.
use super::*;
use serde_json::{Value, json};

/// Replay falls from a half to a tenth; the others share the rest three to one.
const SOURCES: &str = r#"
[[data.mixture]]
name = "new"
paths = ["raw-u16:DIR/tokens.bin"]
weight = 3

[[data.mixture]]
name = "more"
paths = ["raw-u16:DIR/more.bin"]

[[data.mixture]]
name = "replay"
paths = ["raw-u16:DIR/other.bin"]
fraction = 0.5
[[data.mixture.fraction_phases]]
shape = "linear"
length = "50%"
to = 0.1
[[data.mixture.fraction_phases]]
shape = "constant"

[[data.validation]]
"#;

fn mixed() -> Dir {
    let dir = tiny();
    dir.write("more.bin", tokens(3, 3_000));
    let one = "train = [\"raw-u16:DIR/tokens.bin\"]\n";
    dir.config("mixed.toml", &TINY.replace(one, "").replacen("[[data.validation]]\n", SOURCES, 1));
    dir
}

/// The last line of the log about sources: their tokens.
fn given(run: &Path) -> [u64; 3] {
    let line = log(run).into_iter().rfind(|line| !line["sources"].is_null()).unwrap();
    ["new", "more", "replay"].map(|name| line["sources"][name]["tokens"].as_u64().unwrap())
}

/// What a checkpoint says of its mixture.
fn account(run: &Path, step: &str) -> Value {
    let text = fs::read_to_string(run.join(step).join("manifest.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["state"]["extra"]["mixture"].clone()
}

fn forget_after(run: &Path, step: u64) {
    for name in steps(run).into_iter().filter(|name| name[5..].parse::<u64>().unwrap() > step) {
        fs::remove_dir_all(run.join(name)).unwrap();
    }
}

#[test]
fn a_mixture_survives_a_kill_and_any_split() {
    let dir = mixed();
    let said = line(&dir, "train DIR/mixed.toml");
    said.ok();
    for words in [
        "new: 40000 tokens",
        "% of the run",
        "replay: 2000 tokens in 1 documents, 0.",
        "\"other\" reads",
        "which is trained on",
    ] {
        assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
    }
    // 20 steps of 4 sequences of 16 tokens. Replay is due 2·(1 − 0.08·s) of step s up to step 10, then 0.4.
    let [new, more, replay] = given(&dir.join("run")).map(|tokens| tokens / 16);
    assert_eq!(new + more + replay, 80);
    let due = (0..10).map(|s| 2.0 - 0.16 * f64::from(s)).sum::<f64>() + 10.0 * 0.4;
    assert!((replay as f64 - due).abs() < 1.0, "{replay} {due}");
    assert!(
        (new as f64 - 0.75 * (80.0 - due)).abs() < 1.0 && (more as f64 - 0.25 * (80.0 - due)).abs() < 1.0
    );

    for (name, sets) in [("one", "threads=1 --set batch.micro=4"), ("three", "threads=3 --set batch.micro=1")]
    {
        line(&dir, &format!("train DIR/mixed.toml --set {sets} --set run_dir=\"DIR/{name}\"")).ok();
        assert_equal_runs(&dir.join(name), &dir.join("run"), sets);
        for step in [15, 10] {
            forget_after(&dir.join(name), step);
            line(&dir, &format!("resume DIR/{name} --set {sets}")).ok();
            assert_equal_runs(&dir.join(name), &dir.join("run"), &format!("{sets} from step {step}"));
        }
    }
}

#[test]
fn a_mixture_of_one_source_is_that_source() {
    let dir = mixed();
    line(&dir, "train DIR/tiny.toml").ok();
    let one = "data.mixture=[{name=\"all\", paths=[\"raw-u16:DIR/tokens.bin\"]}]";
    rewarm(&dir, ["train", "DIR/mixed.toml", "--set", one, "--set", "run_dir=\"DIR/one\""]).ok();
    assert_equal_runs(&dir.join("one"), &dir.join("run"), "one source");
}

/// Other shares go on from what was dealt out, and are the run's from then on.
#[test]
fn shares_may_be_planned_anew() {
    let dir = mixed();
    line(&dir, "train DIR/mixed.toml").ok();
    forget_after(&dir.join("run"), 10);
    let dealt = account(&dir.join("run"), "step-0000000010")["dealt"].clone();
    assert_eq!(dealt["sample"], 40);
    let path = dir.join("run/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("weight = 3.0", "weight = 0.0")).unwrap();
    let before = tree(&dir.join("run"));
    line(&dir, "resume DIR/run").refused(&["data.mixture[0].weight is 3.0", "0.0 now", "--override"]);
    assert_eq!(before, tree(&dir.join("run")));
    let said = line(&dir, "resume DIR/run --override");
    said.ok();
    assert!(said.err.contains("data.mixture[0].weight is 0.0, was 3.0"), "{}", said.err);
    let [new, more, replay] = given(&dir.join("run")).map(|tokens| tokens / 16);
    assert_eq!((new, new + more + replay), (dealt["taken"][0].as_u64().unwrap(), 80));
    let last = account(&dir.join("run"), "step-0000000020");
    assert_eq!((&last["from"], &last["origin"]), (&json!(10), &dealt));

    copy(&dir.join("run"), &dir.join("again"));
    forget_after(&dir.join("again"), 15);
    line(&dir, "resume DIR/again").ok();
    assert_equal_runs(&dir.join("again"), &dir.join("run"), "resumed under new shares");
}

/// Killed between an override and the next checkpoint.
#[test]
fn new_shares_hold_before_the_first_checkpoint_that_has_them() {
    let dir = mixed();
    line(&dir, "train DIR/mixed.toml").ok();
    forget_after(&dir.join("run"), 10);
    let path = dir.join("run/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("weight = 3.0", "weight = 0.5")).unwrap();
    line(&dir, "resume DIR/run --override").ok();
    copy(&dir.join("run"), &dir.join("again"));
    forget_after(&dir.join("again"), 10);
    line(&dir, "resume DIR/again").ok();
    assert_equal_runs(&dir.join("again"), &dir.join("run"), "new shares, once more from step 10");
}

/// A branch reads on in every source, also with other shares.
#[test]
fn a_branch_goes_on_in_every_source() {
    let dir = mixed();
    line(&dir, "train DIR/mixed.toml").ok();
    let text = fs::read_to_string(dir.join("mixed.toml")).unwrap();
    let (head, tail) = text.split_once("[model]").unwrap();
    let data = &tail[tail.find("[data]").unwrap()..];
    let start = "[start]\nfrom = \"DIR/run\"\noptimizer = \"keep\"\ndata = \"continue\"\n\n";
    let branch = format!("{head}{start}{data}").replace("weight = 3", "weight = 1");
    dir.config(
        "branch.toml",
        &branch.replace("\nrun_dir = ", "\n# ").replacen("# ", "run_dir = \"DIR/branch\" # ", 1),
    );
    line(&dir, "train DIR/branch.toml").ok();
    let dealt = account(&dir.join("run"), "step-0000000020")["dealt"].clone();
    let branched = account(&dir.join("branch"), "step-0000000020");
    assert_eq!((&branched["from"], &branched["origin"]), (&json!(0), &dealt));
    assert_eq!(branched["dealt"]["sample"], 160);
    copy(&dir.join("branch"), &dir.join("again"));
    forget_after(&dir.join("again"), 10);
    line(&dir, "resume DIR/again").ok();
    assert_equal_runs(&dir.join("again"), &dir.join("branch"), "a branch, resumed");
}

/// Names and contents are the run's, unless an override says otherwise; then sources are known by their contents.
#[test]
fn other_sources_need_an_override() {
    let dir = mixed();
    line(&dir, "train DIR/mixed.toml --set train.steps=10").ok();
    let path = dir.join("run/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    dir.write("changed.bin", tokens(9, 3_000));
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?} is missing in {text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    let refuse = |from: &str, to: &str, how: &str, words: &[&str]| {
        edit(from, to);
        let before = tree(&dir.join("run"));
        line(&dir, &format!("resume DIR/run{how}")).refused(words);
        assert_eq!(before, tree(&dir.join("run")), "{to}");
    };
    refuse("more.bin", "elsewhere.bin", " --override", &["elsewhere.bin"]);
    refuse("name = \"more\"", "name = \"else\"", "", &["data.mixture[1].name", "--override would take it"]);
    refuse("more.bin", "changed.bin", "", &["fingerprint of the corpus"]);
    // Contents that are replaced in their place are a mistake.
    fs::write(&path, &text).unwrap();
    let more = fs::read(dir.join("more.bin")).unwrap();
    dir.write("more.bin", tokens(9, 3_000));
    line(&dir, "resume DIR/run --override").refused(&["fingerprint of the corpus"]);
    dir.write("more.bin", more);
    fs::rename(dir.join("more.bin"), dir.join("moved.bin")).unwrap();
    edit("more.bin", "moved.bin");
    line(&dir, "resume DIR/run").ok();

    // One is dropped and one comes, under the name of the other; what was dropped comes back in a branch.
    let dealt = account(&dir.join("run"), "step-0000000010")["dealt"]["taken"].clone();
    let now = fs::read_to_string(&path).unwrap().replace("steps = 10", "steps = 20");
    fs::write(&path, now.replace("moved.bin", "changed.bin")).unwrap();
    let said = line(&dir, "resume DIR/run --override");
    said.ok();
    let stays =
        format!("source more: dropped, stays at token {} of its order", 16 * dealt[1].as_u64().unwrap());
    let goes_on = format!("source new: known, goes on at token {}", 16 * dealt[0].as_u64().unwrap());
    for words in [&stays[..], &goes_on, "source more: new, begins at token 0"] {
        assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
    }
    // Killed between the override and the next checkpoint, and behind that.
    for step in [10, 15] {
        copy(&dir.join("run"), &dir.join("again"));
        forget_after(&dir.join("again"), step);
        line(&dir, "resume DIR/again").ok();
        assert_equal_runs(&dir.join("again"), &dir.join("run"), "other sources");
        fs::remove_dir_all(dir.join("again")).unwrap();
    }
    let kept = &line(
        &dir,
        "branch DIR/run DIR/branch --set train.steps=5 --set data.mixture[1].paths=[\"raw-u16:DIR/moved.bin\"]",
    );
    kept.ok();
    let known = stays.replace("dropped, stays at", "known, goes on at");
    assert!(kept.err.contains(&known) && kept.err.contains("source more: dropped"), "{}", kept.err);
}
