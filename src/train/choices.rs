//! The algorithms of a run's matrix products: `gemm.json` in its directory, and a cache that spares the next run on the
//! same GPU the timing. The cache only seeds new runs: what decides about bits lies with the run.
use crate::files::{cache_dir, write_whole};
use crate::ops::GemmChoices;
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The file in a run directory.
pub(super) const FILE: &str = "gemm.json";

/// The algorithms that a run was started with; none where nothing was chosen.
pub fn of_run(run_dir: &Path) -> Result<GemmChoices> {
    let path = run_dir.join(FILE);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| {
            Error::refused(format!("{}: {e}; `rewarm resume --retune` chooses anew", path.display()))
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(GemmChoices::default()),
        Err(e) => Err(Error::input("read", &path)(e)),
    }
}

/// Writes them down: first with the run, then, where that is possible, in the cache.
pub fn keep(choices: &GemmChoices, run_dir: &Path) -> Result<()> {
    let text = serde_json::to_vec_pretty(choices)
        .map_err(|e| Error::failed(format!("algorithms of matrix products: {e}")))?;
    write_whole(&run_dir.join(FILE), &text)?;
    if let Some(cache) = cache_dir() {
        remember(choices, &cache);
    }
    Ok(())
}

/// What earlier runs chose on this device; none where the cache has nothing that can be read.
pub fn cached(device: &str) -> GemmChoices {
    if device.is_empty() {
        return GemmChoices::default(); // nothing is ever chosen there
    }
    cache_dir().and_then(|cache| recall(device, &cache)).unwrap_or_default()
}

fn file_of(device: &str, cache: &Path) -> PathBuf {
    cache.join(format!("gemm-{:016x}.json", xxh3_64(device.as_bytes())))
}

fn recall(device: &str, cache: &Path) -> Option<GemmChoices> {
    let text = std::fs::read(file_of(device, cache)).ok()?;
    serde_json::from_slice(&text).ok().filter(|found: &GemmChoices| found.device == device)
}

/// Adds the choices to those that are there. A cache that cannot be written is no error.
fn remember(choices: &GemmChoices, cache: &Path) {
    let mut all = recall(&choices.device, cache).unwrap_or_default();
    all.device.clone_from(&choices.device);
    all.algorithms.extend(choices.algorithms.clone());
    if let (Ok(text), Ok(())) = (serde_json::to_vec_pretty(&all), std::fs::create_dir_all(cache)) {
        let _ = write_whole(&file_of(&choices.device, cache), &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(device: &str, shapes: &[(&str, &str)]) -> GemmChoices {
        let algorithms = shapes.iter().map(|(s, a)| (s.to_string(), a.to_string())).collect();
        GemmChoices { device: device.into(), algorithms }
    }

    #[test]
    fn a_cache_grows_by_device() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("not/there/yet");
        assert_eq!(recall("a", &cache), None);
        remember(&choices("a", &[("x", "1"), ("y", "2")]), &cache);
        remember(&choices("b", &[("x", "9")]), &cache);
        remember(&choices("a", &[("y", "3"), ("z", "4")]), &cache);
        assert_eq!(recall("a", &cache), Some(choices("a", &[("x", "1"), ("y", "3"), ("z", "4")])));
        assert_eq!(recall("b", &cache), Some(choices("b", &[("x", "9")])));
        std::fs::write(file_of("a", &cache), "{").unwrap();
        assert_eq!(recall("a", &cache), None);
        remember(&choices("a", &[("x", "5")]), &cache);
        assert_eq!(recall("a", &cache), Some(choices("a", &[("x", "5")])));
    }

    #[test]
    fn a_run_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_run(dir.path()).unwrap(), GemmChoices::default());
        std::fs::write(dir.path().join(FILE), "nothing").unwrap();
        assert!(of_run(dir.path()).unwrap_err().to_string().contains("--retune"));
        let text = serde_json::to_vec(&choices("a", &[("x", "1")])).unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        assert_eq!(of_run(dir.path()).unwrap(), choices("a", &[("x", "1")]));
    }
}
