//! `[eval]` and `[[data.validation]]`: on what a run is evaluated, and after which steps.
use super::Config;
use super::refuse::refuse;
use crate::Result;
use crate::schedule::Length;
use serde::{Deserialize, Serialize};
use strum::{Display, VariantNames};

/// What a phase is to do with what a validation set stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// The model knows it before the phase, and is not to forget it.
    Retain,
    /// The model is to learn it.
    Learn,
}

/// A named set of corpora to evaluate on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSet {
    /// Name in metrics and reports.
    pub name: String,
    /// Its corpora, as [`crate::data::Corpus::open`] takes them.
    pub paths: Vec<String>,
    /// What its loss is compared for; left out where it is not, as in runs from before the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// `[eval]`, with defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Steps between evaluations; 0: only before the first and after the last step.
    pub every: u64,
    /// Sequences of each validation set; 0: all.
    pub sequences: usize,
    /// Those at the beginning that come besides; left out where there are none, as in runs from before the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense: Option<Dense>,
    /// Whether more than losses is measured; left out where it is not, as in runs from before the key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub diagnostics: bool,
}

impl Default for Eval {
    fn default() -> Self {
        Self { every: 100, sequences: 64, dense: None, diagnostics: false }
    }
}

/// `[eval.dense]`: evaluations at the beginning of a run, where losses change most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dense {
    /// How far they go, above 0; never `None` in a validated configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Length>,
    /// Steps between them, above 0.
    pub every: u64,
}

impl Default for Dense {
    fn default() -> Self {
        Self { until: None, every: 1 }
    }
}

impl Eval {
    /// Refuses dense evaluations without an end.
    pub(super) fn validated(self) -> Result<Self> {
        match self.dense {
            Some(Dense { until: None, every }) => refuse(format!(
                "eval.dense.until is missing; say how far evaluations are dense, as in \
                 eval.dense = {{until = \"1%\", every = {every}}}"
            )),
            _ => Ok(self),
        }
    }

    /// Whether a length depends on the tokens of a step.
    pub(super) fn has_token_lengths(&self) -> bool {
        matches!(self.dense, Some(Dense { until: Some(Length::Tokens(_)), .. }))
    }
}

/// The steps after which a run is evaluated, besides before its first one: a function of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalSteps {
    /// Multiples of this, unless it is 0.
    every: u64,
    /// Multiples of the second up to the first, unless it is 0.
    dense: [u64; 2],
    /// The last step.
    steps: u64,
}

impl Config {
    /// When a run with sequences of `seq_len` tokens is evaluated. Refused where none of its evaluations would be a dense
    /// one and there are to be such.
    pub fn eval_steps(&self, seq_len: usize) -> Result<EvalSteps> {
        /// Lengths in percent are quotients: so much of a step is none.
        const SLACK: f64 = 1e-9;
        let (steps, every) = (self.total_steps(seq_len), self.eval.every);
        let Some(Dense { until: Some(length), every: step }) = self.eval.dense else {
            return Ok(EvalSteps { every, dense: [0; 2], steps });
        };
        let batch = self.batch.plan(seq_len);
        // The first step with which so much is done.
        let until = match length {
            Length::Steps(n) => n,
            Length::Percent(percent) => (percent * steps as f64 / 100.0 - SLACK).ceil() as u64, // not negative
            Length::Samples(n) => batch.steps_for(n),
            Length::Tokens(n) => batch.steps_for(n.div_ceil(seq_len as u64)),
        };
        if step > until {
            return refuse(format!(
                "eval.dense.every is {step} and eval.dense.until {length}, which is step {until}: no evaluation would be \
                 dense; give every at most {until}, or a larger until"
            ));
        }
        Ok(EvalSteps { every, dense: [until, step], steps })
    }
}

impl EvalSteps {
    /// Whether the state after so many steps, at least 1, is evaluated.
    pub fn has(&self, step: u64) -> bool {
        let [until, dense] = self.dense;
        let is_multiple = |every: u64| every > 0 && step.is_multiple_of(every);
        step == self.steps || is_multiple(self.every) || (step <= until && is_multiple(dense))
    }

    /// How many of the states after 1 to `step` steps are; no step is after the last.
    pub fn count(&self, step: u64) -> u64 {
        let [until, dense] = self.dense;
        let near = step.min(until);
        let multiples = |every: u64, up_to: u64| up_to.checked_div(every).unwrap_or(0);
        let both = lcm(self.every, dense).map_or(0, |both| multiples(both, near));
        let cadence = multiples(self.every, step) + multiples(dense, near) - both;
        let last_alone = step == self.steps && step > 0 && !Self { steps: 0, ..*self }.has(step);
        cadence + u64::from(last_alone)
    }

    /// The last step up to which evaluations are dense; none where none are.
    pub fn dense_until(&self) -> Option<u64> {
        (self.dense[1] > 0).then_some(self.dense[0].min(self.steps))
    }
}

/// The least common multiple; none of 0, and none that is no u64.
fn lcm(a: u64, b: u64) -> Option<u64> {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    if a == 0 || b == 0 { None } else { (a / x).checked_mul(b) }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{SMALL, assert_refused, load};

    /// The evaluations of [`SMALL`], 1000 steps of 8 sequences of 512 tokens, with these settings; counted one by one.
    fn found(sets: &[&str]) -> Vec<u64> {
        let evaluated = load(SMALL, sets).unwrap().eval_steps(512).unwrap();
        let steps = load(SMALL, sets).unwrap().total_steps(512);
        let found: Vec<u64> = (1..=steps).filter(|&step| evaluated.has(step)).collect();
        for step in 0..=steps {
            let counted = found.iter().filter(|at| **at <= step).count() as u64;
            assert_eq!(evaluated.count(step), counted, "{sets:?} up to {step}");
        }
        found
    }

    #[test]
    fn dense_evaluations_come_besides_the_others() {
        let hundreds = || (1..=10).map(|n| 100 * n);
        let with = |dense: std::ops::RangeInclusive<u64>| dense.chain(hundreds()).collect::<Vec<u64>>();
        assert_eq!(found(&[]), hundreds().collect::<Vec<u64>>());
        assert_eq!(found(&["eval.every=0"]), [1000]);
        assert_eq!(found(&["eval.every=300", "train.steps=700"]), [300, 600, 700]);
        for until in ["\"1%\"", "10", "\"10 steps\"", "\"80 samples\"", "\"40960 tokens\"", "\"37K tokens\""]
        {
            assert_eq!(found(&[&format!("eval.dense={{until={until}}}")]), with(1..=10), "{until}");
        }
        let dense = |text: &str| format!("eval.dense={{{text}}}");
        let some = |every: &str, text: &str| found(&[every, &dense(text), "train.steps=30"]);
        assert_eq!(some("eval.every=10", "until=9, every=4"), [4, 8, 10, 20, 30]);
        assert_eq!(some("eval.every=10", "until=16, every=4"), [4, 8, 10, 12, 16, 20, 30]);
        assert_eq!(some("eval.every=6", "until=24, every=4"), [4, 6, 8, 12, 16, 18, 20, 24, 30]);
        assert_eq!(some("eval.every=0", "until=5, every=2"), [2, 4, 30]);
        assert_eq!(some("eval.every=0", "until=500, every=10"), [10, 20, 30]);
        // A share of a step is a step, and a whole number of them is no more.
        assert_eq!(found(&["eval.every=0", &dense("until=\"1%\""), "train.steps=55"]), [1, 55]);
        assert_eq!(found(&["eval.every=0", &dense("until=\"7%\""), "train.steps=100"]).len(), 8);
        // Steps that grow: 4, 4, 4, 4, ... sequences of 512 tokens.
        let grows = ["batch.ramp={start=4, increment=4, samples=40}", "batch.micro=4", "eval.every=0"];
        let grown = found(&[&grows[..], &[&dense("until=\"4K tokens\"")]].concat());
        assert_eq!(grown, [1, 2, 1000]);
        let most = u64::MAX / 3;
        let far = super::EvalSteps { every: most, dense: [most, most - 1], steps: u64::MAX };
        assert_eq!(
            far.count(u64::MAX),
            4,
            "a common multiple that is no u64, and the last step is one of the others"
        );
    }

    #[test]
    fn dense_evaluations_that_cannot_be_are_refused() {
        for (value, key, remedy) in [
            ("5", "eval.dense is 5", "[eval.dense]"),
            ("{every=1}", "eval.dense.until is missing", "until = \"1%\""),
            ("{until=0}", "eval.dense.until is 0", "above 0"),
            ("{until=\"0%\"}", "eval.dense.until is \"0%\"", "above 0"),
            ("{until=\"101%\"}", "\"101%\"", "between 0% and 100%"),
            ("{until=\"soon\"}", "eval.dense.until", "not a length"),
            ("{until=\"30m\"}", "eval.dense.until", "not a length"),
            ("{until=5, every=0}", "eval.dense.every is 0", "at least 1"),
            ("{until=5, every=-1}", "eval.dense.every is -1", "at least 1"),
            ("{until=5, every=\"1%\"}", "eval.dense.every is \"1%\"", "whole number"),
            ("{until=5, every=6}", "eval.dense.every is 6", "which is step 5"),
            ("{until=\"1%\", every=11}", "eval.dense.until 1%, which is step 10", "at most 10"),
            ("{until=5, frobnicate=6}", "eval.dense.frobnicate", "[eval.dense] has until, every"),
        ] {
            assert_refused(SMALL, &[&format!("eval.dense={value}")], key, remedy);
        }
    }
}
