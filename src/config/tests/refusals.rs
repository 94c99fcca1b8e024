//! What is refused, naming the key and what to do.
use super::*;

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let cases = [
        ("optim.wieght_decay=0.1", "`optim.wieght_decay`", "did you mean `optim.weight_decay`?"),
        ("weight_decay=0.1", "`weight_decay`", "did you mean `optim.weight_decay`?"),
        ("optim.lr=0.1", "`optim.lr`", "did you mean `schedule.lr`?"),
        ("learning_rate=0.1", "`learning_rate`", "did you mean `schedule.lr`?"),
        ("model.gelo=erf", "`model.gelo`", "did you mean `model.gelu`?"),
        ("optm={eps=1}", "`optm`", "did you mean `optim`?"),
        ("eval.frobnicate=1", "`eval.frobnicate`", "[eval] has every, sequences"),
        ("frobnicate=1", "`frobnicate`", "the sections are model, start, data"),
        ("seed.x=1", "seed", "whole number"),
        ("batch=8", "batch", "write its keys under [batch]"),
    ];
    for (set, key, remedy) in cases {
        assert_refused(SMALL, &[set], key, remedy);
        assert_refused(SMALL, &[set], &format!("--set {set}"), remedy);
    }
    assert_refused("[schedule]\nlrr = 1", &[], "configuration: unknown key `schedule.lrr`", "`schedule.lr`");
    let phases = "[[schedule.phases]]\nshape = \"linear\"\n[[schedule.phases]]\nshap = \"linear\"";
    assert_refused(phases, &[], "`schedule.phases[1].shap`", "`schedule.phases[].shape`");
    assert_refused(
        "[[optim.groups]]\nlr_mult = 1",
        &[],
        "optim.groups[0].pattern is missing",
        "needs pattern",
    );
    assert_refused("seed = ", &[], "configuration is not TOML", "line 1");
    assert_refused(SMALL, &["seed"], "--set seed", "key=value");
}

#[test]
fn values_of_the_wrong_kind_are_refused_by_key() {
    let cases = [
        ("seed=-1", "seed is -1 (an integer)", "whole number of at least 0"),
        ("seed=1.5", "seed is 1.5 (a float)", "whole number"),
        ("threads=all", "threads is \"all\" (a string)", "whole number"),
        ("device=gpu", "device is \"gpu\"", "\"cuda:0\""),
        ("run_dir=\"\"", "run_dir", "not empty"),
        ("model.attention_bias=1", "model.attention_bias", "true or false"),
        ("model.gelu=relu", "model.gelu", "\"erf\", \"tanh\""),
        ("model.eos_token_id=5000000000", "model.eos_token_id", "2^32"),
        ("model.init=smal", "model.init", "did you mean \"small\"?"),
        ("data.train=data/pile", "data.train", "[\"data/pile\"]"),
        ("data.train=[1]", "data.train", "list of strings"),
        ("data.validation=[1]", "data.validation", "list of tables"),
        ("optim.betas=[0.9]", "optim.betas", "two"),
        ("optim.eps=nan", "optim.eps", "finite"),
        ("optim.clip=inf", "optim.clip", "finite"),
        ("optim.weight_decay=-0.1", "optim.weight_decay", "at least 0"),
        ("schedule.lr=-1", "schedule.lr", "at least 0"),
        ("schedule.lr=fast", "schedule.lr", "finite number"),
        ("schedule.name=cosin", "schedule.name", "did you mean \"cosine\"?"),
        ("schedule.warmup=0.01", "schedule.warmup", "\"1%\""),
        ("schedule.warmup=2M", "schedule.warmup", "2M tokens"),
        ("schedule.warmup=true", "schedule.warmup", "number of steps"),
        ("schedule.warmup_from=last", "schedule.warmup_from", "\"previous\""),
        ("train.tokens=many", "train.tokens", "\"10M\""),
    ];
    for (set, key, remedy) in cases {
        assert_refused(SMALL, &[set], key, remedy);
    }
}

#[test]
fn missing_keys_are_named_with_an_example() {
    let without = |line: &str| SMALL.replace(line, "");
    let cases = [
        ("run_dir = \"runs/first\"", "run_dir is missing", "runs/first"),
        ("train = [\"data/pile\"]", "data.train", "list at least one"),
        ("lr = 1e-3", "schedule.lr is missing", "give the peak"),
        ("steps = 1000", "train.steps is missing", "train.tokens"),
        ("preset = \"pythia-70m\"", "model.vocab_size", "start.from"),
    ];
    for (line, key, remedy) in cases {
        assert_refused(&without(line), &[], key, remedy);
    }
}

#[test]
fn impossible_combinations_are_refused_by_key() {
    let cases = [
        ("batch.micro=3", "batch.micro is 3, batch.sequences is 8", "take 2"),
        ("batch.micro=16", "batch.micro", "take 8"),
        ("batch.micro=0", "batch.micro is 0", "at least 1"),
        ("batch.sequences=0", "batch.sequences", "at least 1"),
        ("data.seq_len=4096", "data.seq_len is 4096", "lower data.seq_len"),
        ("data.seq_len=0", "data.seq_len", "at least 1"),
        ("data.train=[]", "data.train", "list at least one"),
        ("data.validation_fraction=1", "data.validation_fraction is 1", "below 1"),
        ("data.validation=[{name=\"a\", paths=[]}]", "data.validation[0].paths", "list at least one"),
        ("optim.betas=[0.9, 1.0]", "optim.betas", "below 1"),
        ("optim.eps=0", "optim.eps", "1e-8"),
        ("optim.groups=[{pattern=\"*\"}]", "optim.groups[0]", "lr_mult, weight_decay or"),
        ("optim.layer_decay=0", "optim.layer_decay is 0", "at most 1"),
        ("optim.layer_decay=1.5", "optim.layer_decay is 1.5", "at most 1"),
        ("train.ema=0", "train.ema is 0", "above 0 and below 1"),
        ("train.ema=1", "train.ema is 1", "above 0 and below 1"),
        ("optim.weight_decay_phases=[{shape=\"linear\"}]", "optim.weight_decay_phases[0].to", "is missing"),
        ("optim.beta1_phases=[{shape=\"linear\", to=1}]", "optim.beta1_phases reaches 1", "below 1"),
        (
            "optim.beta2_phases=[{shape=\"one_minus_sqrt\", to=0.99}]",
            "optim.beta2_phases[0].to is 0.99",
            "lower",
        ),
        (
            "optim.beta1_phases=[{shape=\"linear\", to=0.5, length=2000}]",
            "optim.beta1_phases takes 2000",
            "shorten",
        ),
        ("optim.beta1_phases=[{shape=\"linaer\", to=0.5}]", "optim.beta1_phases[0].shape", "\"linear\""),
        (
            "optim.beta1_phases=[{shape=\"constant\"}, {shape=\"constant\"}]",
            "optim.beta1_phases has several",
            "only one",
        ),
        (
            "optim.beta2_phases=[{shape=\"table\", x=[5, 5], y=[0.9, 0.9]}]",
            "optim.beta2_phases[0].x[1]",
            "must increase",
        ),
        ("optim.beta1_phases=[{to=0.5}]", "optim.beta1_phases[0].shape is missing", "shape"),
        ("batch.lr_scaling=sqrt", "batch.lr_scaling", "[batch.ramp]"),
        ("batch.ramp={start=2}", "batch.ramp.increment is 0", "divide the growth"),
        ("batch.ramp={start=2, increment=4, samples=9}", "batch.ramp.increment is 4", "which is 6"),
        ("batch.ramp={start=2, increment=2}", "batch.ramp.samples", "missing"),
        ("batch.ramp={start=9, increment=1, samples=9}", "batch.ramp.start is 9", "at most batch.sequences"),
        ("batch.ramp={start=0, increment=1, samples=9}", "batch.ramp.start is 0", "at least 1"),
        ("batch.stages=[{sequences=2}]", "batch.stages[0].until is missing", "sequences and until"),
        ("batch.stages=[{sequences=0, until=9}]", "batch.stages[0].sequences is 0", "at least 1"),
        (
            "batch.stages=[{sequences=2, until=9}, {sequences=4, until=9}]",
            "batch.stages[1].until",
            "must increase",
        ),
        ("start.data=continue", "start.data", "start.from"),
        ("train.tokens=10M", "train.steps and train.tokens", "keep one"),
        ("train.steps=0", "train.steps", "at least 1"),
        ("schedule.lr=0", "schedule.lr", "positive"),
        ("schedule.min_lr=1", "schedule.min_lr", "leave it out"),
        ("schedule.warmup=1001", "schedule.warmup", "shorter than the run"),
        ("schedule.decay=10", "schedule.decay", "\"wsd\""),
        ("schedule.warmup_from=previous", "schedule.warmup_from", "start.from"),
        ("start.from=runs/x", "model.preset and start.from", "remove model.preset"),
        ("start.optimizer=keep", "start.optimizer", "start.from"),
        ("checkpoint.keep=1", "checkpoint.keep", "at least 2"),
        ("checkpoint.every=0", "checkpoint.every", "train.steps"),
        ("head.chunk_rows=0", "head.chunk_rows", "1024"),
        ("model.preset=pythia-71m", "model.preset", "pythia-70m"),
        ("model.hidden_size=500", "model.hidden_size", "multiple of 8"),
        ("model.vocab_size=0", "model.vocab_size", "between 1"),
        ("model.eos_token_id=60000", "model.eos_token_id", "lower it"),
    ];
    for (set, key, remedy) in cases {
        assert_refused(SMALL, &[set], key, remedy);
    }
    let twice = "data.validation=[{name=\"a\", paths=[\"x\"]}, {name=\"a\", paths=[\"y\"]}]";
    assert_refused(SMALL, &[twice], "data.validation[1].name", "choose another");
    let heldout = "data.validation=[{name=\"heldout\", paths=[\"x\"]}]";
    assert_refused(
        SMALL,
        &[heldout, "data.validation_fraction=0.1"],
        "data.validation[0].name",
        "choose another",
    );
    for (skip, why) in [
        ("sample:7", "samples 548..552 of SOURCE"),
        ("samples 9..7", "samples 548..552 of SOURCE"),
        ("samples 7..9 of other", "of which source the samples are: train"),
    ] {
        assert_refused(SMALL, &[&format!("data.skip=[{skip:?}]")], "data.skip", why);
    }
    assert_refused(STARTED, &["model.hidden_size=64"], "model.hidden_size and start.from", "remove");
    assert_refused(STARTED, &["model.init=small"], "model.init and start.from", "remove");
    let sets = ["schedule.warmup=2000", "data.seq_len=512"];
    assert_refused(STARTED, &sets, "schedule.warmup", "shorter than the run");
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let error = Config::load(Some(Path::new("no/such.toml")), &[]).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("no/such.toml"));
}
