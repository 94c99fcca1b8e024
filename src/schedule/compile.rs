//! From lengths in the user's units to a [`Schedule`] in steps.
use super::draft::{Builder, Draft, round};
use super::*;
use crate::{Error, Result};
use std::f64::consts::LN_2;

/// Lengths of a phase list may exceed the run by this much: percentages add up inexactly.
const SLACK_STEPS: f64 = 1e-6;

/// What a shape needs to know about the run it is part of.
pub(super) struct Context<'a> {
    pub run: &'a RunSize,
    pub lr: f64,
    pub min_lr: f64,
    /// Steps before the peak, not rounded: the hold and the warmup.
    pub before: f64,
    /// Steps of the warmup alone.
    pub warmup: f64,
}

impl Context<'_> {
    pub fn steps(&self, length: Length) -> f64 {
        length.exact_steps(self.run)
    }

    /// Steps of the run.
    pub fn total(&self) -> f64 {
        self.run.steps as f64
    }

    /// Steps behind the warmup.
    pub fn rest(&self) -> f64 {
        (self.total() - self.before).max(0.0)
    }

    /// Where a decay by `shape` leads: `min_lr`, or, as the floor cuts it off, 0.
    pub fn end_of(&self, shape: &Shape) -> f64 {
        if shape.approaches() { 0.0 } else { self.min_lr }
    }

    /// What `tail` steps at the end leave of the steps behind the warmup; refused if they are more.
    pub fn leave(&self, tail: f64, key: &str) -> Result<f64> {
        let left = self.total() - self.before - tail;
        if left < -SLACK_STEPS {
            return Err(Error::refused(format!(
                "{key} takes {} steps after a warmup of {}, the run has {}; shorten them or lengthen the run (train.steps)",
                round(tail),
                round(self.before),
                self.run.steps
            )));
        }
        Ok(left.max(0.0))
    }
}

impl ScheduleConfig {
    /// The schedule of a run of this size. `previous` is the last rate of the run that is continued, where one is.
    /// Refused: a warmup, decay or phase list longer than the run; `warmup_from = "previous"` without one.
    pub fn compile(&self, run: &RunSize, previous: Option<f64>) -> Result<Schedule> {
        if run.steps == 0 || run.tokens_per_step == 0 || run.samples_per_step == 0 {
            return Err(Error::refused(format!(
                "the run has {} steps of {} tokens in {} sequences; a schedule needs at least one of each",
                run.steps, run.tokens_per_step, run.samples_per_step
            )));
        }
        if let Plan::Style(style, args) = &self.plan {
            return Ok(Schedule { counter: self.counter, ..compat::find(style)?.compile(args, run)? });
        }
        let (pre_hold, warmup) = (self.pre_hold.exact_steps(run), self.warmup.exact_steps(run));
        for (key, length, end) in
            [("pre_hold", self.pre_hold, pre_hold), ("warmup", self.warmup, pre_hold + warmup)]
        {
            if end > run.steps as f64 + SLACK_STEPS {
                return Err(Error::refused(format!(
                    "schedule.{key} is {length} (ends at step {}), the run has {} steps; make it shorter than the run",
                    round(end),
                    run.steps
                )));
            }
        }
        let ctx = Context { run, lr: self.lr, min_lr: self.min_lr, before: pre_hold + warmup, warmup };
        let drafts = self.plan_drafts(&ctx)?;
        let mut builder = Builder::new(run.steps);
        if pre_hold > 0.0 {
            let rate = self.start("pre_hold_lr", self.pre_hold_lr, previous)?;
            builder.push(&Draft::hold(pre_hold, Some(rate)))?;
        }
        let top = self.plan.warmup_end(&ctx);
        let steps = round(ctx.before).min(run.steps) - builder.end();
        let bottom = self.start("warmup_from", self.warmup_from, previous)?;
        for draft in self.warmup_drafts(warmup, steps, bottom, top, &ctx) {
            builder.push(&draft)?;
        }
        let warmup_steps = builder.end();
        builder.continue_from(top, self.min_lr);
        drafts.iter().try_for_each(|draft| builder.push(draft))?;
        if self.tail == Tail::Error && builder.end() < run.steps {
            return Err(Error::refused(format!(
                "the phases end at step {} of {} and schedule.tail is \"error\"; lengthen them, or take \"hold\" or \"min_lr\"",
                builder.end(),
                run.steps
            )));
        }
        let last = (self.tail == Tail::MinLr).then_some(self.min_lr);
        let mut schedule = Schedule::new(builder.finish(last), warmup_steps, run.steps, self.counter);
        schedule.feedback = match self.plan {
            Plan::Preset(Preset::Plateau(rule)) => Some(rule.rule(self.lr, self.min_lr)),
            Plan::Preset(Preset::Greedy(rule)) => Some(rule.rule(self.lr, self.min_lr)),
            _ => None,
        };
        Ok(schedule)
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

    /// `exact` steps, which become `steps` whole ones.
    fn warmup_drafts(&self, exact: f64, steps: u64, from: f64, to: f64, ctx: &Context) -> Vec<Draft> {
        let curve = match self.warmup_shape {
            WarmupShape::Linear => Curve::Ramp,
            WarmupShape::Cosine => Curve::Cosine { theta: 1.0, cycles: 0.5 },
            WarmupShape::OneMinusSqrt => Curve::Poly { power: 0.5 },
            WarmupShape::Quadratic => Curve::Poly { power: 2.0 },
            WarmupShape::Poly { power } => Curve::Rise { power },
            WarmupShape::Log => Curve::Log,
            WarmupShape::Exp => Curve::Geometric,
            WarmupShape::Saturating { timescale } => Curve::Exp { rate: 1.0 / ctx.steps(timescale) },
            WarmupShape::Constant => Curve::Constant,
        };
        let mut draft = Draft::new(curve, exact, Some(from), to, "schedule.warmup_from");
        draft.falls = false;
        let whole = steps as f64;
        match self.warmup_convention {
            WarmupConvention::ZeroBased => vec![draft],
            WarmupConvention::OneBased => {
                draft.of = Some((1.0, whole));
                vec![draft]
            }
            WarmupConvention::FloorOne if steps < 2 => vec![Draft::hold(exact, Some(to))],
            WarmupConvention::FloorOne => {
                let first = Draft::hold(1.0, Some(curve.rate(1.0, whole, from, to)));
                (draft.of, draft.length) = (Some((1.0, whole)), exact - 1.0);
                vec![first, draft]
            }
            WarmupConvention::Inclusive if steps < 2 => vec![Draft::hold(exact, Some(to))],
            WarmupConvention::Inclusive => {
                draft.of = Some((0.0, whole - 1.0));
                vec![draft]
            }
        }
    }

    fn plan_drafts(&self, ctx: &Context) -> Result<Vec<Draft>> {
        match &self.plan {
            Plan::Shape(shape @ Shape::Cyclic { .. }) => {
                shape.drafts(ctx.rest(), None, ctx.lr, ctx, "schedule.lr")
            }
            Plan::Shape(shape) => shape.drafts(ctx.rest(), None, ctx.end_of(shape), ctx, "schedule.min_lr"),
            Plan::Preset(preset) => preset.drafts(ctx),
            Plan::Phases(phases) => list_drafts(phases, ctx),
            Plan::Style(..) => unreachable!("it is compiled apart from the others"),
        }
    }
}

/// The phases of a list; the one without a length gets what the others leave.
fn list_drafts(phases: &[PhaseConfig], ctx: &Context) -> Result<Vec<Draft>> {
    let given = phases.iter().filter_map(|phase| phase.length).map(|length| ctx.steps(length)).sum();
    let rest = ctx.leave(given, "schedule.phases")?;
    let mut drafts = Vec::new();
    for (i, phase) in phases.iter().enumerate() {
        let at = format!("schedule.phases[{i}]");
        let length = phase.length.map_or(rest, |length| ctx.steps(length));
        let from = (phase.from != Rate::Previous).then(|| phase.from.value(0.0, ctx.lr));
        let to = phase.to.map_or(0.0, |to| to.value(0.0, ctx.lr));
        let first = drafts.len();
        drafts.extend(phase.shape.drafts(length, from, to, ctx, &format!("{at}.to"))?);
        let [start, end] = phase.part;
        if let ([draft], true) = (&mut drafts[first..], phase.part != [0.0, 1.0]) {
            let whole = length / (end - start);
            draft.of = Some((start * whole, whole));
        }
    }
    Ok(drafts)
}

impl Shape {
    /// The shape over `length` steps; `key` set `to`.
    pub(super) fn drafts(
        &self,
        length: f64,
        from: Option<f64>,
        to: f64,
        ctx: &Context,
        key: &str,
    ) -> Result<Vec<Draft>> {
        // What a length of the run was not given for is measured in warmups.
        let timescale =
            |given: &Option<Length>| given.map_or(ctx.warmup, |length| ctx.steps(length)).max(1.0);
        let mut stairs = 0.0;
        let curve = match self {
            Self::Constant => Curve::Constant,
            Self::Linear => Curve::Linear,
            Self::Poly { power } => Curve::Poly { power: *power },
            Self::Cosine { theta, cycles } => Curve::Cosine { theta: *theta, cycles: *cycles },
            Self::CosineRestarts { cycles } => Curve::CosineRestarts { cycles: *cycles },
            Self::MirrorCosine => Curve::MirrorCosine,
            Self::OneMinusSqrt => Curve::OneMinusSqrt,
            Self::Square => Curve::Rise { power: 2.0 },
            Self::Harmonic => Curve::Harmonic,
            Self::Exp { rate } => Curve::Exp { rate: rate / length.max(1.0) },
            Self::ExpTo => Curve::Geometric,
            Self::ExpHalflife { half_life } => Curve::Exp { rate: LN_2 / ctx.steps(*half_life) },
            Self::ExpGamma { gamma, every } => {
                stairs = every.map_or(0.0, |every| ctx.steps(every));
                Curve::Exp { rate: -gamma.ln() / if every.is_some() { stairs } else { 1.0 } }
            }
            Self::ExpAffine { rate } => Curve::ExpTo { rate: *rate },
            Self::Exp2 => Curve::ExpTo { rate: LN_2 },
            Self::InvSqrt { timescale: given } => {
                Curve::InvPower { timescale: timescale(given), exponent: 0.5 }
            }
            Self::InvSqrtTo { steepness } => Curve::InvSqrtTo { steepness: *steepness },
            Self::InvPower { timescale: given, exponent } => {
                Curve::InvPower { timescale: timescale(given), exponent: *exponent }
            }
            Self::Cyclic { rise, fall, per_cycle, per_step } => Curve::Cyclic {
                up: ctx.steps(*rise),
                down: ctx.steps(fall.unwrap_or(*rise)),
                per_cycle: *per_cycle,
                per_step: *per_step,
            },
            Self::Table { x, y, interpolation } => return table(x, y, *interpolation, length, ctx, key),
        };
        Ok(vec![Draft { stairs, ..Draft::new(curve, length, from, to, key) }])
    }
}

/// A line, or a step, from point to point.
fn table(
    x: &[Length],
    y: &[Rate],
    interpolation: Interpolation,
    length: f64,
    ctx: &Context,
    key: &str,
) -> Result<Vec<Draft>> {
    let at = key.rsplit_once('.').map_or(key, |(at, _)| at);
    let steps: Vec<f64> = x.iter().map(|x| ctx.steps(*x)).collect();
    if let Some(i) = (1..x.len()).find(|&i| steps[i] <= steps[i - 1]) {
        return Err(Error::refused(format!(
            "{at}.x[{i}] is {} (step {}) after {} (step {}); the points of a table must increase",
            x[i],
            steps[i],
            x[i - 1],
            steps[i - 1]
        )));
    }
    let last = steps[steps.len() - 1]; // a table has a point
    if last > length + SLACK_STEPS {
        return Err(Error::refused(format!(
            "{at}.x ends at step {last} of a phase of {length}; leave out what lies behind its end"
        )));
    }
    let rate = |i: usize| y[i].value(0.0, ctx.lr);
    let mut drafts = vec![Draft::hold(steps[0], Some(rate(0)))];
    for i in 1..x.len() {
        let length = steps[i] - steps[i - 1];
        drafts.push(match interpolation {
            Interpolation::Linear => Draft::new(Curve::Linear, length, Some(rate(i - 1)), rate(i), at),
            Interpolation::Hold => Draft::hold(length, Some(rate(i - 1))),
        });
    }
    drafts.push(Draft::hold((length - last).max(0.0), Some(rate(x.len() - 1))));
    Ok(drafts)
}
