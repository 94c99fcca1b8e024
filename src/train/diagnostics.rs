//! What is measured at evaluations beside losses, where `eval.diagnostics` asks for it: how far the weights are from those that
//! the phase started from, and the kurtosis of the residual stream.
use super::display::Display;
use super::kurtosis::Kurtosis;
use super::moved::{ByGroup, Moved, measure};
use super::session::Session;
use crate::{Error, Result};
use serde::Serialize;

#[derive(Serialize)]
struct Line {
    step: u64,
    diagnostics: Diagnostics,
}

/// What is not there is left out.
#[derive(Serialize)]
struct Diagnostics {
    /// `‖W − W₀‖ / ‖W₀‖`.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<ByGroup>,
    /// Angle between W and W₀, degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    angle: Option<ByGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kurtosis: Option<Kurtosis>,
}

impl Session {
    /// Measures, logs and says it, with the present weights; no step is in flight.
    pub(super) fn diagnose(&mut self, display: &Display) -> Result<()> {
        if self.beginning.is_none() {
            return Ok(());
        }
        let moved = self.moved(display)?;
        let set = self.evaluations.first();
        let kurtosis = set.map(|set| Kurtosis::measure(set, &self.model, &mut *self.ops, &self.workspace));
        let kurtosis = kurtosis.transpose()?;
        let step = self.state.step;
        let weights = moved.as_ref().map(|moved| {
            format!("weights moved by {:.3e}, {:.3e} degrees", moved.update.total, moved.angle.total)
        });
        let stream = kurtosis.as_ref().map(Kurtosis::largest);
        let stream = stream.map(|(most, place)| format!("kurtosis at most {most:.2} ({place})"));
        let parts: Vec<String> = weights.into_iter().chain(stream).collect();
        if !parts.is_empty() {
            display.line(&format!("step {step}  {}", parts.join(", ")));
        }
        let (update, angle) = moved.map(|Moved { update, angle, .. }| (update, angle)).unzip();
        self.metrics.log(&Line { step, diagnostics: Diagnostics { update, angle, kurtosis } })
    }

    /// How far the weights are from those before step 0. None, which is said once, where these are no longer there.
    fn moved(&mut self, display: &Display) -> Result<Option<Moved>> {
        let Some(beginning) = &mut self.beginning else { return Ok(None) };
        let (table, ops) = (&self.model.table, &mut *self.ops);
        let found = match beginning.read(&self.model, |before| measure(before, table, ops)) {
            Ok(measured) => measured?,
            Err(unopened) => Err(unopened),
        };
        let known = &mut self.progress.start_weights;
        let same = found.and_then(|moved| {
            if known.as_ref().is_some_and(|known| *known != moved.before) {
                return Err(Error::refused("its weights are others now"));
            }
            *known = Some(moved.before.clone());
            Ok(moved)
        });
        match same {
            Ok(moved) => Ok(Some(moved)),
            Err(_) if beginning.is_told => Ok(None),
            Err(why) => {
                beginning.is_told = true;
                display.line(&format!(
                    "warning: the weights that this run started from are not in {beginning} any more ({why}): without them \
                     the log does not say how far the weights moved, and the run goes on"
                ));
                Ok(None)
            }
        }
    }
}
