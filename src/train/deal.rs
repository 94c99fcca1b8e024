//! How the samples of a run are dealt out to its sources: what is said, logged and kept of it, and how it goes on.
use super::account::account;
use super::limits;
use super::progress::{Account, Earlier};
use super::run_config::{SavedKeys, saved_config};
use super::session::Session;
use super::skip::left_out;
use super::source::OpenModel;
use super::sources::open_sources;
use super::standings::{GoesOn, check_order, go_on, standings, standings_of};
use super::takeover::goes_on;
use crate::checkpoint::Manifest;
use crate::config::{Config, Data};
use crate::data::{Cursor, Dealt, LeftOut, Shares, Source, Sources, Standing};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The shares of the sources, and a position among them.
pub struct Deal {
    /// Step at which the shares begin.
    pub from: u64,
    /// They are functions of the step from there on.
    pub shares: Shares,
    /// What each source leaves out from there on.
    pub left_out: Vec<LeftOut>,
    /// After the last step that was finished.
    pub cursor: Cursor,
    /// The shares before these.
    pub earlier: Vec<Earlier>,
    /// The sources before that are no longer there.
    pub dropped: Vec<Standing>,
    /// How these sources go on from those of a phase before, or from other ones.
    pub goes_on: Option<GoesOn>,
}

impl Deal {
    /// Of a new run, whose sources begin where they are said to, or go on.
    pub fn start(config: &Config, sources: &mut Sources, going: Option<GoesOn>) -> Result<Self> {
        let origin = match &going {
            None => limits::beginning(config, sources)?,
            Some(going) => going.dealt.clone(),
        };
        let dropped = going.as_ref().map_or(Vec::new(), |going| going.dropped.clone());
        Ok(Self { dropped, goes_on: going, ..Self::at(config, sources, 0, origin, Vec::new())? })
    }

    /// Of a run that goes on from the checkpoint in `dir`. Under the shares it had, what was dealt out is computed again, and
    /// must be what the checkpoint says; other shares, another `data.skip` and other sources begin here.
    pub fn resume(
        config: &Config,
        sources: &mut Sources,
        (manifest, dir): (&Manifest, &Path),
    ) -> Result<Self> {
        let (state, seq_len) = (&manifest.state, sources.seq_len());
        let count = SavedKeys::of(&state.run_config)?.data.mixture.len().max(1);
        let account = account(state, count, config.batch.plan(seq_len).samples_before(state.step))?;
        if state.fingerprints.corpus != format!("{:032x}", sources.fingerprint()) {
            return Self::with_other_sources(config, sources, (manifest, dir), account);
        }
        let noted = standings_of(manifest, dir, Some(sources))?;
        sources.list().iter().zip(&noted).try_for_each(|(source, noted)| check_order(source, noted))?;
        let dropped: Vec<_> = noted.into_iter().skip(count).collect();
        let Account { from, origin, dealt, mut earlier } = account;
        sources.begin(&dealt);
        let left_out = left_out(&config.data, sources)?;
        let until = limits::end_of(config, sources, &origin);
        let shares = limits::shares(config, sources, &left_out, from, origin.clone(), until)?;
        let goes_on = None;
        if !sources.are_mixed() && config.data.skip.is_empty() && dealt.passed.is_empty() {
            // The next sample is the next of the order.
            return Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier, dropped, goes_on });
        }
        let before = saved_config(&state.run_config, &config.run_dir, &[])?;
        if before.data.skip != config.data.skip
            || limits::shares(&before, sources, &left_out, from, origin.clone(), until)? != shares
        {
            if from < state.step {
                earlier.push(ended(&before, from, origin, seq_len));
            }
            return Ok(Self { dropped, ..Self::at(config, sources, state.step, dealt, earlier)? });
        }
        let taken = shares.seek(state.sample).dealt().taken.clone();
        if taken != dealt.taken {
            return Err(Error::refused(format!(
                "the sources have given {taken:?} samples by their shares and {:?} in the checkpoint; resume with the rewarm \
                 that wrote it",
                dealt.taken
            )));
        }
        Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier, dropped, goes_on })
    }

    /// Known sources go on where they are, new ones begin, and the account of all others is kept.
    fn with_other_sources(
        config: &Config,
        sources: &mut Sources,
        (manifest, dir): (&Manifest, &Path),
        account: Account,
    ) -> Result<Self> {
        let state = &manifest.state;
        let going =
            go_on(sources, standings_of(manifest, dir, None)?, |i| limits::begin(config, sources, i))?;
        if going.dealt.sample != state.sample {
            return Err(Error::refused(format!(
                "the sources of the checkpoint have given {} samples, and the run is at {}; use the rewarm that wrote it",
                going.dealt.sample, state.sample
            )));
        }
        let before = saved_config(&state.run_config, &config.run_dir, &[])?;
        let Account { from, origin, mut earlier, .. } = account;
        if from < state.step {
            earlier.push(ended(&before, from, origin, sources.seq_len()));
        }
        for chapter in earlier.iter_mut().filter(|chapter| chapter.corpus.is_none()) {
            chapter.corpus = Some(state.fingerprints.corpus.clone());
            chapter.train.clone_from(&before.data.train);
        }
        let deal = Self::at(config, sources, state.step, going.dealt.clone(), earlier)?;
        Ok(Self { dropped: going.dropped.clone(), goes_on: Some(going), ..deal })
    }

    fn at(
        config: &Config,
        sources: &mut Sources,
        from: u64,
        dealt: Dealt,
        earlier: Vec<Earlier>,
    ) -> Result<Self> {
        sources.begin(&dealt);
        let left_out = left_out(&config.data, sources)?;
        let until = limits::end_of(config, sources, &dealt);
        let shares = limits::shares(config, sources, &left_out, from, dealt.clone(), until)?;
        let cursor = shares.at(dealt);
        Ok(Self { from, cursor, shares, left_out, earlier, dropped: Vec::new(), goes_on: None })
    }
}

/// The shares of a configuration that held from a step on, of the sources that are there.
fn ended(before: &Config, from: u64, origin: Dealt, seq_len: usize) -> Earlier {
    let steps = before.total_steps(seq_len);
    let Data { mixture, skip, .. } = before.data.clone();
    Earlier { from, origin, steps, mixture, skip, corpus: None, train: Vec::new() }
}

/// What the sources of a mixture have given since the order of their data began.
#[derive(Serialize)]
struct SourcesLine {
    step: u64,
    sources: BTreeMap<String, Given>,
}

#[derive(Serialize)]
struct Given {
    tokens: u64,
    epochs: f64,
}

impl Session {
    /// What the next checkpoint carries of the mixture: nothing where there is one source, and all of it was read. No step
    /// is in flight.
    pub(super) fn keep_deal(&mut self) {
        let (origin, dealt) = (self.mixture.shares().origin().clone(), self.mixture.dealt().clone());
        let Dealt { passed, shift, rest, elsewhere, .. } = &dealt;
        let whole = self.mixture.left_out().iter().all(LeftOut::is_empty)
            && self.plan.earlier.is_empty()
            && self.plan.dropped.is_empty()
            && [passed, shift, rest].into_iter().all(Vec::is_empty)
            && *elsewhere == 0;
        if self.mixture.sources().are_mixed() || !whole {
            let (from, earlier) = (self.plan.shares_from, self.plan.earlier.clone());
            let dropped = self.plan.dropped.iter().cloned();
            self.progress.standings = standings(self.mixture.sources(), &dealt);
            self.progress.standings.extend(dropped);
            self.progress.mixture = Some(Account { from, origin, dealt, earlier });
        }
    }

    /// What every source of a mixture has given; no step is in flight.
    pub(super) fn log_sources(&mut self) -> Result<()> {
        let sources = self.mixture.sources();
        if !sources.are_mixed() {
            return Ok(());
        }
        let dealt = self.mixture.dealt();
        let given = sources.list().iter().enumerate().map(|(i, Source { name, order })| {
            let seq_len = order.seq_len() as u64;
            let epochs = dealt.token(i, seq_len) as f64 / order.epoch_tokens() as f64;
            (name.clone(), Given { tokens: dealt.given(i, seq_len), epochs })
        });
        let line = SourcesLine { step: self.state.step, sources: given.collect() };
        self.metrics.log(&line)
    }

    /// A line per source: what it holds, how far the run goes in it, and of a mixture the shares that are planned.
    pub(super) fn describe_sources(&self) -> String {
        let plan = &self.plan.quantities.batch;
        let end =
            self.plan.first_sample + plan.samples_before(self.plan.quantities.steps.max(self.state.step));
        let (sources, shares) = (self.mixture.sources(), self.mixture.shares());
        uses(sources, shares, end).iter().map(|used| used.to_string() + "\n").collect()
    }
}

/// What a run takes of one source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceUse {
    /// Of the mixture; none where there is one source.
    pub name: Option<String>,
    /// What it holds, held-out documents included.
    pub tokens: u64,
    /// The same in documents.
    pub documents: u64,
    /// How often what is trained on has been read when the run ends, since the order of the data began.
    pub epochs: f64,
    /// Its part of the samples of the run.
    pub share: f64,
}

impl fmt::Display for SourceUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, tokens, documents, epochs, share } = self;
        let held = format!("{tokens} tokens in {documents} documents, {epochs:.3} epochs");
        match name {
            Some(name) => write!(f, "{name}: {held}, {:.2} % of the run", 100.0 * share),
            None => f.write_str(&held),
        }
    }
}

/// The sources of a configuration, as a new run of it would use them, from `source` where it starts from one; and why it would
/// be refused, where it reads more of one than it may. Refused where they cannot be opened.
pub fn source_uses(
    config: &Config,
    seq_len: usize,
    source: Option<&OpenModel>,
) -> Result<(Vec<SourceUse>, Option<Error>)> {
    let mut sources = open_sources(config, seq_len)?;
    let going = goes_on(config, &sources, source)?;
    let Deal { shares, left_out, cursor, .. } = Deal::start(config, &mut sources, going)?;
    let end = cursor.dealt().sample + config.batch.plan(seq_len).samples_before(config.total_steps(seq_len));
    let refusal = limits::check(config, &sources, (&shares, &left_out), end, true).err();
    Ok((uses(&sources, &shares, end), refusal))
}

/// Of a run that ends at sample `end` of its data.
fn uses(sources: &Sources, shares: &Shares, end: u64) -> Vec<SourceUse> {
    let origin = shares.origin();
    let samples = (end - origin.sample).max(1) as f64;
    let mut uses = Vec::new();
    for (i, (source, due)) in sources.list().iter().zip(shares.due(end)).enumerate() {
        let (corpus, before) = (source.order.corpus(), origin.taken[i]);
        uses.push(SourceUse {
            name: sources.are_mixed().then(|| source.name.clone()),
            tokens: corpus.tokens(),
            documents: corpus.documents(),
            epochs: limits::epochs_at(origin, (i, &source.order), due),
            share: (due - before as f64) / samples,
        });
    }
    uses
}
