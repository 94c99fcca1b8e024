//! NVIDIA Megatron-LM: `megatron/core/optimizer_param_scheduler.py`, with the defaults of its command line.
//!
//! Update `i` uses step `i`, which it counts in samples: a warmup given as a fraction need not end at a whole step. The
//! bounds belong to what comes before them.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after};
use crate::schedule::{Curve, RunSize};

struct Common<'a> {
    args: &'a Args,
    lr: f64,
    low: f64,
    init: f64,
    /// All lengths in steps.
    warmup: f64,
    horizon: f64,
    /// Sequences of a step.
    batch: f64,
}

impl<'a> Common<'a> {
    fn read(args: &'a Args, run: &RunSize) -> Result<Self> {
        let lr = args.rate("lr")?;
        let low = args.low_rate_or("min_lr", 0.0, lr, "lr")?;
        let init = args.low_rate_or("lr_warmup_init", 0.0, lr, "lr")?;
        let batch = args.some_or_none("global_batch_size")?.unwrap_or(run.samples_per_step as f64);
        let horizon = length(args, "lr_decay_iters", "lr_decay_samples", batch)?.unwrap_or(run.steps as f64);
        let warmup = length(args, "lr_warmup_iters", "lr_warmup_samples", batch)?;
        let warmup = match (args.share_or_none("lr_warmup_fraction")?, warmup) {
            (Some(_), Some(_)) => {
                return Err(args
                    .refused("lr_warmup_fraction", "and a length of the warmup are both given; remove one"));
            }
            (Some(share), None) => share * horizon,
            (None, steps) => steps.unwrap_or(0.0),
        };
        if warmup >= horizon {
            let what = format!("ends at step {horizon}, the warmup at {warmup}; the warmup must be shorter");
            return Err(args.refused("lr_decay_iters", what));
        }
        Ok(Self { args, lr, low, init, warmup, horizon, batch })
    }

    fn ramp(&self) -> Pieces {
        Pieces::ramp(self.warmup, self.init, self.lr)
    }

    /// Where the decay begins: behind the warmup, or at once.
    fn begin(&self) -> u64 {
        if self.warmup > 0.0 { after(self.warmup) } else { 0 }
    }

    /// `curve` from `origin` to the horizon, then `min_lr`.
    fn decay(&self, before: Pieces, start: u64, origin: f64, curve: Curve) -> Pieces {
        before
            .then(start, Piece::new(curve, origin, self.horizon - origin, self.lr, self.low))
            .hold(after(self.horizon), self.low)
    }
}

/// A length that is given in steps or in samples.
fn length(args: &Args, iters: &'static str, samples: &'static str, batch: f64) -> Result<Option<f64>> {
    match (args.count_or_none(iters)?, args.count_or_none(samples)?) {
        (Some(_), Some(_)) => Err(args.refused(iters, format!("and {samples} are both given; remove one"))),
        (steps, samples) => Ok(steps.or(samples.map(|samples| samples / batch))),
    }
}

pub(super) fn constant(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    Ok(it.ramp().hold(it.begin(), it.lr))
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    Ok(it.decay(it.ramp(), it.begin(), it.warmup, Curve::Linear))
}

pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    Ok(it.decay(it.ramp(), it.begin(), it.warmup, Curve::Cosine { theta: 1.0, cycles: 0.5 }))
}

/// `lr·√(W/s)`, but not below `min_lr`. Without a warmup W is one sample.
pub(super) fn inverse_square_root(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let timescale = if it.warmup > 0.0 { it.warmup } else { 1.0 / it.batch };
    let curve = Curve::InvPower { timescale, exponent: 0.5 };
    let piece = Piece::new(curve, timescale, timescale, it.lr, 0.0);
    Ok(it.ramp().then_above(it.begin(), piece, it.low).hold(after(it.horizon), it.low))
}

pub(super) fn wsd(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let decay = length(it.args, "lr_wsd_decay_iters", "lr_wsd_decay_samples", it.batch)?;
    let Some(decay) = decay.filter(|decay| *decay > 0.0) else {
        let what =
            "is missing or 0; megatron:WSD requires it, or lr_wsd_decay_samples: the length of the decay";
        return Err(args.refused("lr_wsd_decay_iters", what));
    };
    let curve = match args.choice("lr_wsd_decay_style", &["exponential", "linear", "cosine", "minus_sqrt"])? {
        "exponential" => Curve::ExpTo { rate: std::f64::consts::LN_2 }, // 2·½^r − 1
        "linear" => Curve::Linear,
        "cosine" => Curve::Cosine { theta: 1.0, cycles: 0.5 },
        _ => Curve::OneMinusSqrt,
    };
    let start = it.horizon - decay;
    if start < it.warmup {
        let what =
            format!("is {decay} steps; with a warmup of {} it is longer than {}", it.warmup, it.horizon);
        return Err(args.refused("lr_wsd_decay_iters", what));
    }
    Ok(it.decay(it.ramp().hold(it.begin(), it.lr), after(start), start, curve))
}
