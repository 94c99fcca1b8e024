//! The configuration of a run as its directory and its checkpoints keep it.
use crate::backend::{check_precision, default_precision};
use crate::config::{Config, RawConfig, parse_toml};
use crate::device::{self, DeviceName};
use crate::model::Precision;
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;
use toml::Table;

/// The resolved configuration in a run directory.
pub const CONFIG: &str = "config.toml";
/// What was overridden, in a run directory.
pub const OVERRIDE: &str = "override.json";

/// The keys of a checkpoint's configuration that are read by themselves, whatever version wrote the others. A
/// checkpoint from before a key has its default.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedKeys {
    device: DeviceName,
    pub data: SavedData,
    pub head: SavedHead,
    train: SavedTrain,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedData {
    pub mixture: Vec<Value>,
    pub seq_len: Option<usize>,
    pub window: Option<usize>,
    pub seed: Option<u64>,
    pub split_seed: Option<u64>,
    pub validation_fraction: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct SavedHead {
    pub chunk_rows: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SavedTrain {
    precision: Option<Precision>,
}

impl SavedKeys {
    /// Of a configuration as a manifest has it; a checkpoint that no run wrote has none.
    pub fn of(saved: &Value) -> Result<Self> {
        Option::deserialize(saved).map(Option::unwrap_or_default).map_err(unreadable)
    }

    /// What the run computed in. Checkpoints state it, except those of versions that wrote down nothing but "bf16": what
    /// they called "mixed" was f32 on a processor, and the device that they name says which of the two it was.
    pub fn precision(&self) -> Precision {
        self.train.precision.unwrap_or(match self.device {
            DeviceName::Cpu => Precision::F32,
            _ => Precision::Mixed,
        })
    }
}

/// The configuration of a checkpoint as this version writes it: with its precision, and without the rate that the first of
/// its phases begins at where that is the one before it, the peak.
pub fn updated(saved: &Value) -> Result<Value> {
    let precision = SavedKeys::of(saved)?.precision();
    let mut updated = saved.clone();
    if let Some(train) = updated.get_mut("train").and_then(Value::as_object_mut) {
        train.insert("precision".into(), precision.to_string().into());
    }
    if says_previous(saved)
        && let Some(first) = updated.pointer_mut("/schedule/phases/0").and_then(Value::as_object_mut)
    {
        first.shift_remove("from");
    }
    Ok(updated)
}

/// Whether a version wrote a configuration that called the rate before the first phase, the peak, "previous". Today that is
/// the last rate of another run, and a number in what is written down.
pub fn says_previous(saved: &Value) -> bool {
    saved.pointer("/schedule/phases/0/from").is_some_and(|from| from == "previous")
}

/// A configuration of a checkpoint as a file would have it.
pub fn saved_table(saved: &Value) -> Result<Table> {
    Table::try_from(saved).map_err(unreadable)
}

fn unreadable(error: impl Display) -> Error {
    Error::refused(format!("the saved configuration cannot be read: {error}"))
}

/// The configuration of a run: `config.toml` in its directory, which people edit. Where that file is missing, the
/// checkpoint's own.
pub fn run_config(saved: &Value, run_dir: &Path) -> Result<Config> {
    parse_run(saved, run_dir, &[])?.validate()
}

/// The configuration that a run shall go on with: its own, with overrides, in the precision that it had where they name no
/// other.
pub fn wanted_config(saved: &Value, run_dir: &Path, sets: &[String]) -> Result<Config> {
    let mut raw = parse_run(saved, run_dir, sets)?;
    let kept = SavedKeys::of(saved)?.precision();
    if *raw.train.precision.get_or_insert(kept) == kept {
        check_kept(kept, device::resolve(raw.device))?;
    }
    raw.validate()
}

/// Refuses a device that does not compute in the run's precision, which the run keeps until an override says otherwise.
fn check_kept(kept: Precision, device: DeviceName) -> Result<()> {
    if check_precision(device, kept).is_ok() {
        return Ok(());
    }
    let there = default_precision(device);
    Err(Error::refused(format!(
        "train.precision is \"{kept}\" in the run and the device is {device}, which does not compute in it; a run keeps its \
         precision: resume it with --device and a device that does, or go on in {there} with --override --set \
         train.precision={there}"
    )))
}

/// A configuration of a checkpoint.
pub fn saved_config(saved: &Value, run_dir: &Path, sets: &[String]) -> Result<Config> {
    parse_saved(saved, run_dir, sets)?.validate()
}

fn parse_run(saved: &Value, run_dir: &Path, sets: &[String]) -> Result<RawConfig> {
    let path = run_dir.join(CONFIG);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return parse_saved(saved, run_dir, sets),
        Err(e) => return Err(Error::input("read", &path)(e)),
    };
    let origin = path.display().to_string();
    let mut table = parse_toml(&text, &origin)?;
    if says_previous(saved) {
        forget_previous(&mut table);
    }
    in_dir(table, &origin, run_dir, sets)
}

fn parse_saved(saved: &Value, run_dir: &Path, sets: &[String]) -> Result<RawConfig> {
    let mut table = saved_table(saved)?;
    forget_previous(&mut table);
    in_dir(table, "the saved configuration", run_dir, sets)
}

/// [`updated`], of a file of the version that [`says_previous`] is about.
fn forget_previous(table: &mut Table) {
    let phases = table.get_mut("schedule").and_then(|schedule| schedule.get_mut("phases"));
    let first = phases.and_then(|phases| phases.get_mut(0)).and_then(toml::Value::as_table_mut);
    for first in
        first.into_iter().filter(|first| first.get("from").and_then(toml::Value::as_str) == Some("previous"))
    {
        first.remove("from");
    }
}

fn in_dir(table: Table, origin: &str, run_dir: &Path, sets: &[String]) -> Result<RawConfig> {
    let mut sets = sets.to_vec();
    sets.push(format!("run_dir={}", toml::Value::String(run_dir.display().to_string())));
    RawConfig::from_table(table, origin, &[], &sets)
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
        assert_eq!((keys.precision(), keys.head.chunk_rows), (Precision::Bf16, Some(8)));
        // Where none is stated, the device says what the default meant.
        let of = |device: &str| json!({ "device": device, "train": { "steps": 5 } });
        for (earlier, precision) in [
            (Value::Null, Precision::F32),
            (json!({}), Precision::F32),
            (of("cpu"), Precision::F32),
            (of("cuda:1"), Precision::Mixed),
            (of("emulated"), Precision::Mixed),
        ] {
            assert_eq!(SavedKeys::of(&earlier).unwrap().precision(), precision, "{earlier}");
        }
        for device in ["cpu", "emulated"] {
            let stated = updated(&of(device)).unwrap();
            assert_eq!(updated(&stated).unwrap(), stated);
            assert_eq!(stated["train"]["steps"], 5);
            assert_eq!(stated["train"]["precision"], if device == "cpu" { "f32" } else { "mixed" });
        }
        let first =
            |from: &str| json!({ "schedule": { "phases": [{ "from": from }, { "from": "previous" }] } });
        assert_eq!(updated(&first("1%")).unwrap(), first("1%"));
        let phases = &updated(&first("previous")).unwrap()["schedule"]["phases"];
        assert_eq!(*phases, json!([{}, { "from": "previous" }]));
        // It is stated, whatever the device.
        let stated = json!({ "device": "cpu", "train": { "precision": "mixed" } });
        assert_eq!(SavedKeys::of(&stated).unwrap().precision(), Precision::Mixed);
        let error = SavedKeys::of(&json!({ "train": { "precision": "fp4" } })).err().unwrap().to_string();
        assert!(error.contains("saved configuration") && error.contains("fp4"), "{error}");
    }
}
