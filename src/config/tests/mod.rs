//! A whole file, its round trip, overrides, and each refusal with its key and its remedy.
mod refusals;
mod resume;

use super::*;
use crate::model::Init;
use crate::model::{TokenIds, preset};
use crate::ops::Gelu;
use crate::schedule::catalogue::Named;
use crate::schedule::{Length, Plan};

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
role = "learn"
tokenizer = "tokenizer.json"
skip = ["samples 5..9 of train", "document pile.bin:7"]
[[data.validation]]
name = "upstream"
paths = ["data/c"]
role = "retain"
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
precision = "f32"
ema = 0.999
separate_bias_gradients = true
[eval]
every = 0
sequences = 0
dense = { until = "1%", every = 2 }
diagnostics = true
[checkpoint]
every = 10
keep = 2
milestones = ["10%", "1B tokens"]
[log]
tensorboard = true
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
window = 8192
seed = 7
split_seed = 8
overlap = "allow"
documents = "isolate"
positions = "reset"
loss_weights = true
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

#[track_caller]
pub(super) fn assert_refused(text: &str, sets: &[&str], key: &str, remedy: &str) {
    let error = load(text, sets).expect_err(key);
    assert_eq!(error.exit_code(), 1);
    let message = error.to_string();
    assert!(message.contains(key) && message.contains(remedy), "{message}\nshould have {key} and {remedy}");
}

fn named(config: &Config) -> &Named {
    let Plan::Named(named) = &config.schedule.plan else { panic!("{:?}", config.schedule.plan) };
    named
}

#[test]
fn a_small_file_gets_the_documented_defaults() {
    let config = load(SMALL, &[]).unwrap();
    assert_eq!(config.model_config().unwrap(), preset("pythia-70m"));
    assert_eq!((config.seed, config.threads, config.device), (1234, 0, DeviceName::Cpu));
    let batch = Batch { sequences: 8, micro: 8, growth: Growth::None, lr_scaling: None };
    assert_eq!(config.batch, batch);
    assert_eq!(config.optim, Optim::default());
    assert_eq!(config.schedule.min_lr, 1e-4);
    assert_eq!(named(&config).args, "theta = 1.0\ncycles = 0.5".parse().unwrap());
    assert_eq!((config.train, config.head.chunk_rows), (Budget::Steps(1000), None));
    assert_eq!((config.recompute, config.ema), (Recompute::None, None));
    assert_eq!(config.eval, Eval { every: 100, sequences: 64, dense: None, diagnostics: false });
    assert_eq!(config.checkpoint, Checkpoint { every: Cadence::Steps(500), keep: 3, milestones: None });
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
    // A table takes the place of the one there.
    let wsd = "schedule={lr=2e-3, name=\"wsd\", decay=\"20%\", decay_shape=\"cosine\"}";
    let config = load(SMALL, &["schedule.min_lr=1e-9", wsd]).unwrap();
    assert_eq!(named(&config).args, "decay = \"20%\"\ndecay_shape = \"cosine\"".parse().unwrap());
    assert_eq!(named(&config).entry.name, "wsd");
    assert_eq!((config.schedule.lr, config.schedule.min_lr), (2e-3, 2e-4));
    assert_refused(SMALL, &["schedule={name=\"wsd\"}"], "schedule.lr is missing", "1e-3");
    let config = load(SMALL, &["data.validation=[{name=\"a\", paths=[\"b\"]}]", "data.validation[0].name=c"]);
    assert_eq!(config.unwrap().data.validation[0].name, "c");
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
    for key in table::KEYS {
        let name = key.name;
        assert!(given.iter().any(|k| k == name) || elsewhere.contains(&name), "{name} is in no test");
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
fn every_argument_is_documented() {
    let catalogue = include_str!("../../../docs/schedules.md");
    for argument in crate::schedule::catalogue::arguments() {
        let key = argument.name;
        assert!(catalogue.contains(&format!("`{key}`")), "{key} is not in docs/schedules.md");
    }
}
