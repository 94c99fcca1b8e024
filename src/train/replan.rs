//! The configuration that a run goes on with: its own, but for what cannot change a result, and, where the user
//! insists, another plan of rates, decays, betas and length, or another precision.
use super::parts::Parts;
use super::run_config::{CONFIG, OVERRIDE, SavedKeys, saved_config, says_previous, updated, wanted_config};
use super::session::Session;
use crate::checkpoint::RunState;
use crate::config::{Config, DifferenceKind, resume_differences};
use crate::files::write_whole;
use crate::model::Precision;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::ErrorKind;
use std::mem::discriminant;
use std::path::Path;

/// A configuration that was accepted in place of that of the checkpoints up to a step.
#[derive(Serialize, Deserialize)]
pub struct Override {
    run_id: String,
    /// The run's step at that time.
    step: u64,
    /// As a manifest has it.
    pub run_config: Value,
    /// The fingerprint of the contents of its sources; that of the checkpoint in files of earlier versions.
    #[serde(default)]
    pub corpus: Option<String>,
}

/// What a resume goes on with.
pub struct Resumed {
    /// The configuration as it now holds.
    pub config: Config,
    /// The one before, where the plan changes.
    pub before: Option<Config>,
    /// Whether `config.toml` is to be written anew, since this version means something else by a word of it.
    pub reworded: bool,
    /// Whether an override names other data than before.
    pub other_data: bool,
    /// The fingerprint of the data that an earlier override named.
    pub corpus: Option<String>,
}

/// [`wanted_config`], refused where it differs from that of the run, whose newest checkpoint has `state`, in more than
/// may change: what is free, and, with `replan`, the plan. `previous` is the last rate of the run before it.
pub fn resumed_config(
    state: &RunState,
    run_dir: &Path,
    sets: &[String],
    replan: bool,
    previous: Option<f64>,
) -> Result<Resumed> {
    let mut config = wanted_config(&state.run_config, run_dir, sets)?;
    config.settle_rates(previous)?;
    let accepted = accepted(run_dir, state)?;
    let saved = &updated(accepted.as_ref().map_or(&state.run_config, |accepted| &accepted.run_config))?;
    config.head.chunk_rows = config.head.chunk_rows.or(SavedKeys::of(saved)?.head.chunk_rows);
    let (mut refused, mut replanned) = (Vec::new(), Vec::new());
    let now = config.to_json();
    let data = |config: &Value| ["/data/train", "/data/mixture"].map(|key| config.pointer(key).cloned());
    let other_data = replan && data(saved) != data(&now);
    let names = |config: &Value| -> Vec<Value> {
        let sources = config.pointer("/data/mixture").and_then(Value::as_array).into_iter().flatten();
        sources.map(|source| source["name"].clone()).collect()
    };
    let same_names = names(saved) == names(&now);
    for d in resume_differences(saved, &now) {
        match d.kind {
            DifferenceKind::Free if d.key == "run_dir" => {} // moved, or named from another place
            DifferenceKind::Free => log::info!("{}: {} was {}", d.key, d.new, d.old),
            DifferenceKind::Plan if same_names && d.key.ends_with("].offset") => refused.push(format!(
                "{} is {} in the run and {} now, and the source has begun",
                d.key, d.old, d.new
            )),
            DifferenceKind::Plan if replan => {
                replanned.push(format!("{} is {}, was {}", d.key, d.new, d.old))
            }
            kind => {
                let remedy = if kind == DifferenceKind::Plan { " (--override would take it)" } else { "" };
                refused.push(format!("{} is {} in the run and {} now{remedy}", d.key, d.old, d.new));
            }
        }
    }
    if !refused.is_empty() {
        return Err(Error::refused(format!(
            "{}; `rewarm resume` continues the same run only: drop the override or the change of {CONFIG}, or start a \
             new phase with `rewarm train` and start.from",
            refused.join("; ")
        )));
    }
    replanned.iter().for_each(|line| log::info!("override: {line}"));
    let replanned = other_data || !replanned.is_empty();
    let before = replanned.then(|| saved_config(saved, run_dir, &[])).transpose()?;
    let corpus = accepted.and_then(|accepted| accepted.corpus);
    Ok(Resumed { config, before, reworded: says_previous(&state.run_config), other_data, corpus })
}

/// What was accepted by an override since the checkpoint was saved.
pub fn accepted(run_dir: &Path, state: &RunState) -> Result<Option<Override>> {
    let path = run_dir.join(OVERRIDE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::input("read", &path)(e)),
    };
    let found: Override = serde_json::from_slice(&text)
        .map_err(|e| Error::refused(format!("{}: {e}; delete it and repeat the override", path.display())))?;
    if found.run_id != state.run_id || found.step < state.step {
        return Ok(None); // of an earlier run here, or carried by the checkpoint
    }
    if found.step > state.step {
        log::warn!(
            "the plan was overridden at step {}; steps {1} to {0} are done again, under the new plan",
            found.step,
            state.step
        );
    }
    Ok(Some(found))
}

/// Keeps an override for resumes before the next checkpoint, which carries it.
pub fn accept(run_dir: &Path, state: &RunState) -> Result<()> {
    let RunState { run_id, step, run_config, fingerprints, .. } = state.clone();
    let corpus = Some(fingerprints.corpus);
    let text = serde_json::to_vec_pretty(&Override { run_id, step, run_config, corpus })
        .map_err(|e| Error::failed(format!("override: {e}")))?;
    write_whole(&run_dir.join(OVERRIDE), &text)
}

/// Refuses a plan that the run cannot go on with.
pub fn check(before: &Config, parts: &Parts, step: u64, previous: Option<f64>) -> Result<()> {
    let steps = parts.quantities.steps;
    if steps < step {
        return Err(Error::refused(format!(
            "the run would have {steps} steps and has taken {step}; give at least as many (train.steps, train.tokens)"
        )));
    }
    let rules =
        [before.compile_schedule(parts.sources.seq_len(), previous)?.feedback, parts.schedule.feedback];
    if let [Some(was), Some(is)] = rules
        && discriminant(&was) != discriminant(&is)
    {
        return Err(Error::refused(
            "schedule.name would go on with what another rule remembers of the losses; start a new phase with \
             `rewarm train` and start.from",
        ));
    }
    Ok(())
}

impl Session {
    /// Says what the plan of `before` would have set the next step to, and what it is set to now.
    pub(super) fn announce(&self, before: &Config, previous: Option<f64>) -> Result<()> {
        let (step, seq_len) = (self.state.step, self.mixture.sources().seq_len());
        let old = (before.compile_schedule(seq_len, previous)?, before.quantities(seq_len)?);
        let was = self.settings_of(&old.0, &old.1, step);
        let is = self.settings_of(&self.plan.schedule, &self.plan.quantities, step);
        log::info!("override: the rate of step {step} was {:e}, is {:e}", was.lr, is.lr);
        for (what, was, is) in [
            ("weight decay", was.weight_decay, is.weight_decay),
            ("beta1", was.betas[0], is.betas[0]),
            ("beta2", was.betas[1], is.betas[1]),
        ] {
            if was != is {
                log::info!("override: {what} of step {step} was {was}, is {is}");
            }
        }
        if before.precision != self.config.precision {
            let now = match self.config.precision {
                Precision::F32 => "everything is computed in f32",
                _ => "activations are bf16, and products read a bf16 copy of the weights",
            };
            log::info!(
                "override: from step {step} on {now}; weights and moments stay f32, with the values that they have"
            );
        }
        let ends = [old.1.steps, self.plan.quantities.steps];
        if ends[0] != ends[1] {
            log::info!(
                "override: the run had {} steps, has {}; lengths in percent and what fills the run are of these",
                ends[0],
                ends[1]
            );
        }
        Ok(())
    }
}
