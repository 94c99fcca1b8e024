//! How the samples of a run are dealt out to its sources: what is said, logged and kept of it, and how it goes on.
use super::account::account;
use super::limits;
use super::progress::{Account, Earlier};
use super::run_config::saved_config;
use super::session::Session;
use super::skip::left_out;
use super::sources::open_sources;
use crate::checkpoint::RunState;
use crate::config::{Config, Data};
use crate::data::{Cursor, Dealt, LeftOut, Shares, Source, Sources};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

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
}

impl Deal {
    /// Of a run whose step 0 is at sample `sample` of the data: 0, or the position in `before`.
    pub fn start(config: &Config, sources: &Sources, sample: u64, before: Option<&RunState>) -> Result<Self> {
        let begins = limits::beginning(config, sources)?;
        let origin = match before.filter(|_| sample > 0) {
            None => begins,
            Some(_) if !begins.passed.is_empty() => {
                return Err(Error::refused(
                    "data.mixture[].offset and start.data = \"continue\" both say where the data begin; remove one",
                ));
            }
            Some(before) => account(before, sources, &config.batch.plan(sources.seq_len()))?.dealt,
        };
        Self::at(config, sources, 0, origin, Vec::new())
    }

    /// Of a run that goes on from `state`. Under the shares it had, what was dealt out is computed again, and must be what
    /// the checkpoint says; other shares, and another `data.skip`, begin here.
    pub fn resume(config: &Config, sources: &Sources, state: &RunState) -> Result<Self> {
        let seq_len = sources.seq_len();
        let Account { from, origin, dealt, mut earlier } =
            account(state, sources, &config.batch.plan(seq_len))?;
        let left_out = left_out(&config.data.skip, sources)?;
        let until = limits::end_of(config, sources, &origin);
        let shares = limits::shares(config, sources, &left_out, from, origin.clone(), until)?;
        if !sources.are_mixed() && config.data.skip.is_empty() && dealt.passed.is_empty() {
            // The next sample is the next of the order.
            return Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier });
        }
        let before = saved_config(&state.run_config, &config.run_dir, &[])?;
        if before.data.skip != config.data.skip
            || limits::shares(&before, sources, &left_out, from, origin.clone(), until)? != shares
        {
            if from < state.step {
                let steps = before.total_steps(seq_len);
                let Data { mixture, skip, .. } = before.data;
                earlier.push(Earlier { from, origin, steps, mixture, skip });
            }
            return Self::at(config, sources, state.step, dealt, earlier);
        }
        let taken = shares.seek(state.sample).dealt().taken.clone();
        if taken != dealt.taken {
            return Err(Error::refused(format!(
                "the sources have given {taken:?} samples by their shares and {:?} in the checkpoint; resume with the rewarm \
                 that wrote it",
                dealt.taken
            )));
        }
        Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier })
    }

    fn at(
        config: &Config,
        sources: &Sources,
        from: u64,
        dealt: Dealt,
        earlier: Vec<Earlier>,
    ) -> Result<Self> {
        let left_out = left_out(&config.data.skip, sources)?;
        let until = limits::end_of(config, sources, &dealt);
        let shares = limits::shares(config, sources, &left_out, from, dealt.clone(), until)?;
        Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier })
    }
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
        let whole = self.mixture.left_out().iter().all(LeftOut::is_empty)
            && self.plan.earlier.is_empty()
            && dealt.passed.is_empty();
        if self.mixture.sources().are_mixed() || !whole {
            let (from, earlier) = (self.plan.shares_from, self.plan.earlier.clone());
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
            let tokens = dealt.taken[i] * order.seq_len() as u64;
            (name.clone(), Given { tokens, epochs: dealt.position(i) as f64 / order.windows() as f64 })
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

/// The sources of a configuration, as a run of it would use them from the beginning of their data. Refused where they
/// cannot be opened.
pub fn source_uses(config: &Config, seq_len: usize) -> Result<Vec<SourceUse>> {
    let sources = open_sources(config, seq_len)?;
    let left_out = left_out(&config.data.skip, &sources)?;
    let beginning = limits::beginning(config, &sources)?;
    let end = config.batch.plan(seq_len).samples_before(config.total_steps(seq_len));
    let shares = limits::shares(config, &sources, &left_out, 0, beginning, end)?;
    Ok(uses(&sources, &shares, end))
}

/// Of a run that ends at sample `end` of its data.
fn uses(sources: &Sources, shares: &Shares, end: u64) -> Vec<SourceUse> {
    let origin = shares.origin();
    let samples = (end - origin.sample).max(1) as f64;
    let mut uses = Vec::new();
    for (i, (source, due)) in sources.list().iter().zip(shares.due(end)).enumerate() {
        let (corpus, before) = (source.order.corpus(), origin.taken[i]);
        let passed = origin.position(i) - before;
        uses.push(SourceUse {
            name: sources.are_mixed().then(|| source.name.clone()),
            tokens: corpus.tokens(),
            documents: corpus.documents(),
            epochs: (due + passed as f64) / source.order.windows() as f64,
            share: (due - before as f64) / samples,
        });
    }
    uses
}
