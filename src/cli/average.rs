//! `rewarm average`: one checkpoint out of several.
use super::common::one_of;
use crate::average::{Method, average, check_same, check_tokenizers};
use crate::checkpoint::{
    self, Disk, Dtype, Export, HfModel, MAX_SHARD_BYTES, Manifest, list_steps, with_history,
};
use crate::console::{note, print};
use crate::model::ParamTable;
use crate::schedule::Curve;
use crate::train::{OpenModel, Progress};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Arguments of `rewarm average`.
#[derive(Debug, clap::Args)]
pub struct AverageArgs {
    /// A run directory (its newest steps), or step or Hugging Face directories, oldest first; with --add and --subtract one
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The new directory, a Hugging Face model
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How many steps of the run, milestones before them left out [default: those that it kept, at most 6, of lawa 5]
    #[arg(long, value_name = "K")]
    last: Option<usize>,
    /// How much each counts
    #[arg(long, value_enum, default_value_t = Name::Sma)]
    method: Name,
    /// Share of the newest, of ema [default: 0.2]
    #[arg(long)]
    alpha: Option<f64>,
    /// The decay to be emulated, of decay [default: linear]
    #[arg(long, value_enum)]
    shape: Option<Decay>,
    /// How much each model counts, in their order, such as 0.3,0.7; the sum is 1
    #[arg(long, value_name = "W,…", value_delimiter = ',', conflicts_with_all = ["method", "alpha", "shape"])]
    weights: Vec<f64>,
    /// A model whose weights are added to those of MODELS, which is one then; may be repeated
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["method", "alpha", "shape", "last", "weights"])]
    add: Vec<PathBuf>,
    /// A model whose weights are subtracted; may be repeated
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["method", "alpha", "shape", "last", "weights"])]
    subtract: Vec<PathBuf>,
    /// Element type of the weights
    #[arg(long, value_parser = one_of::<Dtype>(), default_value = "f32")]
    dtype: Dtype,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Name {
    /// All the same
    Sma,
    /// In proportion to 1, 2, …, the newest most
    Wma,
    /// M ← alpha·θ + (1 − alpha)·M from the oldest on
    Ema,
    /// The latest five, all the same
    Lawa,
    /// As if the rate had decayed between them
    Decay,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Decay {
    Linear,
    Cosine,
    OneMinusSqrt,
    Square,
}

impl AverageArgs {
    fn method(&self) -> Result<Method> {
        if self.alpha.is_some() && self.method != Name::Ema {
            return Err(Error::refused("--alpha is given, and only --method ema has one; remove it"));
        }
        if self.shape.is_some() && self.method != Name::Decay {
            return Err(Error::refused("--shape is given, and only --method decay has one; remove it"));
        }
        let alpha = self.alpha.unwrap_or(0.2);
        if !(alpha > 0.0 && alpha <= 1.0) {
            return Err(Error::refused(format!("--alpha is {alpha}; it must be above 0 and at most 1")));
        }
        Ok(match self.method {
            Name::Sma | Name::Lawa => Method::Sma,
            Name::Wma => Method::Wma,
            Name::Ema => Method::Ema { alpha },
            Name::Decay => Method::Decay(match self.shape.unwrap_or(Decay::Linear) {
                Decay::Linear => Curve::Linear,
                Decay::Cosine => Curve::Cosine { theta: 1.0, cycles: 0.5 },
                Decay::OneMinusSqrt => Curve::OneMinusSqrt,
                Decay::Square => Curve::Rise { power: 2.0 },
            }),
        })
    }

    /// The models in the order in which they are added up, and how much each counts. What lies beside the last comes along.
    fn terms(&self) -> Result<(Vec<PathBuf>, Vec<f64>)> {
        if !(self.add.is_empty() && self.subtract.is_empty()) {
            return self.sum();
        }
        let (method, dirs) = (self.method()?, self.dirs()?);
        let weights =
            if self.weights.is_empty() { method.weights(dirs.len()) } else { self.weights_of(dirs.len())? };
        Ok((dirs, weights))
    }

    /// `--weights`, one for each model.
    fn weights_of(&self, models: usize) -> Result<Vec<f64>> {
        let (count, sum) = (self.weights.len(), self.weights.iter().sum::<f64>());
        if count != models {
            return Err(Error::refused(format!(
                "--weights has {count} numbers, and the models are {models}; give one for each, in their order"
            )));
        }
        if !sum.is_finite() || (sum - 1.0).abs() > 1e-6 {
            return Err(Error::refused(format!(
                "the numbers of --weights have the sum {sum}, where 1 is expected; divide them by it, or use --add and \
                 --subtract for sums and differences of models"
            )));
        }
        Ok(self.weights.clone())
    }

    /// The one model and what is added and subtracted. Differences come first, in the order of the flags: of equal weights
    /// they are nothing, and change nothing.
    fn sum(&self) -> Result<(Vec<PathBuf>, Vec<f64>)> {
        let [model] = &self.models[..] else {
            return Err(Error::refused(format!(
                "--add and --subtract change one model, and {} are named before them; name one",
                self.models.len()
            )));
        };
        let (add, subtract) = (&self.add, &self.subtract);
        if add.len() != subtract.len() {
            note(&format!(
                "{} added, {} subtracted: the result is a model if what has no counterpart is a difference of models",
                add.len(),
                subtract.len()
            ));
        }
        let mut terms = Vec::new();
        for i in 0..add.len().max(subtract.len()) {
            terms.extend(add.get(i).map(|dir| (dir.clone(), 1.0)));
            terms.extend(subtract.get(i).map(|dir| (dir.clone(), -1.0)));
        }
        terms.push((model.clone(), 1.0));
        Ok(terms.into_iter().unzip())
    }

    /// The directories that are averaged, oldest first.
    fn dirs(&self) -> Result<Vec<PathBuf>> {
        let is_run = |dir: &PathBuf| dir.is_dir() && !dir.join("config.json").exists();
        let [run] = &self.models[..] else {
            if self.last.is_some() {
                return Err(Error::refused(
                    "--last is given with several directories; it is for one run directory",
                ));
            }
            return Ok(self.models.clone());
        };
        if !is_run(run) {
            return Err(Error::refused(format!(
                "{} is one model, and an average needs several; give a run directory or more step directories",
                run.display()
            )));
        }
        let steps = without_milestones(list_steps(&Disk, run)?);
        let usual = if self.method == Name::Lawa { 5 } else { 6 };
        let usual = if self.weights.is_empty() { usual } else { self.weights.len() };
        let last = self.last.unwrap_or(usual.min(steps.len()));
        if let Some(fault) = fault_of(last, self.last, &steps) {
            return Err(Error::refused(format!("{} {fault}", run.display())));
        }
        note(&format!("the newest {last} of {} steps of {}", steps.len(), run.display()));
        Ok(steps.into_iter().take(last).rev().map(|(_, dir)| dir).collect())
    }
}

/// Steps, newest first, without the milestones that lie apart from the newest ones: an average is of neighbours.
fn without_milestones(mut steps: Vec<(u64, PathBuf)>) -> Vec<(u64, PathBuf)> {
    let state = |dir: &PathBuf| Manifest::read(&Disk, dir).ok().map(|manifest| manifest.state);
    let newest = steps.first().and_then(|(_, dir)| state(dir));
    let keep = newest.and_then(|state| state.run_config.pointer("/checkpoint/keep")?.as_u64());
    let mut place = 0;
    steps.retain(|(_, dir)| {
        place += 1;
        keep.is_none_or(|keep| place <= keep)
            || !state(dir).is_some_and(|state| Progress::is_milestone(&state))
    });
    steps
}

/// Why `last` of these steps, newest first, have no average; `asked` is what the user wants.
fn fault_of(last: usize, asked: Option<usize>, steps: &[(u64, PathBuf)]) -> Option<String> {
    const KEEP: &str = "the newest checkpoint.keep of those saved every checkpoint.every";
    let name = |step: &(u64, PathBuf)| step.1.file_name().unwrap_or_default().display().to_string();
    match (steps, asked) {
        ([], _) => Some("has no saved step, and an average takes two or more; let it save some first".into()),
        ([step], _) => Some(format!(
            "has one saved step, {}, and an average takes two or more: `rewarm export` writes that one, a run keeps {KEEP}, \
             and step directories of several runs may be named instead",
            name(step)
        )),
        ([newest, .., oldest], Some(asked)) if asked > steps.len() => Some(format!(
            "has {} steps, {} to {}, and --last is {asked}; leave --last out for all of them, a run keeps {KEEP}",
            steps.len(),
            name(oldest),
            name(newest)
        )),
        _ if last < 2 => Some(format!(
            "has {} steps, and --last is {last}: an average takes two or more; leave --last out for all of them",
            steps.len()
        )),
        _ => None,
    }
}

/// Runs the command.
pub fn run(args: &AverageArgs) -> Result<()> {
    let (dirs, weights) = args.terms()?;
    checkpoint::check_new(&args.output)?;
    let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let sources = dirs.iter().map(|dir| OpenModel::open(dir)).collect::<Result<Vec<OpenModel>>>()?;
    let models =
        sources.iter().map(|source| HfModel::open(source.dir())).collect::<Result<Vec<HfModel>>>()?;
    check_same(&models, &names)?;
    check_tokenizers(&sources.iter().map(OpenModel::dir).collect::<Vec<&Path>>(), &names)?;
    for (name, weight) in names.iter().zip(&weights) {
        note(&format!("{weight:.6}  {name}"));
    }
    let newest = sources.last().expect("there is at least one");
    // A checkpoint of ours knows more of its model than config.json says.
    let (config, table) = (newest.config(), ParamTable::new(newest.config()));
    let told = with_history(newest.raw_config(), &told(&names, &weights));
    let export = Export {
        config,
        table: &table,
        dtype: args.dtype,
        base_config: Some(&told),
        companions_from: Some(newest.dir()),
        max_shard_bytes: MAX_SHARD_BYTES,
    };
    checkpoint::export(&args.output, &export, &average(&models, &weights, &table)?)?;
    print(&args.output.display().to_string())
}

/// What the result is made of, for those who find it later.
fn told(names: &[String], weights: &[f64]) -> String {
    let terms: Vec<String> =
        names.iter().zip(weights).map(|(name, weight)| format!("{weight} of {name}")).collect();
    format!("sum of {}", terms.join(", "))
}
