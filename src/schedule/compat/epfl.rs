//! epfml/schedules-and-scaling (Hägele et al. 2024, arXiv:2405.18392): `src/optim/utils.py` and `src/main.py`, by
//! `--scheduler`. Update `i` uses step `i`; the warmup starts at a hundredth.
use super::args::Args;
use super::torch::OneCycle;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

fn common(args: &Args, run: &RunSize) -> Result<(f64, f64, f64)> {
    let total = args.some_or_none("iterations")?.unwrap_or(run.steps as f64);
    let (lr, warmup) = (args.positive("lr")?, args.count_or("warmup_steps", 300.0)?);
    if warmup >= total {
        let what = format!("is {warmup}; it must be shorter than the run of {total} steps");
        return Err(args.refused("warmup_steps", what));
    }
    Ok((lr, warmup, total))
}

pub(super) fn cos(args: &Args, run: &RunSize) -> Result<Pieces> {
    one_cycle(args, run, false)
}

pub(super) fn linear(args: &Args, run: &RunSize) -> Result<Pieces> {
    one_cycle(args, run, true)
}

/// Through torch's `OneCycleLR`, which counts one step less on the way up, down to a tenth of the peak.
fn one_cycle(args: &Args, run: &RunSize, straight: bool) -> Result<Pieces> {
    let (top, warmup, total) = common(args, run)?;
    let share = warmup / total;
    let cycle =
        OneCycle { total, share, top, divisor: 1e2, final_divisor: 0.1, three_phases: false, straight };
    cycle
        .pieces()
        .ok_or_else(|| args.refused("warmup_steps", "is 1, which torch's OneCycleLR divides by 0 for"))
}

pub(super) fn cos_inf(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, warmup, total) = common(args, run)?;
    let end = total - args.count_or("cos_inf_steps", 0.0)?;
    if end <= warmup {
        return Err(args.refused("cos_inf_steps", "leaves nothing of the run for the cosine"));
    }
    let low = lr / 1e2 / 0.1;
    Ok(Pieces::ramp(warmup, lr / 1e2, lr).then(at(warmup), Piece::half_cosine(warmup, end - warmup, lr, low)))
}

pub(super) fn wsd(args: &Args, run: &RunSize) -> Result<Pieces> {
    let (lr, warmup, total) = common(args, run)?;
    let decay = (args.share_or("wsd_fract_decay", 0.1)? * total).trunc();
    let low = lr * args.share_or("wsd_final_lr_scale", 0.0)?;
    let kinds = ["linear", "cosine", "exp", "miror_cosine", "square", "sqrt"];
    let curve = match args.choice("decay_type", &kinds)? {
        "linear" => Curve::Linear,
        "cosine" => Curve::Cosine { theta: 1.0, cycles: 0.5 },
        "exp" if low == 0.0 => {
            return Err(args.refused(
                "wsd_final_lr_scale",
                "is 0, which decay_type \"exp\" never comes to; give a share above 0",
            ));
        }
        "exp" => Curve::Geometric,
        "miror_cosine" => Curve::MirrorCosine,
        "square" => Curve::Rise { power: 2.0 },
        _ => Curve::OneMinusSqrt,
    };
    let begin = total - decay;
    if begin < warmup || decay == 0.0 {
        return Err(args.refused(
            "wsd_fract_decay",
            format!("is {decay} steps; it must be at least 1 and lie behind the warmup"),
        ));
    }
    Ok(Pieces::ramp(warmup, lr / 1e2, lr)
        .hold(at(warmup), lr)
        .then(at(begin), Piece::new(curve, begin, decay, lr, low)))
}
