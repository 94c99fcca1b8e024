//! A trained model wherever it lies: a Hugging Face directory, a model of their hub, a `step-*` directory, or a run
//! directory, whose newest valid step is meant.
use super::run_config::{SavedKeys, run_config};
use crate::checkpoint::{self, Disk, EMA, HfModel, MANIFEST, Manifest, Tensors, hf_config};
use crate::config::Config;
use crate::hub;
use crate::model::{ModelConfig, ParamTable, TokenIds};
use crate::ops::{Part, State};
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A trained model that was opened: Hugging Face's, or a checkpoint of ours.
pub enum OpenModel {
    /// A directory in Hugging Face's layout.
    HuggingFace {
        /// Where it is.
        dir: PathBuf,
        /// Its sizes and where its tensors lie.
        model: Box<HfModel>,
    },
    /// A checkpoint of ours, verified.
    Step {
        /// Where it is.
        dir: PathBuf,
        /// What it says of itself.
        manifest: Box<Manifest>,
        /// The whole of its `config.json`.
        config: Value,
    },
}

impl OpenModel {
    /// Opens what is at `path`, or the model of the hub that it names, and says on stderr which steps of a run were passed
    /// over, and why.
    pub fn open(path: &Path) -> Result<Self> {
        let path = &*hub::locate(path)?;
        if !path.is_dir() {
            return Err(Error::refused(format!(
                "{} is not a directory; expected a Hugging Face directory, a run directory or a step directory",
                path.display()
            )));
        }
        if path.join(MANIFEST).exists() {
            let manifest = checkpoint::verify(&Disk, path).map_err(|why| {
                Error::refused(format!(
                    "{} is not a valid checkpoint: {why}; choose another step",
                    path.display()
                ))
            })?;
            return Self::step(path.to_path_buf(), manifest);
        }
        if path.join("config.json").exists() {
            let model = HfModel::open(path)?;
            model.notes.iter().for_each(|note| log::info!("note: {note}"));
            return Ok(Self::HuggingFace { dir: path.to_path_buf(), model: Box::new(model) });
        }
        if checkpoint::list_steps(&Disk, path)?.is_empty() {
            let what = checkpoint::describe(path).unwrap_or(
                "holds neither config.json nor a step-* directory; expected a Hugging Face directory, a run \
                 directory or a step directory"
                    .into(),
            );
            return Err(Error::refused(format!("{} {what}", path.display())));
        }
        Self::newest(path)
    }

    /// Opens what is at `path` and takes from it what `take` does. A run that goes on meanwhile may delete the step
    /// that was its newest; where its steps have changed, a failure is tried again with the one that is newest now.
    pub fn read<R>(path: &Path, take: impl Fn(&Self) -> Result<R>) -> Result<R> {
        const TRIES: usize = 20;
        let steps = || checkpoint::list_steps(&Disk, path).unwrap_or_default();
        for _ in 1..TRIES {
            let before = steps();
            let taken = Self::open(path).and_then(|source| take(&source));
            if taken.is_ok() || steps() == before {
                return taken;
            }
        }
        take(&Self::open(path)?)
    }

    /// The newest valid step of a run.
    pub fn newest(run_dir: &Path) -> Result<Self> {
        let found = checkpoint::find_newest(&Disk, run_dir)?;
        for rejected in &found.rejected {
            log::warn!("{} is not used: {}", rejected.dir.display(), rejected.reason);
        }
        Self::step(found.dir, found.manifest)
    }

    fn step(dir: PathBuf, manifest: Manifest) -> Result<Self> {
        let config = hf_config::open_config(&dir)?.raw;
        Ok(Self::Step { dir, manifest: Box::new(manifest), config })
    }

    /// Where it lies: the files beside the weights are here.
    pub fn dir(&self) -> &Path {
        match self {
            Self::HuggingFace { dir, .. } | Self::Step { dir, .. } => dir,
        }
    }

    /// The sizes that its `config.json` states.
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::HuggingFace { model, .. } => &model.config,
            Self::Step { manifest, .. } => &manifest.model,
        }
    }

    /// Its `config.json`, whose unknown keys are carried along.
    pub fn raw_config(&self) -> &Value {
        match self {
            Self::HuggingFace { model, .. } => &model.raw_config,
            Self::Step { config, .. } => config,
        }
    }

    /// The tokens that end a text, as its directory says.
    pub fn end_tokens(&self) -> Result<TokenIds> {
        hf_config::end_tokens(self.dir(), self.raw_config())
    }

    /// The element type of its weights.
    pub fn dtype(&self) -> checkpoint::Dtype {
        match self {
            Self::HuggingFace { model, .. } => model.dtype,
            Self::Step { .. } => checkpoint::Dtype::F32,
        }
    }

    /// Whether its weights were kept in more than bf16. Our files hold f32 in any case.
    pub fn has_f32_weights(&self) -> Result<bool> {
        match self {
            Self::HuggingFace { model, .. } => Ok(model.dtype != checkpoint::Dtype::Bf16),
            Self::Step { manifest, .. } => {
                Ok(SavedKeys::of(&manifest.state.run_config)?.precision().has_f32_state())
            }
        }
    }

    /// The manifest, if it is a checkpoint of ours.
    pub fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::HuggingFace { .. } => None,
            Self::Step { manifest, .. } => Some(manifest),
        }
    }

    /// The configuration of the run that it is a checkpoint of.
    pub fn run_config(&self) -> Result<Option<Config>> {
        let run_dir = self.dir().parent().unwrap_or(Path::new(""));
        let of = |manifest: &Manifest| run_config(&manifest.state.run_config, run_dir);
        self.manifest().map(of).transpose()
    }

    /// Its weights, or the moving average of them, which only our checkpoints may have, to be read tensor by tensor.
    pub fn open_tensors(&self, table: &ParamTable, part: Part) -> Result<Box<Tensors<'_>>> {
        match self {
            Self::HuggingFace { model, .. } if part == Part::Weights => model.open_tensors(table),
            Self::HuggingFace { dir, .. } => Err(Error::refused(format!(
                "{} is one model; a step of a run with train.ema has a moving average beside its weights",
                dir.display()
            ))),
            // Hashes were compared when it was opened.
            Self::Step { dir, .. } => checkpoint::open_tensors(&Disk, dir, table, part),
        }
    }

    /// Whether it has a moving average of the weights.
    pub fn has_average(&self) -> bool {
        self.manifest().is_some_and(|manifest| manifest.files.contains_key(EMA))
    }

    /// Loads the weights, and the moments where asked for, which only our checkpoints have.
    pub fn load(&self, table: &ParamTable, into: &mut dyn State, moments: bool) -> Result<()> {
        match self {
            Self::HuggingFace { dir, .. } if moments => Err(Error::refused(format!(
                "{} has no optimizer state; set start.optimizer = \"reset\"",
                dir.display()
            ))),
            Self::HuggingFace { model, .. } => model.load_weights(table, into),
            // Hashes were compared when it was opened.
            Self::Step { dir, .. } => checkpoint::load(&Disk, dir, table, into, moments).map(drop),
        }
    }
}
