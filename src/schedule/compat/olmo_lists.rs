//! OLMo-core's schedulers that are lists: `src/olmo_core/optim/scheduler.py`, as in [`super::olmo`].
use super::args::Args;
use super::parts::Part;
use crate::Result;
use crate::schedule::pieces::{Piece, Pieces, at};
use crate::schedule::{Curve, RunSize};

pub(super) fn composable(args: &Args, _: &RunSize) -> Result<Pieces> {
    let lr = args.rate("lr")?;
    let (mut pieces, mut begin, mut rate) = (Pieces::default(), 0.0, lr);
    for stage in args.tables("stages")? {
        let steps = stage.some("duration")?;
        let curve = shape(&stage)?;
        let from = absolute(&stage, ["start_lr", "start_lr_fraction"], lr)?.unwrap_or(rate);
        rate = end(&stage, lr)?;
        stage.finish()?;
        pieces = pieces.then(at(begin), Piece::new(curve, begin, steps, from, rate));
        begin += steps;
    }
    override_decay(args, pieces.hold(at(begin), rate).counted_from_one(), lr)
}

/// Each scheduler starts from the rate that the one before ended at, and takes its share of the run for a whole one.
pub(super) fn sequential(args: &Args, run: &RunSize) -> Result<Pieces> {
    let lr = args.rate("lr")?;
    let mut parts = Part::list(args, "schedulers")?;
    let key = if args.has("schedulers_max_steps") { "schedulers_max_steps" } else { "schedulers_max" };
    let mut lengths = args.steps(key)?;
    if lengths.len() == parts.len() {
        lengths.pop(); // OLMo-core leaves that of the last aside
    }
    if lengths.len() + 1 != parts.len() {
        let what = format!(
            "has {} entries for {} schedulers; give one for each, except for the last, which has the rest",
            lengths.len(),
            parts.len()
        );
        return Err(args.refused(key, what));
    }
    let begin_of_last = lengths.iter().fold(0, |sum: u64, length| sum.saturating_add(*length));
    if begin_of_last >= run.steps {
        let what =
            format!("end at step {begin_of_last} of {}; leave steps for the last scheduler", run.steps);
        return Err(args.refused(key, what));
    }
    lengths.push(run.steps - begin_of_last);
    let (mut pieces, mut begin, mut rate) = (Pieces::default(), 0, lr);
    for (part, steps) in parts.iter_mut().zip(lengths) {
        part.args.share("lr", rate)?;
        let next = part.build(steps, run)?;
        rate = next.rate(steps - 1);
        pieces = if begin == 0 { next } else { pieces.append(begin, next) };
        begin += steps;
    }
    override_decay(args, pieces, lr)
}

/// From `start` on, where it is given, all else is left for a decay from the rate there, which is then held.
fn override_decay(args: &Args, pieces: Pieces, lr: f64) -> Result<Pieces> {
    let decay = match args.table_or_none("override_decay") {
        Some(decay) => decay,
        None if args.has("override_decay") => {
            return Err(args.refused("override_decay", "is no table; give its start, duration and end_lr"));
        }
        None => return Ok(pieces),
    };
    let (start, steps, curve) = (decay.some("start")?, decay.some("duration")?, shape(&decay)?);
    let (begin, to) = (at(start - 1.0), end(&decay, lr)?);
    decay.finish()?;
    let from = pieces.rate(begin);
    let fall = Pieces::default().then(0, Piece::new(curve, 0.0, steps, from, to)).hold(at(steps), to);
    Ok(if begin == 0 { fall } else { pieces.append(begin, fall) })
}

fn shape(args: &Args) -> Result<Curve> {
    Ok(match args.choice("shape", &["linear", "cosine"])? {
        "linear" => Curve::Ramp,
        _ => Curve::Cosine { theta: 1.0, cycles: 0.5 },
    })
}

/// A rate given as itself or as a share of `lr`.
fn absolute(args: &Args, [name, share]: [&'static str; 2], lr: f64) -> Result<Option<f64>> {
    match (args.rate_or_none(name)?, args.rate_or_none(share)?) {
        (Some(_), Some(_)) => Err(args.refused(name, format!("and {share} are both given; remove one"))),
        (rate, factor) => Ok(rate.or(factor.map(|factor| lr * factor))),
    }
}

fn end(args: &Args, lr: f64) -> Result<f64> {
    let rate = absolute(args, ["end_lr", "end_lr_fraction"], lr)?;
    rate.ok_or_else(|| args.refused("end_lr", "and end_lr_fraction are missing; give one of them"))
}
