//! The configuration of a run as its directory and its checkpoints keep it.
use crate::config::{Config, RawConfig};
use crate::model::Precision;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;

/// The resolved configuration in a run directory.
pub const CONFIG: &str = "config.toml";
/// What was overridden, in a run directory.
pub const OVERRIDE: &str = "override.json";

/// The keys of a checkpoint's configuration that are read by themselves, whatever version wrote the others. A
/// checkpoint from before a key has its default.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedKeys {
    pub data: SavedData,
    pub head: SavedHead,
    pub train: SavedTrain,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedData {
    pub seq_len: Option<usize>,
    pub validation_fraction: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedHead {
    pub chunk_rows: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedTrain {
    pub precision: Precision,
}

impl SavedKeys {
    /// Of a configuration as a manifest has it; a checkpoint that no run wrote has none.
    pub fn of(saved: &Value) -> Result<Self> {
        Option::deserialize(saved).map(Option::unwrap_or_default).map_err(unreadable)
    }
}

fn unreadable(error: impl Display) -> Error {
    Error::refused(format!("the saved configuration cannot be read: {error}"))
}

/// The configuration that a run shall go on with: `config.toml` in its directory, which people edit, with
/// overrides. Where that file is missing, the checkpoint's own.
pub fn wanted_config(saved: &Value, run_dir: &Path, sets: &[String]) -> Result<Config> {
    let path = run_dir.join(CONFIG);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path.display().to_string(), run_dir, sets),
        Err(e) if e.kind() == ErrorKind::NotFound => saved_config(saved, run_dir, sets),
        Err(e) => Err(Error::input("read", &path)(e)),
    }
}

/// A configuration of a checkpoint.
pub fn saved_config(saved: &Value, run_dir: &Path, sets: &[String]) -> Result<Config> {
    let text = toml::Table::try_from(saved).map_err(unreadable)?.to_string();
    parse(&text, "the saved configuration", run_dir, sets)
}

fn parse(text: &str, origin: &str, run_dir: &Path, sets: &[String]) -> Result<Config> {
    let mut sets = sets.to_vec();
    sets.push(format!("run_dir={}", toml::Value::String(run_dir.display().to_string())));
    RawConfig::from_toml_str(text, origin, &sets)?.validate()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configurations_of_other_versions_are_read() {
        let low =
            json!({ "train": { "precision": "bf16", "later": 1 }, "head": { "chunk_rows": 8 }, "zeta": 1 });
        let keys = SavedKeys::of(&low).unwrap();
        assert_eq!((keys.train.precision, keys.head.chunk_rows), (Precision::Bf16, Some(8)));
        for earlier in [Value::Null, json!({}), json!({ "train": {} })] {
            assert_eq!(SavedKeys::of(&earlier).unwrap().train.precision, Precision::Mixed, "{earlier}");
        }
        let error = SavedKeys::of(&json!({ "train": { "precision": "fp4" } })).err().unwrap().to_string();
        assert!(error.contains("saved configuration") && error.contains("fp4"), "{error}");
    }
}
