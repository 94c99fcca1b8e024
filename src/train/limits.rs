//! How much each source of a mixture may give, and where it begins.
use super::kept::Kept;
use crate::config::{Config, MixtureSource, Offset, WhenEmpty};
use crate::data::{Dealt, Shares, Source, Sources};
use crate::{Error, Result};
use std::path::Path;

/// The shares of a configuration, those of a source that has given all that it may being the others'.
pub fn shares(config: &Config, sources: &Sources, from: u64, origin: Dealt) -> Result<Shares> {
    let shares = config.shares(sources.seq_len(), from, origin)?;
    let others = |(source, limit): (&MixtureSource, Option<u64>)| {
        limit.filter(|_| source.when_empty == WhenEmpty::Others)
    };
    let limits: Vec<_> = limited(config, sources).map(others).collect();
    if limits.iter().all(Option::is_none) { Ok(shares) } else { shares.limited(&limits) }
}

/// Every source of a mixture and how many samples it may give.
fn limited<'a>(
    config: &'a Config,
    sources: &'a Sources,
) -> impl Iterator<Item = (&'a MixtureSource, Option<u64>)> {
    let of = |(source, opened): (&'a MixtureSource, &Source)| {
        (source, source.limit(opened.order.seq_len(), opened.order.windows()))
    };
    config.data.mixture.iter().zip(sources.list()).map(of)
}

/// Refuses a run up to sample `end` of its data that reads more of a source than it may: where it says how much that is, or,
/// of a `new` run, more than once.
pub fn check(config: &Config, sources: &Sources, shares: &Shares, end: u64, new: bool) -> Result<()> {
    if let Some(last) = shares.exhausted().filter(|last| *last < end) {
        return Err(Error::refused(format!(
            "the sources of data.mixture have given all that they may after {last} samples, and the run takes {end}; raise \
             epochs or tokens of one, set when_empty = \"repeat\", or take fewer steps"
        )));
    }
    let seq_len = sources.seq_len() as u64;
    for (i, ((source, limit), due)) in limited(config, sources).zip(shares.due(end)).enumerate() {
        let Some(limit) = limit.filter(|_| source.when_empty == WhenEmpty::Refuse) else { continue };
        if due <= limit as f64 + 1e-6 || !(new || source.says_limit()) {
            continue;
        }
        let (windows, name) = (sources.list()[i].order.windows(), &source.name);
        let epochs = due / windows as f64;
        return Err(Error::refused(format!(
            "the run would take {} tokens of data.mixture[{i}] ({name:?}), which are {epochs:.2} epochs, and {}: give it a \
             smaller share, or say what is meant by epochs = {:.0}, by when_empty = \"repeat\" (read it again and again) or by \
             when_empty = \"others\" (what it lacks comes from the others)",
            due.ceil() as u64 * seq_len,
            if source.says_limit() {
                format!("it may give {} (epochs, tokens)", limit * seq_len)
            } else {
                format!("it holds {}", windows * seq_len)
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
            "the source {name:?} shall begin after {run}, which has not read it in the same order: contents, seed, \
             data.seq_len and data.validation_fraction must be the same; give the offset in tokens instead"
        ))),
    }
}
