//! Hugging Face transformers: `transformers/optimization.py`, the functions behind `get_scheduler`.
//!
//! Update `i` uses step `i`; `num_training_steps` is the run's length unless given, as in its Trainer. Cosines do not
//! stop behind it.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

/// What most of them take.
struct Common {
    lr: f64,
    warmup: f64,
    horizon: f64,
}

impl Common {
    fn read(args: &Args, run: &RunSize) -> Result<Self> {
        let (lr, warmup) = (args.rate("learning_rate")?, args.count("num_warmup_steps")?);
        let horizon = args.some_or_none("num_training_steps")?.unwrap_or(run.steps as f64);
        if warmup > horizon {
            let what = format!("is {warmup}, num_training_steps is {horizon}; a warmup must fit in");
            return Err(args.refused("num_warmup_steps", what));
        }
        Ok(Self { lr, warmup, horizon })
    }

    fn ramp(&self) -> Pieces {
        Pieces::ramp(self.warmup, 0.0, self.lr)
    }

    /// Steps of the decay, as it divides by them.
    fn decay(&self) -> f64 {
        (self.horizon - self.warmup).max(1.0)
    }

    /// The rate of `min_lr` or `min_lr_rate`, of which one is required.
    fn least(&self, args: &Args) -> Result<f64> {
        match (args.has("min_lr"), args.share_or_none("min_lr_rate")?) {
            (true, Some(_)) => Err(args.refused("min_lr", "and min_lr_rate are both given; remove one")),
            (_, Some(share)) => Ok(self.lr * share),
            (true, None) => args.low_rate_or("min_lr", 0.0, self.lr, "learning_rate"),
            (false, None) => {
                Err(args.refused("min_lr", "and min_lr_rate are missing; the style requires one of them"))
            }
        }
    }
}

pub(super) fn constant(args: &Args, _: &RunSize) -> Result<Pieces> {
    Ok(Pieces::default().hold(0, args.rate("learning_rate")?))
}

pub(super) fn constant_with_warmup(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (lr, warmup) = (args.rate("learning_rate")?, args.count("num_warmup_steps")?);
    Ok(Pieces::ramp(warmup, 0.0, lr).hold(at(warmup), lr))
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let line = Piece::new(Curve::Linear, it.horizon - it.decay(), it.decay(), it.lr, 0.0);
    Ok(it.ramp().then(at(it.warmup), line))
}

pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let cycles = args.positive_or("num_cycles", 0.5)?;
    let decay = Piece::cosine(cycles, it.warmup, it.decay(), it.lr, 0.0, run.steps);
    Ok(it.ramp().then(at(it.warmup), decay))
}

pub(super) fn cosine_with_restarts(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let cycles = args.some_or_none("num_cycles")?.unwrap_or(1.0);
    let decay = Piece::new(Curve::CosineRestarts { cycles }, it.warmup, it.decay(), it.lr, 0.0);
    Ok(it.ramp().then(at(it.warmup), decay))
}

pub(super) fn polynomial(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let power = args.positive_or("power", 1.0)?;
    let end = args.low_rate_or("lr_end", 1e-7, it.lr, "learning_rate")?;
    let decay = Piece::new(Curve::Poly { power }, it.warmup, it.decay(), it.lr, end);
    Ok(it.ramp().then(at(it.warmup), decay))
}

pub(super) fn inverse_sqrt(args: &Args, _: &RunSize) -> Result<Pieces> {
    let (lr, warmup) = (args.rate("learning_rate")?, args.count("num_warmup_steps")?);
    let default = if warmup == 0.0 { 1e4 } else { warmup };
    let timescale = args.some_or_none("timescale")?.unwrap_or(default);
    let decay = Piece::new(Curve::InvPower { timescale, exponent: 0.5 }, warmup, timescale, lr, 0.0);
    Ok(Pieces::ramp(warmup, 0.0, lr).then(at(warmup), decay))
}

pub(super) fn cosine_with_min_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let (cycles, least) = (args.positive_or("num_cycles", 0.5)?, it.least(args)?);
    let decay = Piece::cosine(cycles, it.warmup, it.decay(), it.lr, least, run.steps);
    Ok(it.ramp().then(at(it.warmup), decay))
}

/// The only one that counts from one, in the warmup (unless `warmup_lr_rate` is given) and in the decay.
pub(super) fn cosine_warmup_with_min_lr(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let (cycles, least) = (args.positive_or("num_cycles", 0.5)?, it.least(args)?);
    let warmup = match args.share_or_none("warmup_lr_rate")? {
        None => Piece::new(Curve::Ramp, -1.0, it.warmup, 0.0, it.lr),
        Some(share) => Piece::new(Curve::Ramp, 0.0, (it.warmup - 1.0).max(1.0), it.lr * share, it.lr),
    };
    let decay = Piece::cosine(cycles, it.warmup - 1.0, it.decay(), it.lr, least, run.steps);
    Ok(Pieces::rise(it.warmup, warmup).then(at(it.warmup), decay))
}

pub(super) fn warmup_stable_decay(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let decay = args.count("num_decay_steps")?;
    let least = it.lr * args.share_or("min_lr_ratio", 0.0)?;
    let cycles = args.positive_or("num_cycles", 0.5)?;
    let stable = args.count_or_none("num_stable_steps")?.unwrap_or(it.horizon - it.warmup - decay);
    if stable < 0.0 {
        let what =
            format!("is {decay}; with the warmup it is longer than num_training_steps, {}", it.horizon);
        return Err(args.refused("num_decay_steps", what));
    }
    let rise = match args.choice("warmup_type", &["linear", "cosine", "1-sqrt"])? {
        "linear" => Curve::Ramp,
        "cosine" => Curve::Cosine { theta: 1.0, cycles: 0.5 },
        _ => Curve::Poly { power: 0.5 }, // 1 − √(1 − p) of the way
    };
    let fall = match args.choice("decay_type", &["cosine", "linear", "1-sqrt"])? {
        "cosine" => Curve::Cosine { theta: 1.0, cycles },
        "linear" => Curve::Linear,
        _ => Curve::OneMinusSqrt,
    };
    let begin = it.warmup + stable;
    Ok(Pieces::rise(it.warmup, Piece::new(rise, 0.0, it.warmup, least, it.lr))
        .hold(at(it.warmup), it.lr)
        .then(at(begin), Piece::new(fall, begin, decay.max(1.0), it.lr, least))
        .hold(at(begin + decay), least))
}
