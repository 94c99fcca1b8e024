//! Another plan for what is left of a run, branches of it, and everything that is scheduled besides the rate.
use super::*;
use safetensors::SafeTensors;
use serde_json::Value;

/// [`TINY`] with overrides, trained in `DIR/name`.
fn train(dir: &Dir, name: &str, sets: &[&str]) -> Said {
    run(dir, "DIR/tiny.toml", name, sets)
}

/// A run that starts from a trained model, so without sizes.
fn branch(dir: &Dir, name: &str, sets: &[&str]) -> Said {
    let (head, tail) = TINY.split_once("[model]").unwrap();
    let (_, tail) = tail.split_once("[data]").unwrap();
    dir.config("branch.toml", &format!("{head}[data]{tail}"));
    run(dir, "DIR/branch.toml", name, sets)
}

fn run(dir: &Dir, config: &str, name: &str, sets: &[&str]) -> Said {
    let place = format!("run_dir=\"DIR/{name}\"");
    let sets = [&place].into_iter().map(String::as_str).chain(sets.iter().copied());
    let args: Vec<&str> = ["train", config].into_iter().chain(sets.flat_map(|s| ["--set", s])).collect();
    rewarm(dir, args)
}

/// `key` of every step's line, in order.
fn logged(run: &Path, key: &str) -> Vec<Value> {
    log(run).into_iter().filter(|l| l["eval"].is_null()).map(|l| l[key].clone()).collect()
}

/// Weights and moments of the last step, as bytes.
fn last_state(run: &Path) -> [Vec<u8>; 2] {
    let step = steps(run).pop().unwrap();
    ["model.safetensors", "optimizer.safetensors"].map(|file| fs::read(run.join(&step).join(file)).unwrap())
}

/// Deletes the checkpoints behind `step`: what a run is left with that was killed before it saved them.
fn forget_after(run: &Path, step: u64) {
    for name in steps(run) {
        if name[5..].parse::<u64>().unwrap() > step {
            fs::remove_dir_all(run.join(name)).unwrap();
        }
    }
}

/// A run with a warmup, a stable phase and a decay is a stable run, and a branch of it that decays.
#[test]
fn a_decay_can_be_a_branch_of_a_stable_run() {
    let dir = tiny();
    let wsd = ["schedule.name=wsd", "schedule.warmup=5", "schedule.decay=20", "train.steps=60"];
    train(&dir, "whole", &wsd).ok();
    let stable = ["schedule.name=constant", "schedule.warmup=5", "train.steps=50", "checkpoint.every=20"];
    train(&dir, "stable", &stable).ok();
    let from = "start.from=\"DIR/stable/step-0000000040\"";
    let keep = ["start.optimizer=keep", "start.data=continue"];
    let decay = ["schedule.phases=[{shape=\"linear\", to=\"10%\"}]", "train.steps=20"];
    branch(&dir, "branch", &[&[from], &keep[..], &decay[..]].concat()).ok();
    for key in ["loss", "grad_norm", "lr"] {
        let (whole, branch) = (logged(&dir.join("whole"), key), logged(&dir.join("branch"), key));
        assert_eq!(whole[40..], branch, "{key}");
    }
    assert!(last_state(&dir.join("whole")) == last_state(&dir.join("branch")), "other bits");

    // From the first sample again, or with fresh moments, it is another run.
    for (name, other) in [("restarted", [from, keep[0]]), ("reset", [from, keep[1]])] {
        branch(&dir, name, &[&other[..], &decay[..]].concat()).ok();
        assert_ne!(logged(&dir.join("branch"), "loss"), logged(&dir.join(name), "loss"), "{name}");
    }

    // A branch is resumed where it is in the data.
    forget_after(&dir.join("branch"), 10);
    line(&dir, "resume DIR/branch").ok();
    assert!(last_state(&dir.join("whole")) == last_state(&dir.join("branch")), "other bits after a resume");
}

#[test]
fn a_position_in_other_data_means_nothing() {
    let dir = tiny();
    train(&dir, "run", &["train.steps=5"]).ok();
    let sets = ["start.from=\"DIR/run\"", "start.data=continue"];
    for (set, words) in [
        ("data.seed=1", ["seed is 1234", "1 now"]),
        ("data.seq_len=8", ["data.seq_len is 16", "8 now"]),
        ("data.train=[\"raw-u16:DIR/other.bin\"]", ["fingerprint of the corpus", "start.data = \"restart\""]),
    ] {
        branch(&dir, "branch", &[&sets[..], &[set]].concat()).refused(&words);
        assert!(!dir.join("branch/metrics.jsonl").exists());
    }
    line(&dir, "export DIR/run DIR/hf").ok();
    let sets = ["start.from=\"DIR/hf\"", "start.data=continue"];
    branch(&dir, "branch", &sets).refused(&["no position in the data", "from a checkpoint of a run"]);
    train(&dir, "scratch", &["start.data=continue"]).refused(&["start.data", "start.from"]);
}

#[test]
fn a_rewarmed_run_starts_from_the_stated_rate() {
    let dir = tiny();
    train(&dir, "run", &["train.steps=20", "schedule.name=linear"]).ok();
    let last = logged(&dir.join("run"), "lr").pop().unwrap();
    for (from, rate) in [("previous", last), ("0", 0.0.into()), ("2e-4", 2e-4.into())] {
        let from = format!("schedule.warmup_from={from}");
        let name = &from[from.len() - 3..];
        let sets = ["start.from=\"DIR/run\"", "schedule.lr=5e-2", "schedule.warmup=10", &from];
        branch(&dir, name, &sets).ok();
        let rates = logged(&dir.join(name), "lr");
        assert_eq!((&rates[0], &rates[10]), (&rate, &5e-2.into()), "{from}");
    }
}

/// A changed plan is refused, taken with `--override`, which says what it does, and belongs to the run from then on.
#[test]
fn a_plan_is_overridden_once() {
    let dir = tiny();
    train(&dir, "run", &["schedule.name=constant"]).ok();
    let before = tree(&dir.join("run"));
    let sets = "--set schedule.lr=5e-3 --set train.steps=30 --set optim.weight_decay=0.05";
    line(&dir, &format!("resume DIR/run {sets}")).refused(&[
        "schedule.lr is 0.01",
        "0.005 now",
        "--override",
    ]);
    line(&dir, "resume DIR/run --override --set batch.sequences=8").refused(&["batch.sequences is 4"]);
    line(&dir, "resume DIR/run --override --set train.steps=19").refused(&["19 steps", "has taken 20"]);
    assert_eq!(before, tree(&dir.join("run")), "refused, and something was written");

    let said = line(&dir, &format!("resume DIR/run --override {sets}"));
    said.ok();
    for words in [
        "schedule.lr is 0.005, was 0.01",
        "the rate of step 20 was 1e-2, is 5e-3",
        "weight decay of step 20 was 0.1, is 0.05",
        "the run had 20 steps, has 30",
    ] {
        assert!(said.err.contains(words), "{words:?} is missing in {}", said.err);
    }
    let rates = logged(&dir.join("run"), "lr");
    assert_eq!((&rates[19], &rates[20], rates.len()), (&1e-2.into(), &5e-3.into(), 30));
    assert!(line(&dir, "resume DIR/run").ok().contains("all 30 steps"));

    // Killed before the next checkpoint, which would have carried the new plan: no flag is needed either.
    let (curve_before, state) = (curve(&dir.join("run")), last_state(&dir.join("run")));
    forget_after(&dir.join("run"), 20);
    line(&dir, "resume DIR/run").ok();
    assert_eq!(curve(&dir.join("run")), curve_before);
    assert!(last_state(&dir.join("run")) == state, "other bits");
    line(&dir, "resume DIR/run --set schedule.lr=1e-2").refused(&["schedule.lr is 0.005", "0.01 now"]);
}

/// From the edited file, too; and a plan that was not overridden is as good as none.
#[test]
fn an_edited_plan_needs_the_flag() {
    let dir = tiny();
    train(&dir, "run", &[]).ok();
    forget_after(&dir.join("run"), 10);
    let path = dir.join("run/config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("betas = [0.9, 0.95]", "betas = [0.8, 0.95]")).unwrap();
    line(&dir, "resume DIR/run").refused(&["optim.betas", "--override"]);
    let said = line(&dir, "resume DIR/run --override");
    said.ok();
    assert!(said.err.contains("beta1 of step 10 was 0.9, is 0.8"), "{}", said.err);
    assert!(line(&dir, "resume DIR/run --override").ok().contains("finished"));
}

const GROWING: [&str; 9] = [
    "train.steps=30",
    "batch.sequences=16",
    "batch.micro=2",
    "batch.ramp={start=4, increment=4, samples=120}",
    "batch.lr_scaling=sqrt",
    "schedule.name=constant",
    "optim.weight_decay_phases=[{shape=\"cosine\", to=\"10%\"}]",
    "optim.beta1_phases=[{shape=\"linear\", from=0.8, to=0.9, length=\"768 tokens\"}, {shape=\"constant\"}]",
    "optim.groups=[{pattern=\"*.mlp.*\", decay_follows_rate=true}]",
];

/// Everything that is scheduled is a function of the step: a resume goes on with the same bits.
#[test]
fn scheduled_quantities_are_resumed() {
    let dir = tiny();
    train(&dir, "whole", &GROWING).ok();
    train(&dir, "run", &GROWING).ok();
    let log = dir.join("whole");
    let sequences: Vec<u64> = logged(&log, "sequences").iter().map(|v| v.as_u64().unwrap()).collect();
    // 40 samples of each size, of which the last step of a size may take more.
    assert_eq!(sequences[..21], [&[4; 10][..], &[8; 5], &[12; 4], &[16; 2]].concat());
    assert!(sequences[21..].iter().all(|&n| n == 16));
    let mut sum = 0;
    for (step, tokens) in logged(&log, "tokens").iter().enumerate() {
        sum += 16 * sequences[step];
        assert_eq!(tokens.as_u64(), Some(sum), "step {step}");
    }
    let number = |key: &str| -> Vec<f64> { logged(&log, key).iter().map(|v| v.as_f64().unwrap()).collect() };
    let (lr, beta1, decay) = (number("lr"), number("beta1"), number("weight_decay"));
    assert_eq!((lr[0], lr[10], lr[29]), (1e-2 * 0.5, 1e-2 * 0.5f64.sqrt(), 1e-2));
    // 768 tokens are 48 samples: the first 11 steps, and progress is counted in samples.
    let samples = |step: usize| sequences[..step].iter().sum::<u64>() as f64;
    assert!((0..11).all(|i| (beta1[i] - (0.8 + 0.1 * samples(i) / 48.0)).abs() < 1e-12), "{beta1:?}");
    assert!(samples(11) == 48.0 && beta1[11..].iter().all(|&b| b == 0.9), "{beta1:?}");
    assert!(decay[0] == 0.1 && decay.windows(2).all(|w| w[1] < w[0]) && decay[29] > 0.01);
    assert!(logged(&log, "beta2").iter().all(Value::is_null), "what is constant is not logged");
    for (step, sets) in [(25, "--set threads=1"), (20, "--set batch.micro=4")] {
        forget_after(&dir.join("run"), step);
        line(&dir, &format!("resume DIR/run {sets}")).ok();
        assert_equal_runs(&dir.join("run"), &dir.join("whole"), &format!("from step {step}"));
    }
}

/// The same lengths in tokens, whether a step is large or small.
#[test]
fn a_budget_in_tokens_is_met_while_the_batch_grows() {
    let dir = tiny();
    let stages = "batch.stages=[{sequences=2, until=\"320 tokens\"}, {sequences=6, until=1000}]";
    let sets = [stages, "batch.sequences=8", "batch.micro=2", "schedule.warmup=256 tokens"];
    dir.config("tokens.toml", &TINY.replace("steps = 20", "tokens = 4000"));
    run(&dir, "DIR/tokens.toml", "run", &sets).ok();
    let run = dir.join("run");
    let tokens: Vec<u64> = logged(&run, "tokens").iter().map(|v| v.as_u64().unwrap()).collect();
    let last = tokens.len() - 1;
    assert!(tokens[last] >= 4000 && tokens[last - 1] < 4000, "{tokens:?}");
    let sizes: Vec<u64> = logged(&run, "sequences").iter().map(|v| v.as_u64().unwrap()).collect();
    assert_eq!(sizes[..19], [&[2; 10][..], &[6; 8], &[8]].concat());
    let rates: Vec<f64> = logged(&run, "lr").iter().map(|v| v.as_f64().unwrap()).collect();
    assert!((0..9).all(|i| (rates[i] - 1e-2 * i as f64 / 8.0).abs() < 1e-15), "256 tokens up: {rates:?}");
    assert!(rates[8..].windows(2).all(|w| w[0] > w[1]), "and a cosine down: {rates:?}");
}

/// Frozen tensors keep every bit of weights and moments, through checkpoints too.
#[test]
fn frozen_tensors_stay() {
    let dir = tiny();
    let groups =
        "optim.groups=[{pattern=\"*.dense.weight\", lr_mult=0}, {pattern=\"*embed_in*\", lr_mult=0}]";
    train(&dir, "run", &[groups, "checkpoint.every=10", "optim.layer_decay=0.9"]).ok();
    let mut frozen = 0;
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |step: &str| fs::read(dir.join("run").join(step).join(file)).unwrap();
        let states = ["step-0000000010", "step-0000000020"].map(read);
        let [old, new] = states.each_ref().map(|state| SafeTensors::deserialize(state).unwrap());
        for (name, tensor) in old.tensors() {
            let stays = name.ends_with(".dense.weight") || name.contains("embed_in");
            let equal = tensor.data() == new.tensor(&name).unwrap().data();
            assert_eq!(equal, stays, "{name}");
            assert!(file == "model.safetensors" || !stays || tensor.data().iter().all(|&b| b == 0), "{name}");
            frozen += usize::from(stays);
        }
    }
    assert_eq!(frozen, 9, "two layers and the embedding: weights, first and second moments");
    train(&dir, "nothing", &["optim.groups=[{pattern=\"*\", lr_mult=0}]"])
        .refused(&["optim.groups", "rewarm eval"]);
}
