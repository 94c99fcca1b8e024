//! The data of a run as its checkpoints know them, opened where they lie now.
use super::replan::accepted;
use super::run_config::{CONFIG, run_config, saved_config};
use super::sources::open_sources;
use crate::checkpoint::{Disk, Manifest, find_newest, list_steps};
use crate::config::Config;
use crate::data::Sources;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A checkpoint and its data.
pub struct Kept {
    /// The checkpoint.
    pub dir: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// The configuration that the run goes on with.
    pub config: Config,
    /// With the contents that the run has read.
    pub sources: Sources,
}

/// The newest checkpoint of a run whose manifest can be read; refused where there is none.
pub fn newest(run_dir: &Path) -> Result<(PathBuf, Manifest)> {
    if !run_dir.is_dir() {
        return Err(Error::refused(format!(
            "{} is not a directory; expected a run directory",
            run_dir.display()
        )));
    }
    let steps = list_steps(&Disk, run_dir)?;
    match steps.into_iter().find_map(|(_, dir)| Manifest::read(&Disk, &dir).ok().map(|read| (dir, read))) {
        Some(found) => Ok(found),
        None => {
            Err(find_newest(&Disk, run_dir).err().unwrap_or_else(|| Error::refused("the run was changed")))
        }
    }
}

impl Kept {
    /// The newest checkpoint of a run whose manifest can be read; refused where there is none.
    pub fn newest(run_dir: &Path) -> Result<Self> {
        let (dir, manifest) = newest(run_dir)?;
        Self::of_manifest(dir, run_dir, manifest)
    }

    /// A step of a run.
    pub fn step(dir: &Path) -> Result<Self> {
        let manifest = Manifest::read(&Disk, dir)
            .map_err(|why| Error::refused(format!("{} is no checkpoint: {why}", dir.display())))?;
        Self::of_manifest(dir.to_path_buf(), dir.parent().unwrap_or(Path::new("")), manifest)
    }

    fn of_manifest(dir: PathBuf, run_dir: &Path, manifest: Manifest) -> Result<Self> {
        let state = &manifest.state;
        let accepted = accepted(run_dir, state)?;
        let saved = accepted.as_ref().map_or(&state.run_config, |accepted| &accepted.run_config);
        let mut config = saved_config(saved, run_dir, &[])?;
        take_paths(&mut config, run_config(saved, run_dir)?);
        let sources = open_sources(&config, config.seq_len(&manifest.model)?)?;
        let was = accepted.and_then(|accepted| accepted.corpus).unwrap_or(state.fingerprints.corpus.clone());
        let is = format!("{:032x}", sources.fingerprint());
        if was != is {
            return Err(Error::refused(format!(
                "the fingerprint of the corpus is {was} in {} and {is} now: its data were replaced; restore them, or name \
                 where they lie in {CONFIG}",
                dir.display()
            )));
        }
        Ok(Self { dir, manifest, config, sources })
    }
}

/// Where data lie now may have been written into the run's configuration; the rest of it counts once it is resumed.
fn take_paths(config: &mut Config, now: Config) {
    let names = |config: &Config| -> Vec<String> {
        config.data.sources().into_iter().map(|(name, _)| name.to_owned()).collect()
    };
    if names(config) == names(&now) {
        config.data.train = now.data.train;
        for (source, now) in config.data.mixture.iter_mut().zip(now.data.mixture) {
            source.paths = now.paths;
        }
    }
    config.data.tokenizer = now.data.tokenizer;
}
