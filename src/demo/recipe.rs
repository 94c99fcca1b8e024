//! The numbers of the demo, and the study they make.
use super::options::Options;
use crate::error::one_line;
use std::path::Path;

/// Sizes and lengths. What follows from them fits five minutes on two slow cores ([`Recipe::FULL`]) or seconds
/// ([`Recipe::QUICK`]): steps and never the clock, so that every machine does the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Text of each side, bytes.
    pub side_bytes: u64,
    /// Text of each side that the tokenizer is trained on, bytes.
    pub tokenizer_bytes: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: u32,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// Sequences of a step.
    pub sequences: usize,
    /// Peak learning rate of phase 1 and of the re-warmed continuation.
    pub lr: f64,
    /// What both end at, and the rate of the constant continuation.
    pub lr_end: f64,
    /// Steps of phase 1.
    pub steps_first: u64,
    /// Steps of each continuation.
    pub steps_second: u64,
    /// Steps between evaluations of phase 1.
    pub eval_every_first: u64,
    /// Steps between evaluations of a continuation.
    pub eval_every_second: u64,
    /// Sequences of each validation set.
    pub eval_sequences: usize,
}

impl Recipe {
    /// The paper's experiment, small.
    pub const FULL: Self = Self {
        side_bytes: 8 << 20,
        tokenizer_bytes: 2 << 20,
        vocab_size: 2048,
        layers: 4,
        hidden_size: 160,
        heads: 5,
        seq_len: 128,
        sequences: 8,
        lr: 3e-3,
        lr_end: 3e-4,
        steps_first: 900,
        steps_second: 300,
        eval_every_first: 100,
        eval_every_second: 50,
        eval_sequences: 64,
    };

    /// All the steps of it in seconds; too short for good text.
    pub const QUICK: Self = Self {
        side_bytes: 1 << 20,
        tokenizer_bytes: 256 << 10,
        vocab_size: 1024,
        layers: 2,
        hidden_size: 96,
        heads: 3,
        seq_len: 64,
        sequences: 16,
        lr: 4e-3,
        lr_end: 4e-4,
        steps_first: 120,
        steps_second: 60,
        eval_every_first: 20,
        eval_every_second: 20,
        eval_sequences: 64,
    };
}

/// The study that is made of them: a file that `rewarm study` takes, too. `vocab_size` is the tokenizer's; every line of `about` is a
/// comment at its head.
pub fn study(r: &Recipe, options: &Options, about: &[String], vocab_size: u32, threads: usize) -> String {
    let Options { dir, seed, precision, .. } = options;
    let text = |path: &Path| toml::Value::String(path.display().to_string());
    let data = |name: &str| text(&dir.join("data").join(name));
    let (upstream, downstream) = (data("upstream"), data("downstream"));
    let model = format!(
        "model = {{ vocab_size = {vocab_size}, hidden_size = {}, num_hidden_layers = {}, num_attention_heads = {}, \
         intermediate_size = {}, max_position_embeddings = {}, rotary_pct = 0.25 }}",
        r.hidden_size,
        r.layers,
        r.heads,
        4 * r.hidden_size,
        r.seq_len
    );
    let about: String = about.iter().map(|line| format!("# {}\n", one_line(line))).collect();
    format!(
        r#"{about}dir = {dir}

[base]
seed = {seed}
threads = {threads}
start = {{ from = "ancestor:upstream", optimizer = "reset" }}
batch = {{ sequences = {sequences} }}
schedule = {{ name = "cosine", lr = {lr:e}, min_lr = {end:e}, warmup = {warmup} }}
train = {{ steps = {second}, precision = "{precision}" }}
eval = {{ every = {every}, sequences = {eval_sequences} }}
checkpoint = {{ every = {second} }}
[base.data]
train = [{downstream}]
seq_len = {seq_len}
tokenizer = {tokenizer}
[[base.data.validation]]
name = "upstream"
paths = [{up}]
role = "retain"
[[base.data.validation]]
name = "downstream"
paths = [{down}]
role = "learn"

[[ancestor]]                         # pre-training
name = "upstream"
unset = ["start"]
[ancestor.set]
"data.train" = [{upstream}]
"schedule.warmup" = {first_warmup}
"train.steps" = {first}
"eval.every" = {first_every}
"checkpoint.every" = {first}
{model}

[[cell]]                             # at the rate that pre-training ended with
name = "constant"
unset = ["schedule"]
set = {{ schedule = {{ name = "constant", lr = {end:e}, warmup = 0 }} }}

[[cell]]
name = "re-warmed"

[[cell]]                             # re-warmed, a quarter of the tokens from upstream
name = "replay-25"
unset = ["data.train"]
[cell.set]
"data.mixture" = [{{ name = "new", paths = [{downstream}] }}, {{ name = "old", paths = [{upstream}], fraction = 0.25 }}]

[[cell]]
name = "scratch"
unset = ["start"]
[cell.set]
{model}
"#,
        dir = text(dir),
        sequences = r.sequences,
        lr = r.lr,
        end = r.lr_end,
        warmup = (r.steps_second / 50).max(2),
        second = r.steps_second,
        every = r.eval_every_second,
        eval_sequences = r.eval_sequences,
        seq_len = r.seq_len,
        tokenizer = data("tokenizer.json"),
        up = data("upstream-validation"),
        down = data("downstream-validation"),
        first_warmup = (r.steps_first / 50).max(2),
        first = r.steps_first,
        first_every = r.eval_every_first,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Precision;
    use crate::study::{Study, StudyPlan};

    #[test]
    fn the_runs_are_valid_and_differ_where_the_paper_says() {
        let options = Options {
            dir: "de\"mo".into(),
            quick: false,
            folders: None,
            seed: 7,
            precision: Precision::Mixed,
            command: String::new(),
        };
        for recipe in [Recipe::FULL, Recipe::QUICK] {
            let text = study(&recipe, &options, &["of two\nlines".into()], recipe.vocab_size, 2);
            let plan = StudyPlan::new(&Study::parse(&text, "study.toml").unwrap()).unwrap();
            let names: Vec<&str> = plan.runs().map(|run| run.name.as_str()).collect();
            assert_eq!(names, ["upstream", "constant", "re-warmed", "replay-25", "scratch"]);
            let configs: Vec<_> = plan.runs().map(|run| &run.config).collect();
            let [first, constant, rewarmed, replay, scratch] = configs[..] else { unreachable!() };
            let rate = |i: usize, step| configs[i].compile_schedule(recipe.seq_len, None).unwrap().lr(step);
            let end = rate(0, recipe.steps_first - 1);
            assert!((end / recipe.lr_end - 1.0).abs() < 0.01, "{end}");
            assert_eq!([rate(1, 0), rate(1, recipe.steps_second - 1)], [recipe.lr_end; 2]);
            for i in 2..5 {
                assert_eq!((0..recipe.steps_second).map(|s| rate(i, s)).fold(0.0, f64::max), recipe.lr);
            }
            assert_eq!((first.precision, first.seed), (Precision::Mixed, 7));
            for fresh in [first, scratch] {
                assert_eq!(fresh.model_config().unwrap().unwrap().rotary_pct, 0.25);
                assert!(fresh.start.is_none());
            }
            assert_eq!((&constant.data, constant.train), (&rewarmed.data, rewarmed.train));
            let shares: Vec<_> = replay.data.mixture.iter().map(|source| source.fraction).collect();
            assert_eq!(shares, [None, Some(0.25)]);
        }
    }
}
