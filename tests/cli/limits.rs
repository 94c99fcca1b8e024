//! How much of a source a run may read, and where in its order it begins.
use crate::support::*;
use serde_json::Value;

/// Half of 320 samples of 64 tokens from each of two sources; the second has fewer than that.
fn halves(dir: &Dir, name: &str, small: &str) -> String {
    let sources = format!(
        "[[data.mixture]]\nname = \"new\"\npaths = [\"DIR/data/a\"]\n\
         [[data.mixture]]\nname = \"small\"\npaths = [\"DIR/data/c\"]\n{small}\n[batch]\n"
    );
    let text = CONFIG.replacen("train = [\"DIR/data/a\"]\n", "", 1).replacen("[batch]\n", &sources, 1);
    let text = text.replacen("validation_fraction = 0.1", "validation_fraction = 0", 1);
    dir.config(&format!("{name}.toml"), &text.replacen("DIR/run", &format!("DIR/{name}"), 1));
    name.to_owned()
}

/// What the sources have given after a step, from the configuration or the run.
fn mix(dir: &Dir, of: &str, step: u64) -> [(u64, f64); 2] {
    let said = line(dir, &format!("data mix DIR/{of} --step {step} --json"));
    let counts: Value = serde_json::from_str(said.ok()).unwrap();
    ["new", "small"].map(|name| {
        let given = &counts[0]["sources"][name];
        (given["samples"].as_u64().unwrap(), given["epochs"].as_f64().unwrap())
    })
}

/// Samples of the source that a step reads.
fn samples(dir: &Dir, of: &str, step: u64, source: &str) -> Vec<u64> {
    let said = line(dir, &format!("data where DIR/{of} --step {step} --json"));
    let rows: Value = serde_json::from_str(said.ok()).unwrap();
    let rows = rows.as_array().unwrap().iter().filter(|row| row["source"] == source);
    rows.map(|row| row["sample"].as_u64().unwrap()).collect()
}

/// Windows of the small source in an epoch.
fn windows(dir: &Dir) -> u64 {
    windows_of(dir, "free.toml", 40)
}

/// From what two steps add to samples and epochs.
fn windows_of(dir: &Dir, of: &str, step: u64) -> u64 {
    let [[_, before], [_, after]] = [0, step].map(|step| mix(dir, of, step));
    ((after.0 - before.0) as f64 / (after.1 - before.1)).round() as u64
}

#[test]
fn a_source_is_read_once_unless_it_is_said() {
    let dir = workshop();
    halves(&dir, "free", "");
    let windows = windows(&dir);
    assert!((60..150).contains(&windows), "{windows}");
    let before = tree(dir.path());
    let epochs = format!("{:.2} epochs", 160.0 / windows as f64);
    line(&dir, "train DIR/free.toml").refused(&[
        "data.mixture[1] (\"small\")",
        &(160 * 64).to_string(),
        &epochs,
        &format!("it may give {} (each once)", windows * 64),
        "epochs = ",
        "when_empty = \"others\"",
    ]);
    let said = line(&dir, "plan DIR/free.toml");
    said.ok();
    for words in ["`rewarm train` will refuse this run", "data.mixture[1] (\"small\")", &epochs] {
        assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
    }
    assert_eq!(before, tree(dir.path()));
    for (name, small) in [
        ("less", "epochs = 0.5\nweight = 0.5"),
        ("tokens", "epochs = 5\ntokens = 2000"),
        ("few", "tokens = 2000"),
        ("wrong", "epochs = 5\nwhen_empty = \"repeat\""),
        ("never", "offset = \"after:DIR/run/nothing\"\nepochs = 5"),
        ("other", "offset = \"after:DIR/run\"\nepochs = 5"),
    ] {
        halves(&dir, name, small);
        let words: &[&str] = match name {
            "less" => &["it may give", "(epochs and tokens)"],
            "tokens" => &["it may give 1984 (epochs and tokens)"],
            "few" => &["it may give 1984 (tokens, and each once)"],
            "wrong" => &["data.mixture[1]", "\"repeat\"", "remove one"],
            "never" => &["offset of the source \"small\"", "not a directory"],
            _ => &["\"small\" shall begin after", "same order"],
        };
        line(&dir, &format!("train DIR/{name}.toml")).refused(words);
        assert!(!dir.join(name).exists());
    }
    for (name, small) in [("twice", "epochs = 3"), ("again", "when_empty = \"repeat\"")] {
        halves(&dir, name, small);
        line(&dir, &format!("train DIR/{name}.toml")).ok();
        assert_eq!(mix(&dir, name, 40)[1].0, 160);
    }
}

/// Runs from before the key, and lengths that grow, are not asked: their source has no limit until one is given.
#[test]
fn a_run_that_goes_on_is_held_to_the_limits_that_it_has() {
    let dir = workshop();
    halves(&dir, "free", "");
    let windows = windows(&dir);
    line(&dir, "train DIR/free.toml --set train.steps=10").ok();
    copy(&dir.join("free"), &dir.join("kept"));
    line(&dir, "resume DIR/free --override --set train.steps=40").ok();
    assert!(mix(&dir, "free", 40)[1].1 > 1.0);
    let path = dir.join("kept/config.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("steps = 10", "steps = 40");
    let limit = |words: &str| {
        let at = text.rfind("weight = 1.0").unwrap();
        std::fs::write(&path, format!("{}{words}\n{}", &text[..at], &text[at..])).unwrap();
    };
    limit("epochs = 0.9");
    line(&dir, "resume DIR/kept").refused(&["data.mixture[1].epochs", "--override would take it"]);
    line(&dir, "resume DIR/kept --override").refused(&["data.mixture[1] (\"small\")", "it may give"]);
    limit("epochs = 0.9\nwhen_empty = \"others\"");
    line(&dir, "resume DIR/kept --override").ok();
    assert_eq!(mix(&dir, "kept", 40)[1].0, windows * 9 / 10);
}

#[test]
fn what_an_empty_source_lacks_comes_from_the_others() {
    let dir = workshop();
    halves(&dir, "free", "");
    let windows = windows(&dir);
    halves(&dir, "others", "when_empty = \"others\"");
    let planned = [10, 30, 40].map(|step| mix(&dir, "others.toml", step));
    line(&dir, "train DIR/others.toml").ok();
    assert_eq!(planned[0].map(|given| given.0), [40, 40]);
    assert_eq!(planned[2].map(|given| given.0), [320 - windows, windows]);
    let logged = |run: &str| {
        let lines = log(&dir.join(run)).into_iter().filter(|line| !line["sources"].is_null());
        lines
            .map(|line| ["new", "small"].map(|s| line["sources"][s]["tokens"].as_u64().unwrap() / 64))
            .collect::<Vec<_>>()
    };
    assert_eq!([1, 3, 4].map(|i| logged("others")[i]), planned.map(|given| given.map(|given| given.0)));
    // The last steps are one source's, and resumed they are the same: what was given is dealt out again and compared.
    assert!(samples(&dir, "others", 40, "small").is_empty());
    copy(&dir.join("others"), &dir.join("again"));
    line(&dir, "resume DIR/again --rewind 20").ok();
    assert_eq!(curve(&dir.join("again")), curve(&dir.join("others")));
    let both = "both.toml";
    halves(&dir, "both", "when_empty = \"others\"");
    let text = std::fs::read_to_string(dir.join(both)).unwrap();
    dir.write(
        both,
        text.replacen(
            "[[data.mixture]]\nname = \"small\"",
            "tokens = \"5K\"\nwhen_empty = \"others\"\n[[data.mixture]]\nname = \"small\"",
            1,
        ),
    );
    line(&dir, "train DIR/both.toml").refused(&["have given all that they may after", "take fewer steps"]);
}

#[test]
fn a_source_begins_where_another_run_has_left_it() {
    let dir = workshop();
    halves(&dir, "first", "epochs = 3");
    line(&dir, "train DIR/first.toml --set train.steps=10").ok();
    halves(&dir, "second", "offset = \"after:DIR/first\"\nepochs = 3");
    halves(&dir, "third", "offset = 700\nepochs = 3");
    let left = samples(&dir, "first", 10, "small").pop().unwrap();
    assert_eq!(samples(&dir, "second.toml", 1, "small")[0], left + 1);
    assert_eq!(samples(&dir, "third.toml", 1, "small")[0], 10);
    assert_eq!(samples(&dir, "third.toml", 1, "new")[0], 0);
    line(&dir, "train DIR/second.toml --set train.steps=20").ok();
    let all = |from: u64| (from..from + 4).collect::<Vec<_>>();
    assert_eq!(samples(&dir, "second", 1, "small"), all(left + 1));
    assert_eq!(samples(&dir, "second", 20, "small"), all(left + 1 + 76));
    // Its epochs are those of the source, whoever has read it.
    halves(&dir, "once", "offset = \"after:DIR/first\"");
    let windows = windows_of(&dir, "once.toml", 5);
    line(&dir, "train DIR/once.toml")
        .refused(&["(\"small\")", &format!("it may give {} (each once)", (windows - left - 1) * 64)]);
    // It is kept with the run, whatever becomes of the other.
    std::fs::remove_dir_all(dir.join("first")).unwrap();
    line(&dir, "resume DIR/second --rewind 10").ok();
    assert_eq!(samples(&dir, "second", 20, "small"), all(left + 1 + 76));
    let said = line(&dir, "data mix DIR/second --step 20");
    assert!(said.ok().contains("small: 80 samples"), "{}", said.out);
}
