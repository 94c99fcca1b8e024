//! llm.c: `llmc/schedulers.h`, by the scheduler's type. Update `i` uses `i + 1` in the warmup and `i` behind it. It
//! computes in f32, to some 1e-7.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

struct Common {
    lr: f64,
    low: f64,
    warmup: f64,
    total: f64,
}

impl Common {
    fn read(args: &Args, run: &RunSize) -> Result<Self> {
        let lr = args.rate("learning_rate")?;
        let low = lr * args.share_or("final_learning_rate_frac", 1.0)?;
        let warmup = args.count_or("warmup_iterations", 0.0)?;
        let total = args.some_or_none("train_num_batches")?.unwrap_or(run.steps as f64);
        if warmup >= total || total < run.steps as f64 {
            let what = format!(
                "is {total}; it must be above warmup_iterations and at least the run's {} steps",
                run.steps
            );
            return Err(args.refused("train_num_batches", what));
        }
        Ok(Self { lr, low, warmup, total })
    }

    fn ramp(&self) -> Pieces {
        Pieces::rise(self.warmup, Piece::new(Curve::Ramp, -1.0, self.warmup, 0.0, self.lr))
    }

    fn decay(&self, curve: Curve) -> Pieces {
        let fall = Piece::new(curve, self.warmup, self.total - self.warmup, self.lr, self.low);
        self.ramp().then(at(self.warmup), fall)
    }
}

pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    Ok(Common::read(args, run)?.decay(Curve::Cosine { theta: 1.0, cycles: 0.5 }))
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    Ok(Common::read(args, run)?.decay(Curve::Linear))
}

/// It ignores the warmup too.
pub(super) fn constant(args: &Args, run: &RunSize) -> Result<Pieces> {
    Ok(Pieces::default().hold(0, Common::read(args, run)?.lr))
}

pub(super) fn wsd(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run)?;
    let begin = f64::from((0.8_f32 * it.total as f32).trunc());
    let fall = Piece::new(Curve::OneMinusSqrt, begin, it.total - begin, it.lr, it.low);
    Ok(it.ramp().hold(at(it.warmup), it.lr).then(at(begin), fall))
}
