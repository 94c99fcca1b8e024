//! A resume that goes back to an earlier checkpoint of its run on purpose.
use super::metrics::later_lines;
use super::source::OpenModel;
use crate::checkpoint::{Disk, LOG, Rewound, list_steps, rewind, step_name};
use crate::stop::shell_word;
use crate::{Error, Result};
use std::path::Path;

/// The checkpoint of a step, verified. Refused where the run has none of it.
pub fn step_to_go_back_to(run_dir: &Path, step: u64) -> Result<OpenModel> {
    let steps = list_steps(&Disk, run_dir)?;
    if let Some((_, dir)) = steps.iter().find(|(there, _)| *there == step) {
        return OpenModel::open(dir);
    }
    let there: Vec<String> = steps.iter().rev().map(|(step, _)| step.to_string()).collect();
    Err(Error::refused(format!(
        "{} has no checkpoint of step {step} to go back to; it has {}",
        run_dir.display(),
        there.join(", ")
    )))
}

/// Takes what came after the step out of the run, and says what that is.
pub fn go_back(run_dir: &Path, step: u64) -> Result<()> {
    let later = later_lines(&run_dir.join(LOG), step)?;
    let Rewound { prefix, steps, log } = rewind(&Disk, run_dir, step, &later)?;
    if steps.is_empty() && log.is_none() {
        log::info!("rewind: {} is the newest of the run already", step_name(step));
        return Ok(());
    }
    steps.iter().for_each(|name| log::info!("rewind: {name} is now {prefix}{name}"));
    if let Some(log) = &log {
        log::info!("rewind: {} lines of the log are now in {}", later.lines().count(), log.display());
    }
    log::info!(
        "rewind: the run goes on from step {step}; what is no longer part of it can be deleted: rm -r {}/{prefix}*",
        shell_word(run_dir)
    );
    Ok(())
}
