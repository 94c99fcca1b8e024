//! `rewarm branch`: a checkpoint's configuration as that of a new phase, which goes on from there.
use super::lineage::is_of_run;
use super::run_config::{saved_table, updated};
use super::source::OpenModel;
use crate::checkpoint::{Disk, Manifest, list_steps, step_name};
use crate::config::{Config, RawConfig};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What of `[schedule]` comes before the peak: a phase that goes on has none of it unless asked.
const RISE: [&str; 6] =
    ["pre_hold", "pre_hold_lr", "warmup", "warmup_from", "warmup_shape", "warmup_convention"];

/// Opens a run, or a step of it by its number, with or without leading zeros.
pub fn open_branch_point(path: &Path) -> Result<OpenModel> {
    let source = OpenModel::open(&step_dir(path)?)?;
    if source.manifest().is_none_or(|manifest| !is_of_run(manifest)) {
        return Err(Error::refused(format!(
            "{} is a model without the configuration and the position in data of a run: a branch needs a run or its step; \
             `rewarm train` with start.from begins a phase from a model",
            path.display()
        )));
    }
    Ok(source)
}

/// `RUN/step-40` as it lies there; everything else as it is.
fn step_dir(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let number = name.strip_prefix("step-").and_then(|number| number.parse().ok());
    let (Some(number), Some(run)) = (number.filter(|_| !path.is_dir()), path.parent()) else {
        return Ok(path.to_path_buf());
    };
    let dir = run.join(step_name(number));
    if dir.is_dir() || !run.is_dir() {
        return Ok(dir);
    }
    let steps: Vec<String> = list_steps(&Disk, run)?.iter().rev().map(|(step, _)| step.to_string()).collect();
    Err(Error::refused(format!(
        "{} has no step {number}; it has {}",
        run.display(),
        if steps.is_empty() { "none".into() } else { steps.join(", ") }
    )))
}

/// The configuration of a run in `run_dir` that goes on from a checkpoint: that of the checkpoint, with weights, moments
/// and position in the data from there and without a warmup; then the keys `unset` are taken out, and `sets` put in.
pub fn branch_config(
    source: &OpenModel,
    run_dir: &Path,
    unset: &[String],
    sets: &[String],
) -> Result<Config> {
    let manifest = source.manifest().ok_or_else(|| Error::refused("a branch begins at a checkpoint"))?;
    let origin = format!("the configuration of {}", source.dir().display());
    let mut table = saved_table(&updated(&manifest.state.run_config)?)?;
    table.remove("model"); // the checkpoint's own
    table.insert("run_dir".into(), text(run_dir));
    let start = [("from", text(source.dir())), ("optimizer", "keep".into()), ("data", "continue".into())];
    let start = start.map(|(key, value)| (key.to_owned(), value));
    table.insert("start".into(), Value::Table(Table::from_iter(start)));
    if let Some(schedule) = table.get_mut("schedule").and_then(Value::as_table_mut) {
        RISE.iter().for_each(|key| drop(schedule.remove(*key)));
    }
    let before = RawConfig::from_table(table.clone(), &origin, &[], &[])?;
    let grows = before.batch.ramp.is_some() || !before.batch.stages.is_empty();
    if grows && has_grown(&before.validate()?, manifest)? {
        let batch = table.get_mut("batch").and_then(Value::as_table_mut);
        batch.into_iter().for_each(|batch| batch.retain(|key, _| ["sequences", "micro"].contains(&key)));
    }
    let raw = RawConfig::from_table(table, &origin, unset, sets)?;
    tell_what_begins_again(&before, &raw);
    raw.validate()
}

fn text(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

/// Whether a batch that grows had its last size where the branch begins.
fn has_grown(config: &Config, manifest: &Manifest) -> Result<bool> {
    let plan = config.batch.plan(config.seq_len(&manifest.model)?);
    Ok(plan.grows() && plan.sequences(manifest.state.step) == plan.full())
}

/// Plans are functions of the steps of a run: those that come along unchanged begin again in the branch.
fn tell_what_begins_again(before: &RawConfig, now: &RawConfig) {
    let mut keys = Vec::new();
    let mut compare = |key: String, is_plan: bool, same: bool| {
        if is_plan && same {
            keys.push(key);
        }
    };
    let (was, is) = (&before.optim, &now.optim);
    for (key, was, is) in [
        ("weight_decay", &was.weight_decay_phases, &is.weight_decay_phases),
        ("beta1", &was.beta1_phases, &is.beta1_phases),
        ("beta2", &was.beta2_phases, &is.beta2_phases),
    ] {
        compare(format!("optim.{key}_phases"), !is.is_empty(), was == is);
    }
    compare("batch.ramp".into(), now.batch.ramp.is_some(), before.batch.ramp == now.batch.ramp);
    compare("batch.stages".into(), !now.batch.stages.is_empty(), before.batch.stages == now.batch.stages);
    for (i, (was, is)) in before.data.mixture.iter().zip(&now.data.mixture).enumerate() {
        let key = |kind| format!("data.mixture[{i}].{kind}_phases");
        compare(key("weight"), !is.weight_phases.is_empty(), was.weight_phases == is.weight_phases);
        compare(key("fraction"), !is.fraction_phases.is_empty(), was.fraction_phases == is.fraction_phases);
    }
    if !keys.is_empty() {
        log::warn!(
            "plans count the steps of their run, and begin again in the branch: {}; --unset or --set them",
            keys.join(", ")
        );
    }
}
