//! Which directory is meant, and which file in it is what.
use crate::files::storage::{Disk, Storage};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of one checkpoint.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    /// Weights, by layer and rank of model parallelism.
    pub(super) layers: BTreeMap<(usize, usize), PathBuf>,
    /// Counters, and all weights where there is no pipeline; by rank of pipeline and model parallelism.
    pub(super) states: Vec<PathBuf>,
    /// Pieces of the optimizer's state, by that rank and the one of data parallelism; none of stage 0.
    pub(super) shards: Vec<Vec<PathBuf>>,
}

impl Files {
    /// Those of `dir`, of the `global_step*` in it that its file `latest` names, or of the only one there.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        let dir = checkpoint_dir(dir)?;
        let (mut layers, mut states, mut shards) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for name in names(&dir)? {
            let path = dir.join(&name);
            if let Some(place) = layer(&name) {
                layers.insert(place, path);
            } else if let Some(rank) = state(&name) {
                states.insert(rank, path);
            } else if let Some(place) = shard(&name) {
                shards.insert(place, path);
            }
        }
        let states = in_order(&dir, states, "mp_rank", "_model_states.pt")?;
        let mut by_rank: Vec<BTreeMap<usize, PathBuf>> = states.iter().map(|_| BTreeMap::new()).collect();
        for ((rank, piece), path) in shards {
            let pieces = by_rank.get_mut(rank).ok_or_else(|| {
                Error::refused(format!(
                    "{} is there, and mp_rank_{rank:02}_model_states.pt is not; copy all files of the checkpoint",
                    path.display()
                ))
            })?;
            pieces.insert(piece, path);
        }
        let whole = |(rank, pieces)| {
            in_order(&dir, pieces, "zero_pp_rank", &format!("_mp_rank_{rank:02}_optim_states.pt"))
        };
        let shards = by_rank.into_iter().enumerate().map(whole).collect::<Result<Vec<_>>>()?;
        Ok(Self { dir, layers, states, shards })
    }
}

/// Files by rank, of which none may be missing.
fn in_order(dir: &Path, files: BTreeMap<usize, PathBuf>, start: &str, end: &str) -> Result<Vec<PathBuf>> {
    match files.keys().enumerate().find(|(place, rank)| place != *rank) {
        None => Ok(files.into_values().collect()),
        Some((place, _)) => Err(Error::refused(format!(
            "{}: the file {start}_{place}{end} is missing (there are {} such files, up to {}); copy all files of the \
             checkpoint",
            dir.display(),
            files.len(),
            files.keys().last().copied().unwrap_or_default()
        ))),
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = Disk.list(dir).map_err(Error::input("list", dir))?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

fn checkpoint_dir(dir: &Path) -> Result<PathBuf> {
    let names = names(dir)?;
    if names.iter().any(|name| state(name).is_some()) {
        return Ok(dir.into());
    }
    if names.iter().any(|name| name == "latest") {
        let path = dir.join("latest");
        let tag = std::fs::read_to_string(&path).map_err(Error::input("read", &path))?;
        let tag = tag.trim();
        if tag.starts_with("global_step") && !tag.contains('/') && dir.join(tag).is_dir() {
            return Ok(dir.join(tag));
        }
    }
    let steps: Vec<&String> = names.iter().filter(|n| n.starts_with("global_step")).collect();
    match steps[..] {
        [step] => Ok(dir.join(step)),
        [] => Err(Error::refused(format!(
            "{} holds no checkpoint of GPT-NeoX (mp_rank_00_model_states.pt); give the folder that has one, such as \
             global_step143000",
            dir.display()
        ))),
        _ => Err(Error::refused(format!(
            "{} holds {} checkpoints, and no file `latest` that says which is meant; give one of them, such as {}",
            dir.display(),
            steps.len(),
            dir.join(steps[0]).display()
        ))),
    }
}

/// `layer_02-model_00-model_states.pt`
fn layer(name: &str) -> Option<(usize, usize)> {
    let (layer, rank) =
        name.strip_prefix("layer_")?.strip_suffix("-model_states.pt")?.split_once("-model_")?;
    Some((layer.parse().ok()?, rank.parse().ok()?))
}

/// `mp_rank_00_model_states.pt`
fn state(name: &str) -> Option<usize> {
    name.strip_prefix("mp_rank_")?.strip_suffix("_model_states.pt")?.parse().ok()
}

/// `zero_pp_rank_0_mp_rank_00_optim_states.pt`: the rank of pipeline and model parallelism, and that of data parallelism.
fn shard(name: &str) -> Option<(usize, usize)> {
    let name = name.strip_prefix("bf16_").unwrap_or(name);
    let ranks = name.strip_prefix("zero_pp_rank_")?.strip_suffix("_optim_states.pt")?;
    let (piece, rank) = ranks.split_once("_mp_rank_")?;
    Some((rank.parse().ok()?, piece.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(layer("layer_02-model_01-model_states.pt"), Some((2, 1)));
        assert_eq!(state("mp_rank_03_model_states.pt"), Some(3));
        assert_eq!(shard("zero_pp_rank_12_mp_rank_01_optim_states.pt"), Some((1, 12)));
        assert_eq!(shard("bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"), Some((0, 0)));
        for other in
            ["configs", "latest", "mp_rank_00_model_states.pt.part", "layer_x-model_00-model_states.pt"]
        {
            assert_eq!((layer(other), state(other), shard(other)), (None, None, None), "{other}");
        }
    }
}
