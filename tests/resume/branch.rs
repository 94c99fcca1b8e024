//! Branches of a run: the bits of one run that has both phases, by the default settings and in every precision.
use super::*;
use rewarm::checkpoint::{Disk, Manifest};

/// [`TINY`] with the default warmup.
fn plain() -> Dir {
    let dir = tiny();
    dir.config("plain.toml", &TINY.replace("warmup = 0\n", ""));
    dir
}

fn train(dir: &Dir, config: &str, name: &str, sets: &[&str]) -> Said {
    let place = format!("run_dir=\"DIR/{name}\"");
    let sets = [&place[..]].into_iter().chain(sets.iter().copied()).flat_map(|set| ["--set", set]);
    rewarm(dir, ["train", config].into_iter().chain(sets))
}

fn branch(dir: &Dir, from: &str, name: &str, sets: &[&str]) -> Said {
    let (from, to) = (format!("DIR/{from}"), format!("DIR/{name}"));
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    rewarm(dir, ["branch", &from, &to].into_iter().chain(sets))
}

/// Of every step's line, in order.
fn logged(run: &Path, key: &str) -> Vec<serde_json::Value> {
    log(run).into_iter().filter(|l| !l["lr"].is_null()).map(|l| l[key].clone()).collect()
}

fn last_state(run: &Path) -> [Vec<u8>; 2] {
    let step = steps(run).pop().unwrap();
    ["model.safetensors", "optimizer.safetensors"].map(|file| fs::read(run.join(&step).join(file)).unwrap())
}

/// The last 20 steps of one are all of the other.
#[track_caller]
fn assert_ends_as(whole: &Path, branch: &Path) {
    for key in ["loss", "grad_norm", "lr"] {
        assert_eq!(logged(whole, key)[40..], logged(branch, key), "{key}");
    }
    assert!(last_state(whole) == last_state(branch), "other bits");
}

const DECAY: [&str; 2] =
    ["train.steps=20", "schedule={lr=\"previous\", phases=[{shape=\"linear\", to=\"10%\"}]}"];

#[test]
fn a_decay_of_a_stable_run_is_the_run_with_both_phases() {
    let dir = plain();
    for precision in ["f32", "mixed", "bf16"] {
        let name = |run: &str| format!("{precision}-{run}");
        let set = format!("train.precision={precision}");
        let both = "schedule.phases=[{shape=\"constant\"}, {shape=\"linear\", length=20, to=\"10%\"}]";
        train(&dir, "DIR/plain.toml", &name("whole"), &[&set, both, "train.steps=60"]).ok();
        let stable = [&set[..], "schedule.name=constant", "train.steps=50", "checkpoint.every=20"];
        train(&dir, "DIR/plain.toml", &name("stable"), &stable).ok();

        let said = branch(&dir, &name("stable/step-40"), &name("decay"), &DECAY);
        said.ok();
        for words in [
            "stable/step-0000000040: weights, moments, counters (40 updates, 40 steps of the chain), position in the data \
             (sample 160)",
            "rates of the first steps: 1e-2, 9.55e-3, 9.1",
        ] {
            assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
        }
        assert_ends_as(&dir.join(&name("whole")), &dir.join(&name("decay")));

        // A branch of a branch, and one that was resumed.
        let stays = ["train.steps=20", "schedule.lr=previous"];
        branch(&dir, &name("stable/step-20"), &name("more"), &stays).ok();
        branch(&dir, &name("more"), &name("again"), &[&DECAY[..], &["checkpoint.every=5"]].concat()).ok();
        forget_after(&dir.join(&name("again")), 10);
        line(&dir, &format!("resume DIR/{}", name("again"))).ok();
        assert_ends_as(&dir.join(&name("whole")), &dir.join(&name("again")));
    }
}

fn forget_after(run: &Path, step: u64) {
    for name in steps(run).into_iter().filter(|name| name[5..].parse::<u64>().unwrap() > step) {
        fs::remove_dir_all(run.join(name)).unwrap();
    }
}

/// A moving average goes on with the moments; other moments have another.
#[test]
fn a_moving_average_goes_on_in_a_branch() {
    let dir = plain();
    let ema = "train.ema=0.9";
    train(&dir, "DIR/plain.toml", "whole", &[ema, "schedule.name=constant", "schedule.warmup=1"]).ok();
    let half = [ema, "schedule.name=constant", "schedule.warmup=1", "train.steps=10"];
    train(&dir, "DIR/plain.toml", "half", &half).ok();
    branch(&dir, "half", "rest", &[]).ok();
    let average =
        |name: &str, step: &str| fs::read(dir.join(name).join(step).join("ema.safetensors")).unwrap();
    assert!(average("whole", "step-0000000020") == average("rest", "step-0000000010"), "other averages");
    let said = branch(&dir, "half", "without", &["start.optimizer=reset", "schedule.warmup=0"]);
    said.ok();
    assert!(
        said.err.contains("not from there: moments, counters") && said.err.contains("moving average"),
        "{}",
        said.err
    );
    assert!(average("rest", "step-0000000010") != average("without", "step-0000000010"));
}

/// A configuration that keeps moments and position says the same as the command, without a word about a warmup.
#[test]
fn kept_moments_need_no_warmup() {
    let dir = plain();
    train(&dir, "DIR/plain.toml", "run", &["schedule.name=constant"]).ok();
    let text = TINY.replace("warmup = 0\n", "");
    let (head, tail) = text.split_once("[model]").unwrap();
    let data = &tail[tail.find("[data]").unwrap()..];
    let start = "[start]\nfrom = \"DIR/run\"\noptimizer = \"keep\"\ndata = \"continue\"\n";
    dir.config("kept.toml", &format!("{head}{start}{data}"));
    dir.config("reset.toml", &format!("{head}{start}{data}").replace("keep", "reset"));
    train(&dir, "DIR/kept.toml", "kept", &[]).ok();
    branch(&dir, "run", "branch", &["schedule={lr=1e-2}"]).ok();
    assert_equal_runs(&dir.join("kept"), &dir.join("branch"), "by hand, and by the command");
    let first = |name: &str| logged(&dir.join(name), "lr")[0].as_f64().unwrap();
    assert_eq!(first("kept"), 1e-2);
    // Other moments are warmed up, and so is what asks for it.
    let asked: [(&str, &str, &[&str]); 3] = [
        ("reset", "DIR/reset.toml", &["schedule.warmup=2"]),
        ("asked", "DIR/kept.toml", &["schedule.warmup=2"]),
        ("from", "DIR/kept.toml", &["schedule.warmup_from=1e-4", "train.steps=200"]),
    ];
    for (name, config, sets) in asked {
        train(&dir, config, name, sets).ok();
        assert_eq!(first(name), if name == "from" { 1e-4 } else { 0.0 }, "{name}");
    }
    let said = train(&dir, "DIR/reset.toml", "told", &[]);
    assert!(said.err.contains("not from there: moments, counters (0 updates, 0 steps"), "{}", said.err);
}

/// `"previous"` is the last rate of the run before, or refused.
#[test]
fn a_previous_rate_is_that_of_the_run_before() {
    let dir = plain();
    train(&dir, "DIR/plain.toml", "run", &["schedule.name=linear"]).ok();
    let last = logged(&dir.join("run"), "lr").pop().unwrap();
    let first = "schedule={lr=2e-2, phases=[{shape=\"constant\", from=\"previous\"}]}";
    for (name, set) in [("lr", "schedule={lr=\"previous\", name=\"constant\"}"), ("from", first)] {
        branch(&dir, "run", name, &[set]).ok();
        assert!(logged(&dir.join(name), "lr").iter().all(|lr| *lr == last), "{name}");
        let config = fs::read_to_string(dir.join(name).join("config.toml")).unwrap();
        assert!(!config.contains("previous") && config.contains(&last.to_string()[..6]), "{config}");
        let before = curve(&dir.join(name));
        forget_after(&dir.join(name), 10);
        line(&dir, &format!("resume DIR/{name}")).ok();
        assert_eq!(before, curve(&dir.join(name)));
        // The resolved configuration starts the same run again.
        train(&dir, &format!("DIR/{name}/config.toml"), &format!("{name}-again"), &[]).ok();
        assert_equal_runs(&dir.join(name), &dir.join(&format!("{name}-again")), name);
    }
    for (set, key) in [("schedule.lr=previous", "schedule.lr"), (first, "schedule.phases[0].from")] {
        train(&dir, "DIR/plain.toml", "scratch", &[set]).refused(&[
            key,
            "no run is continued",
            "give a number",
        ]);
        let show = ["schedule", "show", "--config", "DIR/plain.toml", "--set", set];
        rewarm(&dir, show).refused(&[key, "known when the run starts"]);
    }
    train(&dir, "DIR/plain.toml", "scratch", &["schedule.lr=10%"]).refused(&["schedule.lr", "\"previous\""]);
    line(&dir, "resume DIR/run --override --set schedule.lr=previous").refused(&["schedule.lr", "no run"]);
}

/// Earlier versions wrote "previous" for the rate before the first of a list of phases, and meant the peak.
#[test]
fn a_run_of_an_earlier_version_keeps_its_peak() {
    let dir = plain();
    let phases = "schedule.phases=[{shape=\"constant\", length=10}, {shape=\"linear\", to=1e-3}]";
    train(&dir, "DIR/plain.toml", "run", &[phases]).ok();
    let run = dir.join("run");
    let (before, state) = (curve(&run), last_state(&run));
    forget_after(&run, 5);
    assert_eq!(steps(&run).len(), 0, "keep = 3");
    train(&dir, "DIR/plain.toml", "run", &[phases, "checkpoint.keep=9"]).ok();
    forget_after(&run, 10);
    for name in steps(&run) {
        let mut manifest = Manifest::read(&Disk, &run.join(&name)).unwrap();
        let first = manifest.state.run_config.pointer_mut("/schedule/phases/0").unwrap();
        assert!(first["from"].is_null(), "{first}");
        first["from"] = "previous".into();
        fs::write(run.join(&name).join("manifest.json"), manifest.to_text()).unwrap();
    }
    let config = run.join("config.toml");
    let now = fs::read_to_string(&config).unwrap();
    let then = now.replacen("[[schedule.phases]]\n", "[[schedule.phases]]\nfrom = \"previous\"\n", 1);
    assert_ne!(now, then, "{now}");
    fs::write(&config, then).unwrap();
    line(&dir, "resume DIR/run").ok();
    assert_eq!(fs::read_to_string(&config).unwrap(), now);
    assert_eq!(curve(&run), before);
    assert!(last_state(&run) == state, "other bits");
    forget_after(&run, 15);
    line(&dir, "resume DIR/run").ok();
    assert!(last_state(&run) == state, "other bits, resumed once more");
}

#[test]
fn a_branch_is_refused_with_what_is_there() {
    let dir = plain();
    train(&dir, "DIR/plain.toml", "run", &[]).ok();
    branch(&dir, "run/step-7", "new", &[]).refused(&["has no step 7; it has 10, 15, 20"]);
    branch(&dir, "nothing", "new", &[]).refused(&["nothing is not a directory"]);
    branch(&dir, "run", "run", &[]).refused(&["already holds a run"]);
    line(&dir, "export DIR/run DIR/hf").ok();
    branch(&dir, "hf", "new", &[]).refused(&["hf is a model without", "start.from"]);
    branch(&dir, "run", "new", &["data.seed=3"]).refused(&["data.seed is 1234", "3 now"]);
    for (args, words) in [
        ("--unset schedule.wamup", ["unknown key `schedule.wamup`", "did you mean `schedule.warmup`?"]),
        ("--unset eval..every", ["--unset eval..every", "not a key"]),
        ("--set data.validation[1].name=x", ["data.validation[1].name=x", "the list has one, [0]"]),
        ("--set data.validation[0].nam=x", ["unknown key `data.validation[0].nam`", "name"]),
        ("--set data.validation[x].name=x", ["--set data.validation[x].name=x", "key=value"]),
    ] {
        line(&dir, &format!("branch DIR/run DIR/new {args}")).refused(&words);
        assert!(!dir.join("new").exists(), "{args}");
    }
}

/// Keys are taken out before others are set; entries of lists have numbers; a table takes the place of the one there.
#[test]
fn a_branch_changes_what_it_names() {
    let dir = plain();
    let growing = "batch.stages=[{sequences=2, until=320}]";
    let decay = "optim.weight_decay_phases=[{shape=\"linear\", to=\"50%\"}]";
    train(&dir, "DIR/plain.toml", "run", &["schedule.name=wsd", growing, decay, "batch.micro=2"]).ok();
    let args = "branch DIR/run DIR/new --unset schedule.decay --unset schedule.decay_shape --unset schedule.min_lr \
                --unset eval.every --set data.validation[0].name=renamed --set schedule.name=constant --set eval={}";
    let said = line(&dir, args);
    said.ok();
    assert!(said.err.contains("begin again in the branch: optim.weight_decay_phases;"), "{}", said.err);
    let config = fs::read_to_string(dir.join("new/config.toml")).unwrap();
    for (there, words) in [
        (true, "name = \"renamed\""),
        (true, "name = \"constant\""),
        (true, "warmup = 0"),
        (true, "every = 100"),
        (false, "decay_shape"),
        (false, "[[batch.stages]]"),
        (true, "optimizer = \"keep\""),
        (true, "step-0000000020\""),
    ] {
        assert_eq!(config.contains(words), there, "{words} in {config}");
    }
    let sizes: Vec<_> = logged(&dir.join("new"), "tokens").iter().map(|n| n.as_u64().unwrap()).collect();
    assert_eq!(sizes[..2], [64, 128], "the batch has grown");
    line(&dir, "train DIR/new/config.toml --unset schedule.warmup --set run_dir=DIR/retrained").ok();
    assert_equal_runs(&dir.join("new"), &dir.join("retrained"), "the resolved configuration");
}
