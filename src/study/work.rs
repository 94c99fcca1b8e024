//! The runs of a study, one after the other: each is taken by a lock of its own, so several processes, on several
//! machines that share the folder, do one study together.
use std::path::Path;
use std::time::Duration;

use super::findings::Findings;
use super::plan::{Planned, StudyPlan};
use super::record::{Measured, RunRecord, Status};
use crate::checkpoint::{Disk, list_steps};
use crate::train::{Allow, Session, lock_run};
use crate::{Error, Result};

/// Where runs share their evaluations before the first step, below the study's directory.
const BASELINES: &str = "baselines";
/// How often it is asked whether a run that another process trains, and others start from, is done.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What is done with a run, for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It begins.
    Begins,
    /// It goes on from its newest checkpoint.
    GoesOn,
    /// Another process has it.
    Elsewhere,
}

/// Who is told of each run that is looked at: its number from 1, of how many, itself, and what is done with it.
pub type Tell<'a> = &'a mut dyn FnMut(usize, usize, &Planned, Doing);

/// Trains what is left of a study and gives what is known then. `retry` tries runs again that failed. A run that fails is a
/// row that says so; what is not about a run, such as a full disk, ends the study, which goes on by the same call.
pub fn work(plan: &StudyPlan, retry: bool, tell: Tell) -> Result<Findings> {
    // Everything that can be refused is, before anything is trained.
    plan.runs().try_for_each(|run| RunRecord::read(run).map(drop))?;
    let all = plan.ancestors.len() + plan.cells.len();
    for (i, run) in plan.runs().enumerate() {
        let is_ancestor = i < plan.ancestors.len();
        let mut told = None;
        let mut tell_once = |what| {
            if told.replace(what) != Some(what) {
                tell(i + 1, all, run, what);
            }
        };
        while !step_of(plan, run, retry, &mut tell_once)? && is_ancestor {
            std::thread::sleep(ASK_EVERY);
        }
    }
    Findings::read(plan)
}

/// Trains a run where that is to be done; whether it is done then, rather than another process at it.
fn step_of(plan: &StudyPlan, run: &Planned, retry: bool, tell: &mut dyn FnMut(Doing)) -> Result<bool> {
    if is_done(run, retry)? {
        return Ok(true);
    }
    let Some(_taken) = RunRecord::take(run)? else {
        tell(Doing::Elsewhere);
        return Ok(false);
    };
    // Whoever had it may have done it meanwhile.
    if is_done(run, retry)? {
        return Ok(true);
    }
    if let Some(ancestor) = run.after.map(|i| &plan.ancestors[i]) {
        let state = RunRecord::read(ancestor)?.map(|record| record.state);
        if let Some(Status::Failed { error }) = state {
            let error = format!("its ancestor {:?} failed: {error}", ancestor.name);
            return RunRecord::write(run, Status::Failed { error }).map(|()| true);
        }
    }
    RunRecord::write(run, Status::Begun)?;
    let dir = &run.config.run_dir;
    let goes_on = dir.is_dir() && !list_steps(&Disk, dir)?.is_empty();
    tell(if goes_on { Doing::GoesOn } else { Doing::Begins });
    let baselines = plan.dir.join(BASELINES);
    let start = || Session::start(run.config.clone()).map(|session| session.with_baselines(baselines));
    let trained = if goes_on { resume(dir) } else { start().and_then(train) };
    let state = match trained {
        Ok(()) => Status::Finished(Measured::of_run(dir)?),
        Err(error @ (Error::Refused(_) | Error::Failed(_))) => Status::Failed { error: error.to_string() },
        Err(other) => return Err(other),
    };
    RunRecord::write(run, state).map(|()| true)
}

/// Whether nothing is to be done with a run any more.
fn is_done(run: &Planned, retry: bool) -> Result<bool> {
    Ok(match RunRecord::read(run)?.map(|record| record.state) {
        Some(Status::Finished(_)) => true,
        Some(Status::Failed { .. }) => !retry,
        Some(Status::Begun) | None => false,
    })
}

fn resume(dir: &Path) -> Result<()> {
    train(Session::resume(lock_run(dir)?, &[], Allow::default())?)
}

fn train(session: Session) -> Result<()> {
    if session.is_finished() { Ok(()) } else { session.run().map(drop) }
}
