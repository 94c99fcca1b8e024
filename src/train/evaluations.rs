//! The evaluations of a run: all sets after a step, in the log and on the screen.
use super::display::Display;
use super::evaluate::{EvalResult, Evaluation};
use super::forgetting::{Gaps, observe};
use super::session::Session;
use crate::Result;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct EvalLine<'a> {
    step: u64,
    #[serde(flatten)]
    result: &'a EvalResult,
}

impl Session {
    /// Evaluates every set with the present weights; no step is in flight.
    pub(super) fn evaluate(&mut self, display: &Display) -> Result<Vec<EvalResult>> {
        let started = Instant::now();
        self.progress.owes_evaluation = true;
        let (step, mut results) = (self.state.step, Vec::new());
        self.log_sources()?;
        self.diagnose(display)?; // before the sets, whose lines say that an evaluation is complete
        for number in 0..self.evaluations.len() {
            let mut result = self.result_of(number)?;
            let evaluation = &self.evaluations[number];
            let set = (&evaluation.name[..], &evaluation.identity()[..], evaluation.role);
            result.since = observe(&mut self.progress.gaps, set, step, result.loss);
            self.metrics.log(&EvalLine { step, result: &result })?;
            let bytes = result.bits_per_byte.map_or(String::new(), |b| format!("  {b:.4} bits/byte"));
            let since = result.since.map_or(String::new(), |since| format!("  {since}"));
            display.line(&format!(
                "step {step}  {}: loss {:.4}  perplexity {:.2}{bytes}{since}",
                result.eval, result.loss, result.perplexity
            ));
            results.push(result);
        }
        self.progress.owes_evaluation = false;
        self.clock.left.evaluation = started.elapsed();
        Ok(results)
    }
}

/// Says which sets have a role, and nothing that it could be compared with, where a run goes on after `step`.
pub fn tell_unknown(sets: &[Evaluation], gaps: &Gaps, step: u64) {
    let unknown = |set: &&Evaluation| gaps.get(&set.name).is_none_or(|gap| gap.of != set.identity());
    for set in sets.iter().filter(|set| step > 0 && set.role.is_some()).filter(unknown) {
        log::warn!(
            "the validation set {:?} has a role, and this run has no finite loss of the same sequences of it from before its \
             first step: the log will not say what was forgotten or learned of it; a new phase would (`rewarm branch`)",
            set.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::forgetting::Since;

    /// A line has what it had before there were roles, and the figures of a role behind it.
    #[test]
    fn a_line_of_a_set_with_a_role_has_more() {
        let mut result = EvalResult {
            eval: "old".into(),
            loss: 2.0,
            standard_error: None,
            by_end: None,
            perplexity: 7.5,
            bits_per_byte: None,
            tokens: 4,
            since: None,
        };
        let line = |result: &EvalResult| serde_json::to_string(&EvalLine { step: 3, result }).unwrap();
        let plain = r#"{"step":3,"eval":"old","loss":2.0,"standard_error":null,"perplexity":7.5,"bits_per_byte":null,"tokens":4"#;
        assert_eq!(line(&result), format!("{plain}}}"));
        result.since = Some(Since::Learned { learned: 0.5 });
        assert_eq!(line(&result), format!("{plain},\"learned\":0.5}}"));
    }
}
