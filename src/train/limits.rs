//! How much each source of a mixture may give, and where it begins.
use super::kept::Kept;
use crate::config::{Config, MixtureSource, Offset, WhenEmpty};
use crate::data::{Dealt, LeftOut, Order, Shares, Source, Sources};
use crate::{Error, Result};
use std::path::Path;

/// No run of this configuration goes so far where `origin` was dealt out.
pub fn end_of(config: &Config, sources: &Sources, origin: &Dealt) -> u64 {
    let plan = config.batch.plan(sources.seq_len());
    origin.sample.saturating_add(plan.samples_before(config.total_steps(sources.seq_len())))
}

/// The shares of a configuration up to a sample, those of a source that has given all that it may being the others'.
pub fn shares(
    config: &Config,
    sources: &Sources,
    left_out: &[LeftOut],
    from: u64,
    origin: Dealt,
    until: u64,
) -> Result<Shares> {
    let shares = config.shares(sources.seq_len(), from, origin)?;
    let others = |(i, source): (usize, &MixtureSource)| {
        let others = source.when_empty == WhenEmpty::Others;
        others
            .then(|| limit(source, (i, &sources.list()[i].order), &left_out[i], shares.origin(), true))
            .flatten()
    };
    let limits: Vec<_> = config.data.mixture.iter().enumerate().map(others).collect();
    if limits.iter().all(Option::is_none) { Ok(shares) } else { shares.limited(&limits, until) }
}

/// The most samples that source `i` may give where `origin` was dealt out: as far as its epochs go, `once` where it names
/// none, and as its tokens do.
fn limit(
    source: &MixtureSource,
    (i, order): (usize, &Order),
    left_out: &LeftOut,
    origin: &Dealt,
    once: bool,
) -> Option<u64> {
    let epochs = source.epochs.or(once.then_some(1.0)).map(|epochs| {
        // Written in decimals: 0.1 of 30 windows are 3.
        let (position, end) = (origin.position(i), (epochs * order.windows() as f64 + 1e-6) as u64);
        let ahead = position..end.max(position);
        origin.taken[i] + (ahead.end - ahead.start) - left_out.count(order, ahead)
    });
    let tokens = source.tokens.map(|tokens| tokens.0 / order.seq_len() as u64);
    let repeats = source.when_empty == WhenEmpty::Repeat;
    epochs.into_iter().chain(tokens).min().filter(|_| !repeats)
}

/// Refuses a run up to sample `end` of its data that reads more of a source than it may: where it says how much that is, or,
/// of a `new` run, more than once.
pub fn check(
    config: &Config,
    sources: &Sources,
    deal: (&Shares, &[LeftOut]),
    end: u64,
    new: bool,
) -> Result<()> {
    let (shares, left_out) = deal;
    if let Some(last) = shares.exhausted().filter(|last| *last < end) {
        return Err(Error::refused(format!(
            "the sources of data.mixture have given all that they may after {last} samples, and the run takes {end}; raise \
             epochs or tokens of one, set when_empty = \"repeat\", or take fewer steps"
        )));
    }
    let (seq_len, origin) = (sources.seq_len() as u64, shares.origin());
    for ((i, source), due) in config.data.mixture.iter().enumerate().zip(shares.due(end)) {
        let order = &sources.list()[i].order;
        let limit = limit(source, (i, order), &left_out[i], origin, new);
        let Some(limit) =
            limit.filter(|limit| source.when_empty == WhenEmpty::Refuse && due > *limit as f64 + 1e-6)
        else {
            continue;
        };
        let passed = (origin.position(i) - origin.taken[i]) as f64;
        let epochs = (due + passed) / order.windows() as f64;
        return Err(Error::refused(format!(
            "the run would take {} tokens of data.mixture[{i}] ({:?}), which go to {epochs:.2} epochs of it, and it may give \
             {} ({}): give it a smaller share, or say what is meant by epochs = {:.0}, by when_empty = \"repeat\" (read it \
             again and again) or by when_empty = \"others\" (what it lacks comes from the others)",
            due.ceil() as u64 * seq_len,
            source.name,
            limit * seq_len,
            match (source.epochs, source.tokens) {
                (None, None) => "each once",
                (None, Some(_)) => "tokens, and each once",
                (Some(_), _) => "epochs and tokens",
            },
            epochs.ceil(),
        )));
    }
    Ok(())
}

/// Nothing dealt out, every source where its `offset` says. Refused where that is after a run that did not read the same in
/// the same order.
pub fn beginning(config: &Config, sources: &Sources) -> Result<Dealt> {
    let mut dealt = config.data.untouched();
    for (i, source) in config.data.mixture.iter().enumerate() {
        let samples = match &source.offset {
            None => continue,
            Some(Offset::Tokens(tokens)) => tokens / sources.seq_len() as u64,
            Some(Offset::After(run)) => position_after(run, &source.name, &sources.list()[i])?,
        };
        dealt.passed.resize(sources.list().len(), 0);
        dealt.passed[i] = samples;
    }
    Ok(dealt)
}

/// Where the newest checkpoint of a run stands in the same order.
fn position_after(run: &str, name: &str, wanted: &Source) -> Result<u64> {
    let kept =
        Kept::newest(Path::new(run)).map_err(|e| e.within(&format!("offset of the source {name:?}")))?;
    let same = |source: &Source| source.order.is_that_of(&wanted.order);
    match kept.sources.list().iter().position(same) {
        Some(source) => Ok(kept.account()?.dealt.position(source)),
        None => Err(Error::refused(format!(
            "the source {name:?} shall begin after {run}, which has not read it in the same order: contents, data.seed, \
             data.seq_len and data.validation_fraction must be the same; give the offset in tokens instead"
        ))),
    }
}
