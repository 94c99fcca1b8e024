//! The numbers of the demo, and the three run configurations they make.
use super::options::Options;

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

    /// Tokens of a step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.seq_len * self.sequences) as u64
    }
}

/// The three runs; their names are those of directories and of stems of configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::AsRefStr)]
#[strum(serialize_all = "lowercase")]
pub enum DemoRun {
    /// The upstream data, from scratch.
    Upstream,
    /// Downstream, at the rate that phase 1 ended with.
    Constant,
    /// Downstream, warmed up to the peak of phase 1 again.
    Rewarmed,
}

/// The configuration of a run: a file that `rewarm train` takes, too. `vocab_size` is the tokenizer's.
pub fn config(r: &Recipe, phase: DemoRun, options: &Options, vocab_size: u32, threads: usize) -> String {
    let Options { dir, seed, precision, .. } = options;
    let path = |name: &str| toml::Value::String(dir.join(name).display().to_string());
    let data = |name: &str| path(&format!("data/{name}"));
    let (first, end) = (r.lr, r.lr_end);
    let every = if phase == DemoRun::Upstream { r.eval_every_first } else { r.eval_every_second };
    let (model, train, steps, schedule) = match phase {
        DemoRun::Upstream => {
            let warmup = (r.steps_first / 50).max(2);
            let schedule =
                format!("name = \"cosine\"\nlr = {first:e}\nmin_lr = {end:e}\nwarmup = {warmup}\n");
            (model(r, vocab_size), "upstream", r.steps_first, schedule)
        }
        DemoRun::Constant => {
            let schedule = format!("name = \"constant\"\nlr = {end:e} # where phase 1 ended\nwarmup = 0\n");
            (start(&path("upstream")), "downstream", r.steps_second, schedule)
        }
        DemoRun::Rewarmed => {
            let warmup = (r.steps_second / 50).max(2);
            let schedule =
                format!("name = \"cosine\"\nlr = {first:e}\nmin_lr = {end:e}\nwarmup = {warmup}\n");
            (start(&path("upstream")), "downstream", r.steps_second, schedule)
        }
    };
    format!(
        "run_dir = {run}\nseed = {seed}\nthreads = {threads}\n\n{model}\n[data]\ntrain = [{train}]\nseq_len = {seq_len}\n\
         tokenizer = {tokenizer}\nvalidation = [\n  {{ name = \"upstream\", paths = [{up}] }},\n  {{ name = \
         \"downstream\", paths = [{down}] }},\n]\n\n[batch]\nsequences = {sequences}\n\n[schedule]\n{schedule}\n[train]\n\
         steps = {steps}\nprecision = \"{precision}\"\n\n[eval]\nevery = {every}\nsequences = {eval_sequences}\n\n[checkpoint]\nevery = {steps}\n",
        run = path(phase.as_ref()),
        train = data(train),
        seq_len = r.seq_len,
        tokenizer = data("tokenizer.json"),
        up = data("upstream-validation"),
        down = data("downstream-validation"),
        sequences = r.sequences,
        eval_sequences = r.eval_sequences,
    )
}

fn model(r: &Recipe, vocab_size: u32) -> String {
    format!(
        "[model]\nvocab_size = {vocab_size}\nhidden_size = {}\nnum_hidden_layers = {}\nnum_attention_heads = {}\n\
         intermediate_size = {}\nmax_position_embeddings = {}\nrotary_pct = 0.25\nuse_parallel_residual = true\n",
        r.hidden_size,
        r.layers,
        r.heads,
        4 * r.hidden_size,
        r.seq_len
    )
}

fn start(from: &toml::Value) -> String {
    format!("[start]\nfrom = {from}\noptimizer = \"reset\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::Precision;

    #[test]
    fn the_configurations_are_valid_and_differ_where_the_paper_says() {
        let options = Options {
            dir: "de\"mo".into(),
            quick: false,
            folders: None,
            seed: 7,
            precision: Precision::Mixed,
            command: String::new(),
        };
        for recipe in [Recipe::FULL, Recipe::QUICK] {
            let read = |phase| {
                let text = config(&recipe, phase, &options, recipe.vocab_size, 2);
                Config::from_toml_str(&text, &[]).unwrap()
            };
            let [first, constant, rewarmed] =
                [DemoRun::Upstream, DemoRun::Constant, DemoRun::Rewarmed].map(read);
            let rate = |c: &Config, step| c.compile_schedule(recipe.seq_len, None).unwrap().lr(step);
            let end = rate(&first, recipe.steps_first - 1);
            assert!((end / recipe.lr_end - 1.0).abs() < 0.01, "{end}");
            assert_eq!(rate(&constant, 0), recipe.lr_end);
            assert_eq!(rate(&constant, recipe.steps_second - 1), recipe.lr_end);
            let warmest = (0..recipe.steps_second).map(|s| rate(&rewarmed, s)).fold(0.0, f64::max);
            assert_eq!(warmest, recipe.lr);
            assert_eq!(first.precision, Precision::Mixed);
            assert_eq!(first.model_config().unwrap().unwrap().rotary_pct, 0.25);
            assert_eq!((&constant.data, constant.train), (&rewarmed.data, rewarmed.train));
        }
    }
}
