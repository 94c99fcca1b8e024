//! Configurations that cannot be meant: refused before anything is touched.
use crate::support::*;

/// Runs `train` with these settings over [`CONFIG`]: refused, and nothing changed.
#[track_caller]
fn refuse(sets: &[&str], words: &[&str]) {
    let f = fixture();
    let run = Dir::new();
    let mut args =
        vec!["train".to_string(), f.dir.at("run.toml"), "--set".into(), format!("run_dir={}", run.at("run"))];
    sets.iter().for_each(|set| args.extend(["--set".into(), set.to_string()]));
    rewarm(&f.dir, &args).refused(words);
    assert!(tree(run.path()).is_empty(), "{:?}", tree(run.path()));
}

#[test]
fn sizes_that_cannot_be() {
    refuse(&["model.num_attention_heads=5"], &["hidden_size", "32", "5 attention heads"]);
    refuse(&["model.rotary_pct=0.2"], &["rotary", "even"]);
    refuse(&["model.rotary_pct=1.5"], &["rotary_pct", "1.5"]);
    refuse(&["model.hidden_size=0"], &["hidden_size", "0"]);
    refuse(&["model.num_hidden_layers=0"], &["num_hidden_layers"]);
    refuse(&["model.vocab_size=0"], &["vocab_size"]);
    refuse(&["model.vocab_size=99999999999"], &["vocab_size"]);
    refuse(&["model.layer_norm_eps=0"], &["layer_norm_eps"]);
    refuse(&["model.eos_token_id=384"], &["eos_token_id", "384"]);
    refuse(&["model.preset=\"pythia-9b\""], &["pythia-9b", "pythia-70m"]);
    refuse(&["model.gelu=\"relu\""], &["gelu", "relu", "erf"]);
}

#[test]
fn keys_and_kinds() {
    refuse(&["modle.vocab_size=10"], &["modle", "did you mean", "model"]);
    refuse(&["model.vocab_sise=10"], &["vocab_sise", "did you mean", "model.vocab_size"]);
    refuse(&["optim.learning_rate=1e-3"], &["learning_rate", "schedule.lr"]);
    refuse(&["train.step=5"], &["train.step", "did you mean", "train.steps"]);
    refuse(&["zebra=1"], &["zebra"]);
    refuse(&["seed=\"x\""], &["seed"]);
    refuse(&["seed=-1"], &["seed"]);
    refuse(&["seed=1.5"], &["seed"]);
    refuse(&["batch.sequences=\"many\""], &["batch.sequences"]);
    refuse(&["data.train=\"a\""], &["data.train"]);
    refuse(&["data=3"], &["data"]);
    refuse(&["optim.betas=[0.9]"], &["optim.betas"]);
    refuse(&["train.steps"], &["train.steps", "="]);
    refuse(&["device=\"gpu\""], &["device", "gpu", "cpu"]);
    refuse(&["train.recompute=full"], &["train.recompute", "none", "cheap", "block"]);
}

#[test]
fn values_that_cannot_be() {
    refuse(&["batch.micro=3"], &["batch.micro", "divide"]);
    refuse(&["batch.sequences=0"], &["batch.sequences"]);
    refuse(&["data.seq_len=256"], &["seq_len", "256", "128"]);
    refuse(&["data.seq_len=0"], &["seq_len"]);
    refuse(&["data.validation_fraction=1.0"], &["validation_fraction"]);
    refuse(&["data.validation_fraction=-0.1"], &["validation_fraction"]);
    refuse(&["data.train=[]"], &["data.train"]);
    refuse(&["schedule.lr=-1e-3"], &["schedule.lr"]);
    refuse(&["schedule.lr=nan"], &["schedule.lr"]);
    refuse(&["schedule.lr=inf"], &["schedule.lr"]);
    refuse(&["schedule.min_lr=1"], &["min_lr"]);
    refuse(&["schedule.warmup=100"], &["warmup"]);
    refuse(&["schedule.name=\"cosin\""], &["schedule.name", "cosine"]);
    refuse(&["train.steps=0"], &["train.steps", "eval"]);
    refuse(&["train.tokens=\"10Q\""], &["train.tokens"]);
    refuse(&["train.tokens=\"1M\""], &["train.steps and train.tokens"]);
    refuse(&["optim.betas=[0.9,1.0]"], &["betas", "below 1"]);
    refuse(&["optim.eps=0"], &["eps", "above 0"]);
    refuse(&["optim.weight_decay=nan"], &["weight_decay"]);
    refuse(&["optim.clip=-1"], &["clip"]);
    refuse(&["checkpoint.keep=1"], &["checkpoint.keep", "at least 2"]);
    refuse(&["checkpoint.every=0"], &["checkpoint.every"]);
    refuse(&["train.ema=1"], &["train.ema is 1", "below 1"]);
    refuse(&["head.chunk_rows=0"], &["chunk_rows"]);
    refuse(&["start.optimizer=\"keep\""], &["start.optimizer", "start.from"]);
    refuse(&["start.from=\"x\""], &["model.", "start.from"]);
}

#[test]
fn files_that_are_not_there_or_not_toml() {
    let dir = Dir::new();
    let refuse = |args: &str, words: &[&str]| {
        let before = tree(dir.path());
        line(&dir, args).refused(words);
        assert_eq!(before, tree(dir.path()), "{args}");
    };
    refuse("train DIR/none.toml", &["none.toml", "cannot read"]);
    refuse("train", &["run_dir"]);
    refuse("train DIR", &["is a directory", "rewarm resume"]);
    dir.write("bad.toml", "run_dir = \"x\"\n[model\n");
    refuse("train DIR/bad.toml", &["bad.toml", "line 2"]);
    dir.write("bytes.toml", [0xff, 0xfe, 0]);
    refuse("train DIR/bytes.toml", &["bytes.toml"]);
    dir.write("twice.toml", "seed = 1\nseed = 2\n");
    refuse("train DIR/twice.toml", &["twice.toml", "seed"]);
    refuse("plan DIR/none.toml", &["none.toml"]);
    refuse("schedule show --config DIR/none.toml", &["none.toml"]);
}

#[test]
fn validation_sets_have_names_of_their_own() {
    let set =
        |name: &str| format!("[[data.validation]]\nname = \"{name}\"\npaths = [\"DIR/data/c\"]\n\n[batch]");
    for (name, words) in
        [("tales", ["tales", "choose another"]), ("heldout", ["heldout", "validation_fraction"])]
    {
        let dir = workshop();
        dir.config("names.toml", &CONFIG.replace("[batch]", &set(name)));
        let before = tree(dir.path());
        line(&dir, "train DIR/names.toml --set run_dir=\"DIR/new\"").refused(&words);
        assert_eq!(before, tree(dir.path()));
    }
    let dir = Dir::new();
    dir.config("none.toml", &CONFIG.replace("paths = [\"DIR/data/b\"]", "paths = []"));
    line(&dir, "train DIR/none.toml").refused(&["validation[0].paths", "empty"]);
    dir.config("nameless.toml", &CONFIG.replace("name = \"tales\"\n", ""));
    line(&dir, "train DIR/nameless.toml").refused(&["name is missing"]);
}

/// Wrong usage is a refusal too: exit code 1, not clap's 2, which here means that the machine failed.
#[test]
fn wrong_usage_is_exit_code_1() {
    let dir = Dir::new();
    for (args, word) in [
        ("trian", "train"),
        ("train --sets a=b", "--set"),
        ("generate", "<MODEL>"),
        ("generate x --max-tokens many", "many"),
        ("eval x", "x is not a directory"),
        ("", "Usage"),
    ] {
        let said = line(&dir, args);
        assert_eq!(said.code, 1, "{args}: {}", said.err);
        assert!(said.err.contains(word), "{args}: {}", said.err);
    }
}

/// What people type first: no file, a directory, another program's flags.
#[test]
fn train_says_what_it_takes() {
    let dir = workshop();
    line(&dir, "train").refused(&[
        "no configuration was named",
        "(here lie run.toml)",
        "run_dir = ",
        "[schedule]",
        "rewarm train FILE",
    ]);
    line(&dir, "train --set seed=1").refused(&["run_dir is missing"]);
    line(&dir, "train DIR/run").refused(&["is a directory", "rewarm resume"]);
    line(&dir, "train DIR/none.toml").refused(&["none.toml"]);
    for (args, tip) in [
        ("train DIR/run.toml --schedule.lr 1e-4", "tip: did you mean --set schedule.lr=1e-4?"),
        ("train DIR/run.toml --lr=1e-4", "tip: did you mean --set schedule.lr=1e-4?"),
        ("resume DIR/run --checkpoint.every 30m", "tip: did you mean --set checkpoint.every=30m?"),
        ("train DIR/run.toml --batch-size 32", "tip: did you mean --set batch.sequences=32?"),
    ] {
        let said = line(&dir, args);
        assert_eq!(said.code, 1, "{args}: {}", said.err);
        assert!(said.err.contains("unexpected argument") && said.err.contains(tip), "{args}: {}", said.err);
    }
    for every in ["0", "0.5", "\"\"", "\"30\"", "\"0m\"", "\"1h1h\"", "[1]"] {
        line(&dir, &format!("train DIR/run.toml --set checkpoint.every={every}"))
            .refused(&["checkpoint.every"]);
    }
}
