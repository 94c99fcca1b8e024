//! The shapes. `r` is the progress through a phase, `n` the steps since its start.
use super::arguments::*;
use super::entry::{Entry, Motion, Named};
use crate::schedule::leg::{Leg, SLACK_STEPS, Stretch};
use crate::schedule::{Curve, Length, Rate};
use crate::{Error, Result};
use std::f64::consts::LN_2;
use toml::Value;

const ARRIVES: Entry = Entry::ARRIVES;
const APPROACHES: Entry = Entry::APPROACHES;
const STAYS: Entry = Entry::STAYS;

/// How a phase of a list, or a decay, goes from its first rate to its last. Each is also the name of a whole schedule: a
/// warmup, then the shape until the end of the run.
pub const SHAPES: &[Entry] = &[
    Entry {
        name: "constant",
        formula: "`lr`",
        source: "all",
        purpose: "a baseline; the stable part of a run that will be decayed or averaged later",
        build: |_, s| s.along(Curve::Constant),
        ..STAYS
    },
    Entry {
        name: "linear",
        formula: "`to + (from − to)(1 − r)`",
        source: "Megatron-LM, OLMo, Hugging Face, llm.c",
        purpose: "a run of known length; with `min_lr = 0` see `d2z`",
        build: |_, s| s.along(Curve::Linear),
        ..ARRIVES
    },
    Entry {
        name: "poly",
        arguments: &[POWER.or("2")],
        formula: "`to + (from − to)(1 − r)^power`",
        source: "Hugging Face, torch, optax, composer",
        purpose: "between linear (1) and an early decay (2 and more); the published fits of refined schedules (arXiv:2310.07831)",
        build: |args, s| s.along(Curve::Poly { power: args.get("power")? }),
        ..ARRIVES
    },
    Entry {
        name: "cosine",
        arguments: &[THETA.or("1"), CYCLES.or("0.5")],
        formula: "`to + (from − to)·½(1 + cos(2π·cycles·r^theta))`, `cycles = ½`",
        source: "arXiv:1608.03983; Megatron-LM, GPT-NeoX since August 2023, Hugging Face; theta: lingua",
        purpose: "the usual choice for a run of known length",
        build: |args, s| s.along(Curve::Cosine { theta: args.get("theta")?, cycles: args.get("cycles")? }),
        ..ARRIVES
    },
    Entry {
        name: "cosine_restarts",
        arguments: &[CYCLES.or("3")],
        formula: "`to + (from − to)·½(1 + cos(π·(cycles·r mod 1)))`, `cycles = 3`",
        source: "Hugging Face `cosine_with_restarts`",
        purpose: "several decays of equal length, each from the peak",
        build: |args, s| s.along(Curve::CosineRestarts { cycles: args.get("cycles")? }),
        ..ARRIVES
    },
    Entry {
        name: "mirror_cosine",
        formula: "`to + (from − to)(2(1 − r) − ½(1 + cos πr))`",
        source: "epfml",
        purpose: "the decay of a WSD run, when comparing decays",
        build: |_, s| s.along(Curve::MirrorCosine),
        ..ARRIVES
    },
    Entry {
        name: "one_minus_sqrt",
        formula: "`to + (from − to)(1 − √r)`",
        source: "Hägele et al. 2024, arXiv:2405.18392; Megatron-LM `minus_sqrt`",
        purpose: "the decay of a WSD run: the best of those compared there",
        build: |_, s| s.along(Curve::OneMinusSqrt),
        ..ARRIVES
    },
    Entry {
        name: "square",
        formula: "`to + (from − to)(1 − r²)`",
        source: "epfml",
        purpose: "the decay of a WSD run, when comparing decays",
        build: |_, s| s.along(Curve::Rise { power: 2.0 }),
        ..ARRIVES
    },
    Entry {
        name: "harmonic",
        formula: "`1/(r/to + (1 − r)/from)`",
        source: "Wen et al. 2024, arXiv:2410.05192; lingua; forgather's `rsqrt` annealing",
        purpose: "the decays of `wsd_s`; the annealing of an infinite schedule",
        build: |_, s| s.along(Curve::Harmonic),
        ..ARRIVES
    },
    Entry {
        name: "exp",
        arguments: &[RATE.or("0.693")],
        formula: "`to + (from − to)·e^(−rate·r)`, `rate = 0.693`, `to = 0`",
        source: "GPT-NeoX `exponential`",
        purpose: "to match GPT-NeoX: half of the peak is left at the end",
        build: |args, s| s.along(Curve::Exp { rate: args.get::<f64>("rate")? / s.length.max(1.0) }),
        ..APPROACHES
    },
    Entry {
        name: "exp_to",
        formula: "`from·(to/from)^r`",
        source: "arXiv:2503.02844",
        purpose: "the annealing of an infinite schedule: equal factors in equal times",
        build: |_, s| s.along(Curve::Geometric),
        ..ARRIVES
    },
    Entry {
        name: "exp_halflife",
        arguments: &[HALF_LIFE],
        example: "half_life = \"10%\"",
        formula: "`to + (from − to)·½^(n/half_life)`, `to = 0`",
        source: "MiniCPM, arXiv:2404.06395",
        purpose: "the decay of a WSD run whose end is open",
        build: |args, s| s.along(Curve::Exp { rate: LN_2 / s.steps(args.get("half_life")?) }),
        ..APPROACHES
    },
    Entry {
        name: "exp_gamma",
        arguments: &[GAMMA, EVERY.or_absent("a step")],
        example: "gamma = 0.5\nevery = \"20%\"",
        formula: "`to + (from − to)·gamma^n`, with `every`: `gamma^⌊n/every⌋`, `to = 0`",
        source: "torch `ExponentialLR`, `StepLR`; optax `exponential_decay`",
        purpose: "to match older recipes",
        build: exp_gamma,
        ..APPROACHES
    },
    Entry {
        name: "exp_affine",
        arguments: &[RATE.or("1")],
        formula: "`to + (from − to)(e^(−rate·r) − e^(−rate))/(1 − e^(−rate))`, `rate = 1`",
        source: "lm-engine `exponential`",
        purpose: "an exponential that arrives at `to`",
        build: |args, s| s.along(Curve::ExpTo { rate: args.get("rate")? }),
        ..ARRIVES
    },
    Entry {
        name: "exp2",
        formula: "`to + (from − to)(2·½^r − 1)`",
        source: "Megatron-LM `--lr-wsd-decay-style exponential`",
        purpose: "to match Megatron-LM's default WSD decay",
        build: |_, s| s.along(Curve::ExpTo { rate: LN_2 }),
        ..ARRIVES
    },
    Entry {
        name: "inv_sqrt",
        arguments: &[TIMESCALE.or_absent("the warmup")],
        formula: "`to + (from − to)/√(1 + n/timescale)`, `to = 0`, timescale: the warmup",
        source: "Megatron-LM, Hugging Face, OLMo (`to` = lowest rate); Noam",
        purpose: "a run whose end is open",
        build: |args, s| s.along(Curve::InvPower { timescale: timescale(args, s)?, exponent: 0.5 }),
        ..APPROACHES
    },
    Entry {
        name: "inv_sqrt_to",
        arguments: &[STEEPNESS.or("10")],
        formula: "`from + (to − from)·f(r)/f(1)`, `f(r) = 1/√(1 + steepness·r) − 1`, `steepness = 10`",
        source: "GPT-NeoX #1194",
        purpose: "the cooldown of `infinite_inv_sqrt`",
        build: |args, s| s.along(Curve::InvSqrtTo { steepness: args.get("steepness")? }),
        ..ARRIVES
    },
    Entry {
        name: "inv_power",
        arguments: &[TIMESCALE.or_absent("the warmup"), EXPONENT.or("0.51")],
        formula: "`to + (from − to)(1 + n/timescale)^(−exponent)`, `exponent = 0.51`, `to = 0`, timescale: the warmup",
        source: "OLMo-core `power_lr`, lingua `inv_sqrt`",
        purpose: "a run whose end is open, with an exponent of its own",
        build: |args, s| {
            s.along(Curve::InvPower { timescale: timescale(args, s)?, exponent: args.get("exponent")? })
        },
        ..APPROACHES
    },
    Entry {
        name: "cyclic",
        arguments: &[RISE, FALL.or_absent("`rise`"), PER_CYCLE.or("1"), PER_STEP.or("1")],
        example: "rise = \"10%\"",
        formula: "from `min_lr` up to `lr` and back; cycle c is `per_cycle^c` as high, step n `per_step^n`",
        source: "Smith 2015, arXiv:1506.01186; torch `CyclicLR` (`triangular2`: `per_cycle = 0.5`, `exp_range`: `per_step`)",
        purpose: "an ensemble or an average of the lows",
        motion: Motion::Cycles,
        build: cyclic,
        ..Entry::RISES
    },
    Entry {
        name: "table",
        arguments: &[X, Y, INTERPOLATION.or("\"linear\"")],
        example: "x = [\"20%\", \"50%\", \"80%\"]\ny = [\"100%\", \"30%\", \"10%\"]",
        formula: "through the points, straight (`\"linear\"`) or in steps (`\"hold\"`)",
        source: "optax `piecewise_*`; refined schedules, arXiv:2310.07831",
        purpose: "anything that has no name",
        build: table,
        ..STAYS
    },
];

/// The shape that a decay is written as: one with an end or a limit.
pub(super) fn decay(value: &Value, at: &str) -> Result<Named> {
    let name = value.as_str().or_else(|| value.get("shape")?.as_str());
    match SHAPES.iter().find(|entry| Some(entry.name) == name) {
        Some(Entry { name, motion: Motion::Stays | Motion::Cycles, .. }) => Err(Error::refused(format!(
            "{at} is {name:?}, which does not decay; take \"linear\", \"one_minus_sqrt\" or \"cosine\""
        ))),
        _ => Named::read(value, SHAPES, at),
    }
}

/// In warmups where no length of the run is given.
pub(super) fn timescale(args: &Named, s: &Stretch) -> Result<f64> {
    Ok(args.find("timescale")?.map_or(s.warmup, |given| s.steps(given)).max(1.0))
}

fn exp_gamma(args: &Named, s: &Stretch) -> Result<Vec<Leg>> {
    let every = args.find("every")?.map(|every| s.steps(every));
    let rate = -args.get::<f64>("gamma")?.ln() / every.unwrap_or(1.0);
    Ok(vec![Leg { stairs: every.unwrap_or(0.0), ..s.leg(Curve::Exp { rate }) }])
}

fn cyclic(args: &Named, s: &Stretch) -> Result<Vec<Leg>> {
    let up = s.steps(args.get("rise")?);
    let down = args.find("fall")?.map_or(up, |fall| s.steps(fall));
    let (per_cycle, per_step) = (args.get("per_cycle")?, args.get("per_step")?);
    s.along(Curve::Cyclic { up, down, per_cycle, per_step })
}

/// A line, or a step, from point to point.
fn table(args: &Named, s: &Stretch) -> Result<Vec<Leg>> {
    let (x, y): (Vec<Length>, Vec<Rate>) = (args.get("x")?, args.get("y")?);
    let (x_key, y_key) = (args.key("x"), args.key("y"));
    if x.is_empty() || x.len() != y.len() {
        return Err(Error::refused(format!(
            "{x_key} has {} points and {y_key} has {}; give a rate to each point, and at least one",
            x.len(),
            y.len()
        )));
    }
    let steps: Vec<f64> = x.iter().map(|x| s.steps(*x)).collect();
    if let Some(i) = (1..x.len()).find(|&i| steps[i] <= steps[i - 1]) {
        return Err(Error::refused(format!(
            "{x_key}[{i}] is {} (step {}) after {} (step {}); the points of a table must increase",
            x[i],
            steps[i],
            x[i - 1],
            steps[i - 1]
        )));
    }
    let last = steps[steps.len() - 1]; // a table has a point
    if last > s.length + SLACK_STEPS {
        return Err(Error::refused(format!(
            "{x_key} ends at step {last} of a phase of {}; leave out what lies behind its end",
            s.length
        )));
    }
    let straight = args.get::<String>("interpolation")? == "linear";
    let rate = |i: usize| y[i].value(0.0, s.lr);
    let mut legs = vec![Leg::hold(steps[0], Some(rate(0)))];
    for i in 1..x.len() {
        let hold = Leg::hold(steps[i] - steps[i - 1], Some(rate(i - 1)));
        legs.push(if straight { Leg { curve: Curve::Linear, to: rate(i), ..hold } } else { hold });
    }
    legs.push(Leg::hold((s.length - last).max(0.0), Some(rate(x.len() - 1))));
    Ok(legs)
}
