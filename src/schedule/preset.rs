//! The named presets as phases.
use super::compile::Context;
use super::draft::{Draft, round};
use super::*;
use crate::{Error, Result};

/// More periods than anybody means.
const PERIODS_MAX: usize = 1_000_000;

impl Plan {
    /// The rate that the warmup leads to.
    pub(super) fn warmup_end(&self, ctx: &Context) -> f64 {
        match self {
            Self::Shape(Shape::Cyclic { .. }) | Self::Preset(Preset::LrRangeTest { .. }) => ctx.min_lr,
            Self::Preset(Preset::HalfCosine) => ctx.min_lr + (ctx.lr - ctx.min_lr) / 2.0,
            Self::Preset(Preset::PowerTokens { scale, exponent, .. }) => {
                let tokens = round(ctx.before).max(1) as f64 * ctx.run.tokens_per_step as f64;
                (scale * tokens.powf(-exponent)).min(ctx.lr)
            }
            _ => ctx.lr,
        }
    }
}

impl Preset {
    /// What follows the warmup.
    pub(super) fn drafts(&self, ctx: &Context) -> Result<Vec<Draft>> {
        let (lr, min_lr, rest) = (ctx.lr, ctx.min_lr, ctx.rest());
        let draft = |curve, length, to| Draft::new(curve, length, None, to, "schedule.min_lr");
        let cosine = Curve::Cosine { theta: 1.0, cycles: 0.5 };
        match self {
            Self::LinearClamped | Self::D2z => Ok(vec![draft(Curve::Linear, rest, 0.0)]),
            Self::CosineLegacyNeox => {
                let phase = draft(cosine, (rest - ctx.before).max(0.0), 0.0);
                Ok(vec![Draft { of: Some((0.0, ctx.total())), ..phase }])
            }
            Self::HalfCosine => {
                let phase = Draft { from: Some(lr), ..draft(cosine, rest, min_lr) };
                Ok(vec![Draft { of: Some((rest, 2.0 * rest)), ..phase }])
            }
            Self::CosineConstant { hold } => {
                let decay = ctx.leave(ctx.steps(*hold), "schedule.hold")?;
                Ok(vec![draft(cosine, decay, min_lr)])
            }
            Self::Sgdr { period, period_factor, peak_factor } => {
                sgdr(ctx.steps(*period), *period_factor, *peak_factor, ctx)
            }
            Self::Multistep { milestones, gamma } => multistep(milestones, *gamma, ctx),
            Self::OneCycle { divisor, final_divisor } => {
                Ok(vec![draft(cosine, rest, (lr / divisor / final_divisor).max(min_lr))])
            }
            Self::LrRangeTest { spacing, every } => {
                let curve = match spacing {
                    Spacing::Linear => Curve::Ramp,
                    Spacing::Log => Curve::Geometric,
                };
                let rise = Draft::new(curve, rest, None, lr, "schedule.lr");
                Ok(vec![Draft { stairs: every.map_or(0.0, |every| ctx.steps(every)), ..rise }])
            }
            Self::Wsd { decay, decay_shape } => decay_at_the_end(ctx.steps(*decay), &decay_shape.0, ctx),
            Self::ModerateDecay { decay } => decay_at_the_end(ctx.steps(*decay), &Shape::OneMinusSqrt, ctx),
            Self::WsdS { periods, decay, decay_shape } => wsd_s(*periods, *decay, &decay_shape.0, ctx),
            Self::InfiniteCosine(infinite) => infinite.drafts(&Shape::plain_cosine(), ctx),
            Self::InfiniteLinear(infinite) => infinite.drafts(&Shape::Linear, ctx),
            Self::InfiniteInvSqrt { steepness, infinite } => {
                infinite.drafts(&Shape::InvSqrtTo { steepness: *steepness }, ctx)
            }
            Self::InvSqrtCooldown { timescale, decay } => {
                let shape = Shape::InvSqrt { timescale: *timescale };
                then_linear(&shape, ctx.steps(*decay), ctx)
            }
            Self::Power { timescale, exponent, decay } => {
                let shape = Shape::InvPower { timescale: *timescale, exponent: *exponent };
                then_linear(&shape, ctx.steps(*decay), ctx)
            }
            Self::PowerTokens { scale, exponent, decay } => {
                power_tokens(*scale, *exponent, ctx.steps(*decay), ctx)
            }
            Self::Plateau(_) | Self::Greedy(_) => Ok(vec![Draft::hold(rest, None)]),
        }
    }
}

impl Shape {
    /// Half a wave.
    pub(super) fn plain_cosine() -> Self {
        Self::Cosine { theta: 1.0, cycles: 0.5 }
    }
}

impl Infinite {
    fn drafts(&self, cooldown_shape: &Shape, ctx: &Context) -> Result<Vec<Draft>> {
        let (cooldown, anneal) = (ctx.steps(self.cooldown), ctx.steps(self.anneal));
        let hold = ctx.leave(cooldown + anneal, "schedule.cooldown and schedule.anneal together")?;
        let constant = self.constant_lr.value(0.0, ctx.lr);
        if !(ctx.min_lr..=ctx.lr).contains(&constant) {
            return Err(Error::refused(format!(
                "schedule.constant_lr is {constant}; it must lie between schedule.min_lr = {} and schedule.lr = {}",
                ctx.min_lr, ctx.lr
            )));
        }
        let mut drafts = cooldown_shape.drafts(cooldown, None, constant, ctx, "schedule.constant_lr")?;
        drafts.push(Draft::hold(hold, Some(constant)));
        if anneal > 0.0 {
            let to = ctx.end_of(&self.anneal_shape.0);
            drafts.extend(self.anneal_shape.0.drafts(anneal, None, to, ctx, "schedule.min_lr")?);
        }
        Ok(drafts)
    }
}

fn decay_at_the_end(decay: f64, shape: &Shape, ctx: &Context) -> Result<Vec<Draft>> {
    let mut drafts = vec![Draft::hold(ctx.leave(decay, "schedule.decay")?, None)];
    drafts.extend(shape.drafts(decay, None, ctx.end_of(shape), ctx, "schedule.min_lr")?);
    Ok(drafts)
}

/// A shape without an end, then a line to `min_lr` from wherever it is.
fn then_linear(shape: &Shape, decay: f64, ctx: &Context) -> Result<Vec<Draft>> {
    let first = ctx.leave(decay, "schedule.decay")?;
    let mut drafts = shape.drafts(first, None, 0.0, ctx, "schedule.min_lr")?;
    drafts.push(Draft::new(Curve::Linear, decay, None, ctx.min_lr, "schedule.min_lr"));
    Ok(drafts)
}

fn wsd_s(periods: u32, decay: Length, shape: &Shape, ctx: &Context) -> Result<Vec<Draft>> {
    let period = ctx.rest() / f64::from(periods);
    let decay = match decay {
        Length::Percent(percent) => percent * period / 100.0,
        other => ctx.steps(other),
    };
    if decay > period {
        return Err(Error::refused(format!(
            "schedule.decay takes {} steps, and a period has {}; shorten it, or lower schedule.periods",
            round(decay),
            round(period)
        )));
    }
    let mut drafts = Vec::new();
    for _ in 0..periods {
        drafts.push(Draft::hold(period - decay, Some(ctx.lr)));
        drafts.extend(shape.drafts(decay, None, ctx.end_of(shape), ctx, "schedule.min_lr")?);
    }
    Ok(drafts)
}

/// Period `i` has `period·period_factor^i` steps and the peak `lr·peak_factor^i`; the last one is cut off by the end.
fn sgdr(period: f64, period_factor: f64, peak_factor: f64, ctx: &Context) -> Result<Vec<Draft>> {
    if period < 1.0 {
        return Err(Error::refused(format!("schedule.period is {period} of a step; give at least one step")));
    }
    let (mut left, mut period, mut peak) = (ctx.rest(), period, ctx.lr);
    let mut drafts = Vec::new();
    while left > 0.0 {
        if drafts.len() == PERIODS_MAX {
            return Err(Error::refused(format!(
                "schedule.period makes more than {PERIODS_MAX} periods; make it longer"
            )));
        }
        let to = ctx.min_lr.min(peak);
        let cosine = Curve::Cosine { theta: 1.0, cycles: 0.5 };
        let phase = Draft::new(cosine, period.min(left), Some(peak), to, "schedule.min_lr");
        drafts.push(Draft { of: (period > left).then_some((0.0, period)), ..phase });
        left -= period;
        period *= period_factor;
        peak *= peak_factor;
    }
    Ok(drafts)
}

/// Milestones are counted from the start of the run.
fn multistep(milestones: &[Length], gamma: f64, ctx: &Context) -> Result<Vec<Draft>> {
    let (mut drafts, mut at, mut rate) = (Vec::new(), ctx.before, ctx.lr);
    for (i, milestone) in milestones.iter().enumerate() {
        let next = ctx.steps(*milestone);
        if next < at || next > ctx.total() {
            return Err(Error::refused(format!(
                "schedule.milestones[{i}] is {milestone} (step {next}); milestones must increase between the end of the warmup (step {}) and the end of the run (step {})",
                ctx.before, ctx.run.steps
            )));
        }
        drafts.push(Draft::hold(next - at, Some(rate)));
        (at, rate) = (next, rate * gamma);
    }
    drafts.push(Draft::hold(ctx.total() - at, Some(rate)));
    Ok(drafts)
}

/// `min(lr, scale·tokens^(−exponent))` is `lr` up to the token at which the two are equal; from there it is an
/// inverse power whose timescale is the number of steps until then.
fn power_tokens(scale: f64, exponent: f64, decay: f64, ctx: &Context) -> Result<Vec<Draft>> {
    let first = ctx.leave(decay, "schedule.decay")?;
    let before = round(ctx.before) as f64;
    let meet = (scale / ctx.lr).powf(1.0 / exponent) / ctx.run.tokens_per_step as f64;
    let hold = (meet.ceil() - before).clamp(0.0, first.floor());
    let fall = Draft::new(
        Curve::InvPower { timescale: meet, exponent },
        first - hold,
        Some(ctx.lr),
        0.0,
        "schedule.scale",
    );
    Ok(vec![
        Draft::hold(hold, Some(ctx.lr)),
        Draft { of: Some((before + hold - meet, first)), ..fall },
        Draft::new(Curve::Linear, decay, None, ctx.min_lr, "schedule.min_lr"),
    ])
}
