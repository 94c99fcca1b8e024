//! GPT-NeoX: `megatron/learning_rates.py`, as of May 2026 (#1379) and, as `neox-legacy`, before August 2023 (#1008): what
//! Pythia and Gupta et al. 2023 ran.
//!
//! Update `i` uses step `i`; the warmup is a share of the decay's length and need not end at a whole step.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, after};
use crate::schedule::{Curve, RunSize};

/// GPT-NeoX's digits of ln 2.
const HALVING: f64 = 0.693;

struct Common {
    lr: f64,
    low: f64,
    warmup: f64,
    horizon: f64,
}

impl Common {
    fn read(args: &Args, run: &RunSize, longest_warmup: f64) -> Result<Self> {
        let lr = args.rate("lr")?;
        let low = args.low_rate_or("min_lr", 0.0, lr, "lr")?;
        let share = args.share_or_none("lr_decay_fraction")?;
        let horizon = match (args.some_or_none("lr_decay_iters")?, share) {
            (Some(steps), _) => steps,
            (None, Some(share)) => (share * run.steps as f64).floor().max(1.0),
            (None, None) => run.steps as f64,
        };
        let share = args.share_or("warmup", 0.01)?;
        let warmup = share * horizon;
        if share > longest_warmup || warmup >= horizon {
            let what =
                format!("is {share}; it must be a share of at most {longest_warmup} of the decay's length");
            return Err(args.refused("warmup", what));
        }
        if warmup > 0.0 && warmup < 1.0 {
            let what = format!(
                "is {share} of {horizon} steps, less than one; GPT-NeoX would exceed lr, so give 0 or more"
            );
            return Err(args.refused("warmup", what));
        }
        Ok(Self { lr, low, warmup, horizon })
    }

    /// `max(1, s)/W`.
    fn ramp(&self) -> Pieces {
        if self.warmup == 0.0 {
            return Pieces::default();
        }
        let line = Piece::new(Curve::Ramp, 0.0, self.warmup, 0.0, self.lr);
        Pieces { warmup: self.warmup, ..Pieces::default() }.hold(0, self.lr / self.warmup).then(1, line)
    }

    fn begin(&self) -> u64 {
        if self.warmup > 0.0 { after(self.warmup) } else { 0 }
    }

    fn decay(&self) -> f64 {
        self.horizon - self.warmup
    }
}

pub(super) fn constant(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run, 1.0)?;
    Ok(it.ramp().hold(it.begin(), it.lr))
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run, 1.0)?;
    let line = Piece::new(Curve::Linear, it.warmup, it.decay(), it.lr, 0.0);
    Ok(it.ramp().then_above(it.begin(), line, it.low))
}

/// Rises again behind `lr_decay_iters`.
pub(super) fn cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run, 1.0)?;
    let decay = Piece::cosine(0.5, it.warmup, it.decay(), it.lr, it.low, run.steps);
    Ok(it.ramp().then(it.begin(), decay))
}

pub(super) fn exponential(args: &Args, run: &RunSize) -> Result<Pieces> {
    let it = Common::read(args, run, 1.0)?;
    let curve = Curve::Exp { rate: HALVING / it.decay() };
    Ok(it.ramp().then_above(it.begin(), Piece::new(curve, it.warmup, it.decay(), it.lr, 0.0), it.low))
}

pub(super) fn legacy_constant(args: &Args, run: &RunSize) -> Result<Pieces> {
    legacy(args, run, |_| Curve::Constant)
}

pub(super) fn legacy_linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    legacy(args, run, |_| Curve::Linear)
}

pub(super) fn legacy_cosine(args: &Args, run: &RunSize) -> Result<Pieces> {
    legacy(args, run, |_| Curve::Cosine { theta: 1.0, cycles: 0.5 })
}

pub(super) fn legacy_exponential(args: &Args, run: &RunSize) -> Result<Pieces> {
    legacy(args, run, |horizon| Curve::Exp { rate: HALVING / horizon })
}

/// Towards 0 over `T` steps from the warmup's end `W`, and held from `T − W` on; `min_lr` only cuts it off.
fn legacy(args: &Args, run: &RunSize, curve: impl Fn(f64) -> Curve) -> Result<Pieces> {
    let it = Common::read(args, run, 0.5)?; // behind the middle the hold would begin before the decay
    let decay = Piece::new(curve(it.horizon), it.warmup, it.horizon, it.lr, 0.0);
    let held = it.horizon - it.warmup;
    let pieces = Pieces::ramp(it.warmup, 0.0, it.lr).then_above(it.begin(), decay, it.low);
    let last = pieces.phases.last().expect("it was just added").rate(held);
    Ok(pieces.hold(after(held), last))
}
