//! A whole file, its round trip, overrides, and each refusal with its key and its remedy.
use super::*;
use crate::model::Init;
use crate::model::{TokenIds, preset};
use crate::ops::Gelu;
use crate::schedule::{Length, Named, Plan, Preset, Shape};

pub(super) const SMALL: &str = r#"
run_dir = "runs/first"
[model]
preset = "pythia-70m"
[data]
train = ["data/pile"]
seq_len = 512
[schedule]
lr = 1e-3
[train]
steps = 1000
"#;

const FULL: &str = r#"
run_dir = "runs/full"
seed = 7
threads = 2
device = "cpu"
[model]
preset = "pythia-14m"
vocab_size = 1000
hidden_size = 64
num_hidden_layers = 2
num_attention_heads = 4
intermediate_size = 128
max_position_embeddings = 256
rotary_pct = 0.5
rotary_emb_base = 10000
layer_norm_eps = 1e-6
gelu = "tanh"
use_parallel_residual = false
attention_bias = false
tie_word_embeddings = true
initializer_range = 0.01
bos_token_id = 1
eos_token_id = 2
init = "normal"
[data]
train = ["data/a", "raw-u16:b.bin"]
validation_fraction = 0.1
tokenizer = "tokenizer.json"
[[data.validation]]
name = "upstream"
paths = ["data/c"]
[batch]
sequences = 12
micro = 4
[optim]
betas = [0.8, 0.99]
eps = 1e-9
weight_decay = 0.01
clip = 0
layer_decay = 0.9
[[optim.groups]]
pattern = "*.bias"
lr_mult = 2
weight_decay = 0.02
decay_follows_rate = true
[[optim.weight_decay_phases]]
shape = "cosine"
to = "10%"
[[optim.beta1_phases]]
shape = "linear"
length = "5%"
from = 0.7
to = "100%"
[[optim.beta2_phases]]
shape = "table"
x = [0, "1M tokens"]
y = [0.9, 0.99]
[schedule]
lr = 0.002
min_lr = 0
warmup = "2M tokens"
warmup_from = 1e-5
warmup_convention = "one_based"
pre_hold = 5
pre_hold_lr = 1e-6
warmup_shape = "cosine"
tail = "min_lr"
counter = "applied"
[[schedule.phases]]
shape = "linear"
length = "10%"
to = 3e-4
from = 1e-3
part = [0, 0.5]
[[schedule.phases]]
shape = "constant"
[train]
tokens = "1.5B"
recompute = "cheap"
precision = "mixed"
ema = 0.999
separate_bias_gradients = true
[eval]
every = 0
sequences = 0
[checkpoint]
every = 10
keep = 2
[head]
chunk_rows = 64
"#;

const STARTED: &str = r#"
run_dir = "runs/second"
[model]
gelu = "tanh"
[start]
from = "runs/first"
optimizer = "keep"
data = "continue"
[[batch.stages]]
sequences = 4
until = "1M"
[data]
train = ["data/pile"]
[schedule]
name = "wsd"
lr = 1e-3
warmup_from = "previous"
decay_shape = "one_minus_sqrt"
[train]
steps = 1000
"#;

const GROWING: &str = r#"
run_dir = "runs/third"
[model]
preset = "pythia-14m"
[data]
train = ["data/pile"]
[batch]
sequences = 8
lr_scaling = "linear"
[batch.ramp]
start = 2
increment = 2
samples = 100
[schedule]
lr = 1e-3
[train]
steps = 1000
"#;

pub(super) fn load(text: &str, sets: &[&str]) -> Result<Config> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_toml_str(text, &sets)
}

#[test]
fn a_small_file_gets_the_documented_defaults() {
    let config = load(SMALL, &[]).unwrap();
    assert_eq!(config.model_config().unwrap(), preset("pythia-70m"));
    assert_eq!((config.seed, config.threads, config.device), (1234, 0, DeviceName::Cpu));
    let batch = Batch { sequences: 8, micro: 8, growth: Growth::None, lr_scaling: None };
    assert_eq!(config.batch, batch);
    assert_eq!(config.optim, Optim::default());
    assert_eq!(
        (config.schedule.min_lr, &config.schedule.plan),
        (1e-4, &Plan::Shape(Shape::Cosine { theta: 1.0, cycles: 0.5 }))
    );
    assert_eq!((config.train, config.head.chunk_rows), (Budget::Steps(1000), None));
    assert_eq!((config.recompute, config.ema), (Recompute::None, None));
    assert_eq!(config.eval, Eval { every: 100, sequences: 64 });
    assert_eq!(config.checkpoint, Checkpoint { every: Cadence::Steps(500), keep: 3 });
    let schedule = config.compile_schedule(512, None).unwrap();
    assert_eq!((schedule.warmup_steps, schedule.lr(10)), (10, 1e-3));
}

#[test]
fn a_full_file_means_what_it_says() {
    let config = load(FULL, &[]).unwrap();
    let model = config.model_config().unwrap().unwrap();
    assert_eq!((model.hidden_size, model.intermediate_size, model.gelu), (64, 128, Gelu::Tanh));
    assert_eq!(
        (model.layer_norm_eps, model.rotary_emb_base, &model.eos_token_id),
        (1e-6, 10000.0, &TokenIds::One(2))
    );
    assert_eq!((config.model.init, config.data.seq_len), (Init::Normal, Some(256)));
    assert_eq!(config.total_steps(256), 1_500_000_000u64.div_ceil(12 * 256));
    assert_eq!(config.schedule.warmup, Length::Tokens(2_000_000));
    let rules = &config.optim.groups;
    assert_eq!(rules.iter().map(|r| r.pattern.as_str()).collect::<Vec<_>>(), ["*.bias"]);
    assert_eq!(rules[0].lr_mult, Some(2.0));
    assert_eq!((config.recompute, config.ema), (Recompute::Cheap, Some(0.999)));
    assert!(config.separate_bias_gradients);
}

#[test]
fn a_started_run_leaves_the_sizes_to_its_model() {
    let config = load(STARTED, &[]).unwrap();
    assert_eq!(config.model_config().unwrap(), None);
    assert_eq!((config.model.gelu, config.data.seq_len), (Some(Gelu::Tanh), None));
    assert_eq!(config.start.as_ref().unwrap().optimizer, OptimizerStart::Keep);
    let model = preset("pythia-70m").unwrap();
    assert_eq!(config.seq_len(&model).unwrap(), 2048);
    assert_eq!(config.compile_schedule(2048, Some(1e-4)).unwrap().lr(0), 1e-4);
    assert!(config.compile_schedule(2048, None).unwrap_err().to_string().contains("schedule.warmup_from"));
    let long = load(STARTED, &["data.seq_len=4096"]).unwrap();
    assert!(long.seq_len(&model).unwrap_err().to_string().contains("data.seq_len"));
}

#[test]
fn the_resolved_file_and_its_json_round_trip() {
    for text in [SMALL, FULL, STARTED, GROWING, mixture::tests::MIXED] {
        let config = load(text, &[]).unwrap();
        let resolved = config.resolved_toml();
        let again = load(&resolved, &[]).unwrap_or_else(|e| panic!("{e}\n{resolved}"));
        assert_eq!(again, config, "{resolved}");
        assert_eq!(again.resolved_toml(), resolved);
        assert_eq!(again.to_json(), config.to_json());
    }
    assert_eq!(load(SMALL, &[]).unwrap().to_json()["model"]["vocab_size"], 50304);
}

#[test]
fn sets_win_over_the_file_in_order() {
    let config = load(SMALL, &["schedule.lr=3e-4", "seed=1", "seed=2", "run_dir=runs/x"]).unwrap();
    assert_eq!((config.schedule.lr, config.seed, config.run_dir.to_str()), (3e-4, 2, Some("runs/x")));
    let config = load(SMALL, &["schedule={name=\"wsd\", decay=\"20%\", decay_shape=\"cosine\"}"]).unwrap();
    let decay_shape = Named(Shape::Cosine { theta: 1.0, cycles: 0.5 });
    let wsd = Preset::Wsd { decay: Length::Percent(20.0), decay_shape };
    assert_eq!(config.schedule.plan, Plan::Preset(wsd));
    assert_eq!(config.schedule.lr, 1e-3);
    let config = load(
        "",
        &["run_dir=a", "model.preset=pythia-14m", "data.train=[\"b\"]", "schedule.lr=1", "train.steps=1"],
    );
    assert_eq!(config.unwrap().data.train, ["b"]);
}

/// The files above and their resolved forms have every key: one that only the table or only the types know is
/// found here.
#[test]
fn the_key_table_and_the_types_agree() {
    let mut given: Vec<String> = Vec::new();
    for text in [FULL, STARTED, GROWING, mixture::tests::MIXED] {
        let table: Table = text.parse().unwrap();
        collect("", &table, &mut given);
        let resolved: Table = load(text, &[]).unwrap().resolved_toml().parse().unwrap();
        collect("", &resolved, &mut given);
    }
    // Exclusive with what FULL has.
    let elsewhere = ["schedule.name", "schedule.decay", "schedule.style", "schedule.args", "train.steps"];
    for (key, _) in keys::KEYS {
        assert!(given.iter().any(|k| k == key) || elsewhere.contains(key), "{key} is in no test");
    }
    for key in &given {
        assert!(keys::kind_of(key).is_some(), "{key} is in no table");
    }
}

fn collect(path: &str, table: &Table, out: &mut Vec<String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Table(inner) => collect(&path, inner, out),
            Value::Array(list) => {
                out.push(path.clone());
                list.iter().filter_map(Value::as_table).for_each(|t| collect(&format!("{path}[]"), t, out));
            }
            _ => out.push(path),
        }
    }
}

#[track_caller]
pub(super) fn assert_refused(text: &str, sets: &[&str], key: &str, remedy: &str) {
    let error = load(text, sets).expect_err(key);
    assert_eq!(error.exit_code(), 1);
    let message = error.to_string();
    assert!(message.contains(key) && message.contains(remedy), "{message}\nshould have {key} and {remedy}");
}

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
        ("batch.micro=0", "batch.micro", "must divide"),
        ("batch.sequences=0", "batch.sequences", "at least 1"),
        ("data.seq_len=4096", "data.seq_len is 4096", "lower data.seq_len"),
        ("data.seq_len=0", "data.seq_len", "at least 1"),
        ("data.train=[]", "data.train", "list at least one"),
        ("data.validation_fraction=1", "data.validation_fraction", "lower it"),
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
    assert_refused(STARTED, &["model.hidden_size=64"], "model.hidden_size and start.from", "remove");
    assert_refused(STARTED, &["model.init=small"], "model.init and start.from", "remove");
    let sets = ["schedule.warmup=2000", "data.seq_len=512"];
    assert_refused(STARTED, &sets, "schedule.warmup", "shorter than the run");
}

#[test]
fn a_batch_that_grows() {
    let sets = ["batch.ramp={start=2, increment=2, samples=10}", "schedule.warmup=10%"];
    let config = load(SMALL, &sets).unwrap();
    assert!(load(SMALL, &[&sets[..], &["schedule.counter=applied"]].concat()).is_ok());
    assert_eq!(config.batch.micro, 2, "it divides every size");
    assert_eq!((config.total_steps(16), config.batch.plan(16).samples_before(5)), (1000, 2 + 2 + 4 + 6 + 8));
    let stages = "batch.stages=[{sequences=4, until=64}, {sequences=6, until=\"1K\"}]";
    let config = load(SMALL, &[stages, "train.steps=5"]).unwrap();
    assert_eq!(config.total_tokens(16), 16 * (4 + 6 * 4));
    for sets in [&[stages, "batch.micro=4"][..], &[stages, "batch.ramp={start=2, increment=2, samples=10}"]] {
        let error = load(SMALL, sets).unwrap_err().to_string();
        assert!(error.contains("batch"), "{error}");
    }
    assert_refused(SMALL, &[stages, "batch.micro=4"], "batch.stages[1].sequences is 6", "take 2");
}

#[test]
fn sizes_over_a_preset_bring_their_own_intermediate_size() {
    let model = load(SMALL, &["model.hidden_size=256"]).unwrap().model_config().unwrap().unwrap();
    assert_eq!((model.hidden_size, model.intermediate_size, model.num_attention_heads), (256, 1024, 8));
}

#[test]
fn a_schedule_can_be_seen_before_the_rest_is_written() {
    let show = |sets: &[&str], steps| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        RawConfig::from_toml_str("", "configuration", &sets).and_then(|raw| raw.preview_schedule(steps))
    };
    assert_eq!(show(&["schedule.lr=1"], Some(100)).unwrap().lr(1), 1.0);
    let sets = ["schedule.lr=1", "model.preset=pythia-70m", "batch.sequences=4", "train.tokens=81920"];
    assert_eq!(show(&sets, None).unwrap().total, 10);
    let refused = |sets: &[&str], steps| show(sets, steps).unwrap_err().to_string();
    assert!(refused(&["schedule.lr=1"], None).contains("--steps"));
    assert!(refused(&["schedule.lr=1", "train.tokens=10"], None).contains("data.seq_len"));
    assert!(refused(&["schedule.lr=1", "schedule.warmup=1K tokens"], Some(9)).contains("data.seq_len"));
    assert!(refused(&["schedule.lr=1", "schedule.warmup_from=previous"], Some(9)).contains("give a number"));
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let error = Config::load(Some(Path::new("no/such.toml")), &[]).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("no/such.toml"));
}

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

/// Runs from before the key are resumed, and one with f32 state may move between a processor and a GPU.
#[test]
fn precision_is_written_where_it_is_not_the_default() {
    let text = |sets: &[&str]| load(SMALL, sets).unwrap().resolved_toml();
    assert!(!text(&["device=cuda:0"]).contains("precision"));
    assert_eq!(text(&["device=cuda:0", "train.precision=mixed"]), text(&["device=cuda:0"]));
    let low = text(&["device=cuda:0", "train.precision=bf16"]);
    assert!(low.contains("precision = \"bf16\""), "{low}");
    let error = load(SMALL, &["train.precision=bf16"]).unwrap_err().to_string();
    assert!(error.contains("train.precision") && error.contains("device is cpu"), "{error}");
    let error =
        load(SMALL, &["train.precision=bf16", "device=cuda:0", "train.ema=0.9"]).unwrap_err().to_string();
    assert!(error.contains("train.precision") && error.contains("train.ema"), "{error}");
}

#[test]
fn every_key_is_documented() {
    let text = include_str!("../../docs/configuration.md");
    for (key, _) in super::keys::KEYS {
        let last = key.rsplit('.').next().unwrap();
        let written = if key.contains("[]") { format!("`{last}`") } else { format!("`{key}`") };
        let listed = text.contains(&written) || text.contains(&format!("[[{key}]]"));
        assert!(listed, "{key} is not in docs/configuration.md");
    }
    let catalogue = include_str!("../../docs/schedules.md");
    for (key, _) in super::kind::ARGUMENTS {
        assert!(catalogue.contains(&format!("`{key}`")), "{key} is not in docs/schedules.md");
    }
}
