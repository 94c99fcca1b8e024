//! From lengths in the user's units to a [`Schedule`] in steps.
use super::leg::{Course, Leg, SLACK_STEPS, Stretch, round};
use super::pieces::Pieces;
use super::*;
use crate::{Error, Result};

impl ScheduleConfig {
    /// The schedule of a run of this size. `previous` is the last rate of the run that is continued, where one is.
    /// Refused: a warmup, decay or phase list longer than the run; `warmup_from = "previous"` without one.
    pub fn compile(&self, run: &RunSize, previous: Option<f64>) -> Result<Schedule> {
        run.check()?;
        if let Plan::Style(style, args) = &self.plan {
            return Ok(Schedule { counter: self.counter, ..compat::find(style)?.compile(args, run)? });
        }
        let (pre_hold, warmup) = (self.pre_hold.exact_steps(run), self.warmup.exact_steps(run));
        self.check_rise(pre_hold, pre_hold + warmup, run)?;
        let rest = Stretch { warmup, ..Stretch::behind(pre_hold + warmup, self.lr, self.min_lr, run) };
        let (top, legs, feedback) = match &self.plan {
            Plan::Named(it) => ((it.entry.top)(it, &rest)?, it.down(&rest)?, (it.entry.feedback)(it, &rest)?),
            Plan::Phases(phases) => (self.lr, list(phases, "schedule.phases", &rest)?, None),
            Plan::Style(..) => unreachable!("returned above"),
        };
        let mut course = Course::new(run.steps);
        if pre_hold > 0.0 {
            let rate = self.start("pre_hold_lr", self.pre_hold_lr, previous)?;
            course = course.follow(&[Leg::hold(pre_hold, Some(rate))])?;
        }
        let from = Some(self.start("warmup_from", self.warmup_from, previous)?);
        let rise = Stretch { length: warmup, from, to: top, key: "schedule.warmup_from", ..rest };
        let steps = round(rest.before).min(run.steps) - course.end();
        let course = course.follow(&self.warmup_legs(&rise, steps)?)?;
        let course = course.warmed_up(top, self.min_lr).follow(&legs)?;
        if self.tail == Tail::Error && course.end() < run.steps {
            return Err(Error::refused(format!(
                "the phases end at step {} of {} and schedule.tail is \"error\"; lengthen them, or take \"hold\" or \"min_lr\"",
                course.end(),
                run.steps
            )));
        }
        let last = (self.tail == Tail::MinLr).then_some(self.min_lr);
        Ok(Pieces { feedback, ..course.finish(last) }.schedule(run.steps, self.counter))
    }

    /// Refuses a hold or a warmup, ending at these steps, that is longer than the run.
    fn check_rise(&self, pre_hold_end: f64, warmup_end: f64, run: &RunSize) -> Result<()> {
        for (key, length, end) in
            [("pre_hold", self.pre_hold, pre_hold_end), ("warmup", self.warmup, warmup_end)]
        {
            if end > run.steps as f64 + SLACK_STEPS {
                return Err(Error::refused(format!(
                    "schedule.{key} is {length} (ends at step {}), the run has {} steps; make it shorter than the run",
                    round(end),
                    run.steps
                )));
            }
        }
        Ok(())
    }

    /// A rate that may be the last one of the run before.
    fn start(&self, key: &str, rate: Rate, previous: Option<f64>) -> Result<f64> {
        match (rate, previous) {
            (Rate::Previous, None) => Err(Error::refused(format!(
                "schedule.{key} is \"previous\" but no run is continued; point start.from at a rewarm run or checkpoint, or give a number"
            ))),
            (rate, previous) => Ok(rate.value(previous.unwrap_or(0.0), self.lr)),
        }
    }

    /// The warmup over `rise`, which becomes `steps` whole ones.
    fn warmup_legs(&self, rise: &Stretch, steps: u64) -> Result<Vec<Leg>> {
        // Each of them is one curve, and may well go down.
        let leg = Leg { falls: false, ..self.warmup_shape.legs(rise)?.remove(0) };
        let whole = steps as f64;
        Ok(match self.warmup_convention {
            WarmupConvention::ZeroBased => vec![leg],
            WarmupConvention::OneBased => vec![Leg { of: Some((1.0, whole)), ..leg }],
            WarmupConvention::FloorOne | WarmupConvention::Inclusive if steps < 2 => {
                vec![Leg::hold(rise.length, Some(rise.to))]
            }
            WarmupConvention::FloorOne => {
                let from = rise.from.unwrap_or_default();
                leg.check(from)?;
                let first = leg.curve.rate(1.0, whole, from, rise.to);
                let length = rise.length - 1.0;
                vec![Leg::hold(1.0, Some(first)), Leg { of: Some((1.0, whole)), length, ..leg }]
            }
            WarmupConvention::Inclusive => vec![Leg { of: Some((0.0, whole - 1.0)), ..leg }],
        })
    }
}

/// The phases of the list `key`; the one without a length gets what the others leave of `rest`.
pub(super) fn list(phases: &[PhaseConfig], key: &str, rest: &Stretch) -> Result<Vec<Leg>> {
    let given = phases.iter().filter_map(|phase| phase.length).map(|length| rest.steps(length)).sum();
    let left = rest.leave(given, key)?;
    let mut legs = Vec::new();
    for (i, phase) in phases.iter().enumerate() {
        let length = phase.length.map_or(left, |length| rest.steps(length));
        let from = (phase.from != Rate::Previous).then(|| phase.from.value(0.0, rest.lr));
        let to = phase.to.map_or(0.0, |to| to.value(0.0, rest.lr));
        let key = format!("{key}[{i}].to");
        let mut parts = phase.shape.legs(&Stretch { length, from, to, key: &key, ..*rest })?;
        let [start, end] = phase.part;
        if let ([leg], true) = (&mut parts[..], phase.part != [0.0, 1.0]) {
            let whole = length / (end - start);
            leg.of = Some((start * whole, whole));
        }
        legs.extend(parts);
    }
    Ok(legs)
}
