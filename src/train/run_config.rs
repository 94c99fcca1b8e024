//! The configuration of a run as its directory and its checkpoints keep it.
use crate::config::{Config, RawConfig};
use crate::{Error, Result};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::Path;

/// The resolved configuration in a run directory.
pub const CONFIG: &str = "config.toml";
/// What was overridden, in a run directory.
pub const OVERRIDE: &str = "override.json";

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
    let text = toml::Table::try_from(saved)
        .map_err(|e| Error::refused(format!("the saved configuration cannot be read: {e}")))?
        .to_string();
    parse(&text, "the saved configuration", run_dir, sets)
}

fn parse(text: &str, origin: &str, run_dir: &Path, sets: &[String]) -> Result<Config> {
    let mut sets = sets.to_vec();
    sets.push(format!("run_dir={}", toml::Value::String(run_dir.display().to_string())));
    RawConfig::from_toml_str(text, origin, &sets)?.validate()
}
