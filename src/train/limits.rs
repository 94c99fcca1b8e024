//! How much each source of a mixture may give, and where it begins.
use super::kept::newest;
use super::standings::standings_of;
use crate::config::{Config, MixtureSource, Offset, WhenEmpty};
use crate::data::{Dealt, LeftOut, Order, Shares, Sources};
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
    let seq_len = order.seq_len() as u64;
    let epochs = source.epochs.or(once.then_some(1.0)).map(|epochs| {
        // Written in decimals: 0.1 of 30 windows are 3.
        let windows = epochs * order.windows() as f64 + 1e-6;
        let tokens = (windows * (order.epoch_tokens() / order.windows()) as f64) as u64;
        let (position, end) = (origin.position(i), tokens.saturating_sub(origin.shift(i)) / seq_len);
        let ahead = position..end.max(position);
        origin.taken[i] + (ahead.end - ahead.start) - left_out.count(order, ahead)
    });
    let before = origin.rest.get(i).copied().unwrap_or(0);
    let tokens = source.tokens.map(|tokens| tokens.0.saturating_sub(before) / seq_len);
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
        let epochs = epochs_at(origin, (i, order), due);
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

/// How often source `i` was gone through where it has given so many samples since the order began.
pub fn epochs_at(origin: &Dealt, (i, order): (usize, &Order), given: f64) -> f64 {
    let passed = (origin.position(i) - origin.taken[i]) as f64;
    (origin.shift(i) as f64 + (given + passed) * order.seq_len() as f64) / order.epoch_tokens() as f64
}

/// Nothing dealt out, every source where its `offset` says. Refused where that is after a run that did not read the same in
/// the same order.
pub fn beginning(config: &Config, sources: &Sources) -> Result<Dealt> {
    let at = (0..sources.list().len()).map(|i| Ok((begin(config, sources, i)?, 0)));
    Ok(Dealt::standing(&at.collect::<Result<Vec<_>>>()?, sources.seq_len() as u64, 0))
}

/// The token of its order at which source `i` begins. Refused where the source ends before it.
pub fn begin(config: &Config, sources: &Sources, i: usize) -> Result<u64> {
    let (Some(source), seq_len) = (config.data.mixture.get(i), sources.seq_len() as u64) else {
        return Ok(0);
    };
    let order = &sources.list()[i].order;
    let token = match &source.offset {
        None => return Ok(0),
        Some(Offset::Tokens(tokens)) => tokens / seq_len * seq_len,
        Some(Offset::After(run)) => position_after(run, &source.name, order)?,
    };
    let epochs = source.epochs.unwrap_or(1.0).max(1.0);
    if source.when_empty != WhenEmpty::Repeat && token as f64 >= epochs * order.epoch_tokens() as f64 {
        return Err(Error::refused(format!(
            "data.mixture[{i}] ({:?}) shall begin at token {token}, and ends at token {} (an epoch of it has {}): lower its \
             offset, or say how often it may be read (epochs)",
            source.name,
            (epochs * order.epoch_tokens() as f64) as u64,
            order.epoch_tokens()
        )));
    }
    Ok(token)
}

/// Where the newest checkpoint of a run stands in the same order.
fn position_after(run: &str, name: &str, wanted: &Order) -> Result<u64> {
    let of_source = |e: Error| e.within(&format!("offset of the source {name:?}"));
    let (dir, manifest) = newest(Path::new(run)).map_err(of_source)?;
    let standings = standings_of(&manifest, &dir, None).map_err(of_source)?;
    match standings.iter().find(|standing| standing.key == wanted.key()) {
        Some(standing) => Ok(standing.position),
        None => Err(Error::refused(format!(
            "the source {name:?} shall begin after {run}, which has not read it in the same order: contents, data.seed, \
             data.window (by default data.seq_len) and data.validation_fraction must be the same; give the offset in tokens \
             instead"
        ))),
    }
}
