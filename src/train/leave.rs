//! How a run ends before its last step: it was asked to stop, or what it needs turned out to be wrong.
use super::claim::STOP;
use super::display::Display;
use super::session::Session;
use crate::stop::{self, shell_word};
use crate::{Error, Result};

impl Session {
    /// What becomes of an end. A request to stop and a refusal keep the last step that was finished: no step is in flight.
    pub(super) fn leave(&mut self, end: Error, display: &Display) -> Error {
        match end {
            Error::Stopped { .. } => self.stopped(display),
            Error::Refused(why) => self.cannot_go_on(&why, display),
            other => other,
        }
    }

    fn stopped(&mut self, display: &Display) -> Error {
        let (by, step) = (stop::reason(), self.state.step);
        if step == 0 {
            return Error::Stopped {
                code: 3,
                message: format!(
                    "stopped by {by} before the first step was finished: there is nothing to save, and the same `rewarm \
                     train` begins again"
                ),
            };
        }
        match self.save_if_new(display) {
            Ok(()) => Error::Stopped {
                code: 3,
                message: format!(
                    "stopped by {by} after step {step}, which is saved; continue with `rewarm resume {}`",
                    shell_word(&self.config.run_dir)
                ),
            },
            Err(e) => {
                Error::failed(format!("stopped by {by} after step {step}, which could not be saved: {e}"))
            }
        }
    }

    /// The directory holds a run by now: something was changed, so it is no refusal.
    fn cannot_go_on(&mut self, why: &str, display: &Display) -> Error {
        let (step, run) = (self.state.step, shell_word(&self.config.run_dir));
        if step == 0 {
            return Error::failed(format!(
                "{why}; the run ends before its first step with nothing to save: put it right, and `rewarm train` begins \
                 in {run} again"
            ));
        }
        let (saved, from) = match (self.save_if_new(display), self.saved) {
            (Ok(()), _) => (format!("step {step} is saved"), true),
            (Err(e), Some(saved)) => (format!("step {step} could not be saved ({e}), step {saved} is"), true),
            (Err(e), None) => (format!("step {step} could not be saved ({e})"), false),
        };
        let how = if from { format!("`rewarm resume {run}`") } else { "`rewarm train`".to_owned() };
        Error::failed(format!(
            "{why}; the run ends after step {step}, {saved}: put it right, then {how} goes on"
        ))
    }

    fn save_if_new(&mut self, display: &Display) -> Result<()> {
        if self.saved == Some(self.state.step) { Ok(()) } else { self.save(display).map(drop) }
    }

    /// The file that asked to stop was heard, or came too late: the next resume is not to find it.
    pub(super) fn remove_stop_file(&self) {
        let path = self.config.run_dir.join(STOP);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                log::warn!("cannot delete {}: {e}; delete it, or the run is not resumed", path.display())
            }
            _ => {}
        }
    }
}
