//! Refined schedules (Defazio et al. 2023, arXiv:2310.07831): from the file that `rewarm schedule refine` wrote, and the
//! fits that the authors drew into their figures, `(1 − t)^p` behind a warmup.
use super::args::Args;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, Refined, RunSize};
use std::path::Path;

/// The rate of step `s` of `T` is the file's at `s/T` of its steps, on a line between two.
pub(super) fn file(args: &Args, run: &RunSize) -> Result<Pieces> {
    let lr = args.positive("lr")?;
    let (path, checksum) = (args.text("file")?, args.text("checksum")?);
    let refined = Refined::read(Path::new(path))?;
    if refined.checksum != checksum {
        let what = format!(
            "is {checksum}, {path} has {}; it is another schedule than the one chosen",
            refined.checksum
        );
        return Err(args.refused("checksum", what));
    }
    let rates = &refined.rates;
    let length = run.steps as f64 / rates.len() as f64;
    let mut pieces = Pieces::default();
    for (i, pair) in rates.windows(2).enumerate() {
        let (start, next) = (i as f64 * length, (i + 1) as f64 * length);
        if at(start) < at(next) {
            pieces =
                pieces.then(at(start), Piece::new(Curve::Ramp, start, length, lr * pair[0], lr * pair[1]));
        }
    }
    let last = rates.len() - 1;
    Ok(pieces.hold(at(last as f64 * length), lr * rates[last]))
}

pub(super) fn gpt(args: &Args, run: &RunSize) -> Result<Pieces> {
    fit(args, run, 0.28, 1.0)
}

pub(super) fn roberta(args: &Args, run: &RunSize) -> Result<Pieces> {
    fit(args, run, 0.45, 0.8)
}

pub(super) fn dlrm(args: &Args, run: &RunSize) -> Result<Pieces> {
    fit(args, run, 0.2, 0.9)
}

pub(super) fn mri(args: &Args, run: &RunSize) -> Result<Pieces> {
    fit(args, run, 0.4, 0.9)
}

pub(super) fn imagenet(args: &Args, run: &RunSize) -> Result<Pieces> {
    fit(args, run, 0.01, 3.0)
}

pub(super) fn rcnn(args: &Args, run: &RunSize) -> Result<Pieces> {
    fit(args, run, 0.0, 1.5)
}

fn fit(args: &Args, run: &RunSize, warmup: f64, power: f64) -> Result<Pieces> {
    let (lr, total) = (args.positive("lr")?, run.steps as f64);
    let warmup = warmup * total;
    let fall = Piece::new(Curve::Poly { power }, warmup, total - warmup, lr, 0.0);
    Ok(Pieces::ramp(warmup, 0.0, lr).then(at(warmup), fall))
}
