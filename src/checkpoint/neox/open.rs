//! A checkpoint of GPT-NeoX that is open, and what becomes of it here: a checkpoint with weights and moments.
use super::find::Files;
use super::merge::Merged;
use super::rank::Rank;
use super::sizes::Sizes;
use crate::checkpoint::save::{Snapshot, save};
use crate::checkpoint::start::create_run_dir;
use crate::checkpoint::torch::TorchFile;
use crate::checkpoint::{Companions, check_new};
use crate::checkpoint::{Fingerprints, RunState, hf_config};
use crate::files::storage::{Disk, Storage, remove_tree};
use crate::model::{ModelConfig, ParamTable};
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How far the training came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// Attempted steps.
    pub steps: u64,
    /// Steps that Adam's bias correction has seen.
    pub applied: u64,
    /// Sequences consumed.
    pub samples: u64,
    /// The rate of the last step, where it is saved.
    pub lr: Option<f64>,
}

/// An open checkpoint of GPT-NeoX.
pub struct Neox {
    dir: PathBuf,
    ranks: Vec<Rank>,
    /// Ranks that share each layer.
    model_ranks: usize,
    reached: Reached,
    sizes: Sizes,
    like: Option<(PathBuf, hf_config::HfConfig)>,
    config: ModelConfig,
}

impl Neox {
    /// Opens the checkpoint in `dir`, or in the `global_step*` there that is meant. What tensors do not say is that of the
    /// Hugging Face directory `like`, else of the published Pythia of these sizes.
    ///
    /// # Errors
    /// Refused where files are missing, damaged, or of a layout that is not known.
    pub fn open(dir: &Path, like: Option<&Path>) -> Result<Self> {
        let files = Files::find(dir)?;
        let counters = Counters::read(&files.states[0])?;
        let model_ranks = counters.model_ranks;
        if !files.states.len().is_multiple_of(model_ranks) {
            return Err(Error::refused(format!(
                "{}: there are {} files mp_rank_*, of {model_ranks} ranks of model parallelism; copy all of them",
                files.dir.display(),
                files.states.len()
            )));
        }
        if let Some(pieces) =
            files.shards.iter().find(|own| !own.is_empty() && own.len() != counters.data_ranks)
        {
            return Err(Error::refused(format!(
                "{}: there are {} of the {} files zero_pp_rank_* of a rank, which hold the optimizer's state; copy all of them",
                files.dir.display(),
                pieces.len(),
                counters.data_ranks
            )));
        }
        let ranks = (0..files.states.len())
            .map(|number| Rank::open(&files, number, model_ranks))
            .collect::<Result<Vec<_>>>()?;
        let sizes = Sizes::of(&ranks, model_ranks, &files.dir)?;
        let like = like.map(|dir| Ok((dir.to_path_buf(), hf_config::open_config(dir)?))).transpose()?;
        let config = match &like {
            Some((dir, config)) => {
                sizes.check(&config.model, &dir.join("config.json").display().to_string())?;
                config.model.clone()
            }
            None => sizes.preset(&files.dir)?,
        };
        let of_groups = ranks[0].groups.iter();
        let reached = Reached {
            steps: counters.steps,
            applied: of_groups
                .clone()
                .find_map(|group| group.step)
                .unwrap_or(counters.steps - counters.skipped),
            samples: counters.samples,
            lr: of_groups.into_iter().find_map(|group| group.lr),
        };
        Ok(Self { dir: files.dir, ranks, model_ranks, reached, sizes, like, config })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How far its training came.
    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// The model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What its tensors say, in words.
    pub fn describe(&self) -> String {
        self.sizes.text()
    }

    /// Writes it as a checkpoint into the new directory `out`, all of it or nothing. `extra` is what a run carries besides.
    ///
    /// # Errors
    /// Refused where `out` exists, and where a master, rounded, is not the weight of the model; failed on I/O.
    pub fn write(&self, out: &Path, extra: Value) -> Result<()> {
        check_new(out)?;
        self.ranks.iter().try_for_each(Rank::check_masters)?;
        let table = ParamTable::new(&self.config);
        let parallel = self.config.use_parallel_residual;
        let mut merged = Merged::new(&self.ranks, self.model_ranks, &table, parallel, &self.dir)?;
        let companions = self.like.as_ref().map(|(dir, _)| Companions::read(dir)).transpose()?;
        let Reached { steps, applied, samples, .. } = self.reached;
        let state = RunState {
            step: steps,
            applied,
            sample: samples,
            tokens: samples * self.config.max_position_embeddings as u64,
            seed: 0,
            run_id: "imported".into(),
            parent: Some(self.dir.display().to_string()),
            run_config: Value::Null,
            fingerprints: Fingerprints::default(),
            extra,
        };
        let extra_files = companions.map_or(Ok(Vec::new()), |files| files.into_plain_files(&self.config))?;
        let snapshot = Snapshot {
            config: &self.config,
            table: &table,
            state: &state,
            base_config: self.like.as_ref().map(|(_, config)| &config.raw),
            extra_files: &extra_files,
        };
        write_whole(out, |dir| save(&Disk, dir, &snapshot, &mut merged, 1).map(|saved| saved.dir))
    }
}

/// Makes `out` of the directory that `write` makes in an empty one.
fn write_whole(out: &Path, write: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".tmp-{}", std::process::id()));
    let tmp = out.with_file_name(name);
    let made = create_run_dir(&Disk, &tmp)?;
    let done = write(&tmp).and_then(|dir| Disk.rename(&dir, out).map_err(Error::io("rename to", out)));
    // Best effort, and the name says what a leftover is. A parent that somebody else uses by now is not empty.
    let _ = remove_tree(&Disk, &tmp);
    if done.is_err() {
        made.iter().rev().for_each(|dir| drop(Disk.remove_dir(dir)));
    }
    done?;
    let parent = tmp.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    Disk.sync_dir(parent).map_err(Error::io("sync", parent))
}

/// What the file of a rank says of the training.
struct Counters {
    steps: u64,
    skipped: u64,
    samples: u64,
    model_ranks: usize,
    data_ranks: usize,
}

impl Counters {
    fn read(path: &Path) -> Result<Self> {
        let file = TorchFile::open(&Disk, path)?;
        let count = |key: &str| {
            file.root().get(key).and_then(|value| value.count()).ok_or_else(|| {
                Error::refused(format!(
                    "{}: {key} is missing or no number; it is no checkpoint of GPT-NeoX, or damaged",
                    path.display()
                ))
            })
        };
        let ranks = |key: &str| Ok(count(key)?.clamp(1, 1 << 20) as usize);
        let (steps, skipped) = (count("global_steps")?, count("skipped_steps")?);
        Ok(Self {
            steps,
            skipped: skipped.min(steps),
            samples: count("global_samples")?,
            model_ranks: ranks("mp_world_size")?,
            data_ranks: ranks("dp_world_size")?,
        })
    }
}
