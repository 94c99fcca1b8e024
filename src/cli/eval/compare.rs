//! Several models, or the steps of a run, under the same conditions.
use crate::checkpoint::{Disk, list_steps};
use crate::cli::eval::score::{Conditions, Sets, config_at, load, score};
use crate::cli::eval::table::Table;
use crate::config::Config;
use crate::train::OpenModel;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// How and on what models are compared; the configuration that was asked for.
type On<'a> = (&'a Conditions, &'a Sets<'a>, Option<Config>);

/// Each model against the first, on sets, sequences and treatment of documents that are the same for all.
pub fn compare((on, sets, config): On, models: &[PathBuf], json: bool) -> Result<()> {
    // A name that is mistyped is refused before anything is computed.
    models.iter().filter(|model| !model.is_dir()).try_for_each(|model| OpenModel::open(model).map(drop))?;
    let config = match config {
        Some(config) => Some(config),
        None => first_config(models)?,
    };
    let names: Vec<String> = models.iter().map(|model| model.display().to_string()).collect();
    let mut table = Table::new(&names, json);
    for (model, name) in models.iter().zip(&names) {
        let loaded = OpenModel::read(model, |source| load(on, source, config.as_ref()))?;
        let step = loaded.step;
        let mut results = Vec::new();
        score((on, sets), model, loaded, &mut |result| {
            results.push(result);
            Ok(())
        })?;
        table.row(name, step, &results)?;
    }
    Ok(())
}

/// As [`compare`], of the steps of a run. One that is damaged or deleted meanwhile is left out, which is said.
pub fn compare_steps((on, sets, config): On, run: &Path, json: bool) -> Result<()> {
    let mut steps = if run.is_dir() { list_steps(&Disk, run)? } else { Vec::new() };
    if steps.is_empty() {
        return Err(Error::refused(format!(
            "{} holds no step-* directory; --every-checkpoint takes the directory of a run, without it any model is taken",
            run.display()
        )));
    }
    steps.reverse();
    let config = config.map_or_else(|| config_at(run), Ok)?;
    let name = |step: &Path| step.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = steps.iter().map(|(_, step)| name(step)).collect();
    let (mut table, mut rows) = (Table::new(&names, json), 0);
    for ((_, step), name) in steps.iter().zip(&names) {
        let loaded = match OpenModel::open(step) {
            Ok(source) => load(on, &source, Some(&config)),
            Err(why) => {
                log::warn!("{name} is left out: {why}");
                continue;
            }
        };
        let loaded = match loaded {
            Err(_) if !step.is_dir() => {
                log::warn!("{name} is left out: the run has deleted it meanwhile");
                continue;
            }
            loaded => loaded?,
        };
        let (of, mut results) = (loaded.step, Vec::new());
        score((on, sets), step, loaded, &mut |result| {
            results.push(result);
            Ok(())
        })?;
        table.row(name, of, &results)?;
        rows += 1;
    }
    if rows == 0 {
        return Err(Error::refused(format!(
            "no step of {} can be read; the warnings say why",
            run.display()
        )));
    }
    Ok(())
}

/// The configuration of the first model that is a checkpoint of a run.
fn first_config(models: &[PathBuf]) -> Result<Option<Config>> {
    for model in models {
        if let Some(config) = OpenModel::read(model, OpenModel::run_config)? {
            return Ok(Some(config));
        }
    }
    Ok(None)
}
