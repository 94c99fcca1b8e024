//! A model on validation sets: those of its run, or named ones.
use crate::backend;
use crate::cli::tokenizer::of_model;
use crate::config::Config;
use crate::data::{self, Boundaries, Corpus, Side, Split, TextTokenizer};
use crate::device::{self, DeviceName};
use crate::model::{Model, Purpose, Workspace};
use crate::ops::{Backend, Shape};
use crate::train::{CONFIG, EvalResult, Evaluation, OpenModel, boundaries, inherit_seeds, validation_sets};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// On what models are evaluated, and how.
#[derive(Debug, clap::Args)]
pub struct Conditions {
    /// A validation set: NAME=PATH[,PATH...], or just PATH [default: those of the run, held-out documents first]
    #[arg(long, value_name = "NAME=PATHS")]
    pub data: Vec<String>,
    /// A run directory or a configuration (TOML) whose validation sets and sequence length are taken [default: the run that
    /// the model, the first one of several, is a checkpoint of]
    #[arg(long, value_name = "RUN")]
    pub config: Option<PathBuf>,
    /// Tokens of a sequence [default: the run's, else all that the model was made for]
    #[arg(long, value_name = "T")]
    pub seq_len: Option<usize>,
    /// Sequences of each set, evenly spread; 0: all [default: the run's eval.sequences for its own sets, all of --data]
    #[arg(long, value_name = "N")]
    pub sequences: Option<usize>,
    /// Sequences computed at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..65536))]
    pub batch: u32,
    /// The model's tokenizer.json, with which the sets must have been made [default: the one beside the model]
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Where to compute: cpu, cuda:N, emulated, auto
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Cpu)]
    pub device: DeviceName,
}

/// Names of sets and what they are read from.
pub type Sets<'a> = [(&'a str, Vec<&'a str>)];

/// Tells the result of each set as soon as it is there.
pub fn score(
    (args, named): (&Conditions, &Sets),
    path: &Path,
    loaded: Loaded,
    tell: &mut dyn FnMut(EvalResult) -> Result<()>,
) -> Result<()> {
    let Loaded { model, workspace, mut ops, config, tokenizer, .. } = loaded;
    let time = workspace.shape.time;
    let known = tokenizer.as_ref().ok().and_then(Option::as_ref);
    let documents = match &config {
        Some(config) => boundaries(config, known),
        None => Boundaries::new(false, false, known.and_then(|tokenizer| tokenizer.eod(None).ok())),
    };
    let weighted = config.as_ref().is_some_and(|config| config.data.loss_weights);
    let sets = match config {
        _ if !named.is_empty() => named
            .iter()
            .map(|(name, paths)| open_set(name, paths, time, args.sequences.unwrap_or(0), known))
            .collect::<Result<Vec<_>>>()?,
        Some(mut config) => {
            config.eval.sequences = args.sequences.unwrap_or(config.eval.sequences);
            validation_sets(&config, time, known)?
        }
        None => {
            return Err(Error::refused(format!(
                "{} is no checkpoint of a run, which would have validation sets; name one with --data NAME=PATH, or a run \
                 or configuration with --config",
                path.display()
            )));
        }
    };
    check_tokenizers(tokenizer, &sets)?;
    for set in sets {
        let set = set.with_documents(documents)?.with_weights(weighted)?;
        tell(set.run(&model, &mut *ops, &workspace)?)?;
    }
    Ok(())
}

/// A model with its weights, and the configuration that says what it is evaluated on.
pub struct Loaded {
    model: Model,
    workspace: Workspace,
    ops: Box<dyn Backend>,
    config: Option<Config>,
    /// Whatever is wrong with it matters only where data say what they were made with.
    tokenizer: Result<Option<TextTokenizer>>,
    /// Steps of its run, if it is a checkpoint of ours.
    pub step: Option<u64>,
}

/// Reads a model to be evaluated as `config` says, else as its own run does.
pub fn load(args: &Conditions, source: &OpenModel, config: Option<&Config>) -> Result<Loaded> {
    let config = match config {
        Some(config) => Some(config.clone()),
        None => source.run_config()?,
    };
    let device = device::resolve(args.device);
    let precision = backend::default_precision(device);
    let model = Model::new(source.config().clone()).with_precision(precision);
    let longest = model.config.max_position_embeddings;
    let time = match (args.seq_len, &config) {
        (Some(time), _) => time,
        (None, Some(config)) => config.seq_len(&model.config)?,
        (None, None) => longest,
    };
    if time == 0 || time > longest {
        return Err(Error::refused(format!(
            "--seq-len {time}: the model takes sequences of 1 to {longest} tokens"
        )));
    }
    let shape = Shape { batch: args.batch as usize, time };
    let workspace = Workspace::new(&model.config, shape, 1024, Purpose::Evaluate);
    let mut ops = backend::open(device, &model.config, &model.table, &workspace)?;
    source.load(&model.table, &mut *ops, false)?;
    let tokenizer = match of_model(source, args.tokenizer.as_deref()) {
        Err(e) if args.tokenizer.is_some() => return Err(e),
        tokenizer => tokenizer,
    };
    let step = source.manifest().map(|manifest| manifest.state.step);
    Ok(Loaded { model, workspace, ops, config, tokenizer, step })
}

/// Refuses sets that were made with another tokenizer than the model's.
fn check_tokenizers(tokenizer: Result<Option<TextTokenizer>>, sets: &[Evaluation]) -> Result<()> {
    let corpora = || sets.iter().map(Evaluation::corpus);
    let tokenizer = match tokenizer {
        Err(_) if !data::any_noted(corpora())? => return Ok(()),
        tokenizer => tokenizer?,
    };
    let advice = match &tokenizer {
        Some(t) => format!("tokenize the texts again with --tokenizer {}", t.name()),
        None => "name the model's with --tokenizer FILE".into(),
    };
    data::check_tokenizer(corpora(), tokenizer.as_ref(), &advice)
}

/// Of a run directory, or in a file, where it is that of a run to be started.
pub fn config_at(path: &Path) -> Result<Config> {
    if path.is_dir() {
        return Config::load(Some(&path.join(CONFIG)), &[]);
    }
    let mut config = Config::load(Some(path), &[])?;
    if config.data.validation_fraction > 0.0 && config.data.split_seed.is_none() {
        inherit_seeds(&mut config)?;
    }
    Ok(config)
}

/// Names and paths of sets; a `=` inside of a path needs a name before it. Refused where two have one name.
pub fn named_sets(specs: &[String]) -> Result<Vec<(&str, Vec<&str>)>> {
    let mut sets: Vec<(&str, Vec<&str>)> = Vec::new();
    for spec in specs {
        let (name, paths) = spec.split_once('=').unwrap_or((spec, spec));
        if let Some((_, other)) = sets.iter().find(|set| set.0 == name) {
            return Err(Error::refused(format!(
                "two sets are called {name:?}: {} and {paths}; give each --data a name of its own, as in \
                 --data {name}-2={paths}",
                other.join(",")
            )));
        }
        sets.push((name, paths.split(',').collect()));
    }
    Ok(sets)
}

fn open_set(
    name: &str,
    paths: &[&str],
    time: usize,
    sequences: usize,
    tokenizer: Option<&TextTokenizer>,
) -> Result<Evaluation> {
    let corpus = Arc::new(Corpus::open(paths)?);
    Evaluation::new(name, corpus, Side::All, Split::NONE, time, sequences, tokenizer)
}
