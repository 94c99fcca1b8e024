//! How the samples of a run are dealt out to its sources: what is said, logged and kept of it, and how it goes on.
use super::progress::{Account, Earlier, Progress};
use super::run_config::saved_config;
use super::session::Session;
use super::skip::left_out;
use super::sources::open_sources;
use crate::checkpoint::RunState;
use crate::config::{Config, Data};
use crate::data::{Cursor, Dealt, LeftOut, Shares, Source, Sources};
use crate::schedule::BatchPlan;
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
        let origin = match before.filter(|_| sample > 0) {
            None => config.data.untouched(),
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
        let shares = config.shares(seq_len, from, origin.clone())?;
        if !sources.are_mixed() && config.data.skip.is_empty() && dealt.passed.is_empty() {
            // The next sample is the next of the order.
            let left_out = vec![LeftOut::default()];
            return Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier });
        }
        let before = saved_config(&state.run_config, &config.run_dir, &[])?;
        if before.data.skip != config.data.skip || before.shares(seq_len, from, origin.clone())? != shares {
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
        let left_out = left_out(&config.data.skip, sources)?;
        Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier })
    }

    fn at(
        config: &Config,
        sources: &Sources,
        from: u64,
        dealt: Dealt,
        earlier: Vec<Earlier>,
    ) -> Result<Self> {
        let shares = config.shares(sources.seq_len(), from, dealt.clone())?;
        let left_out = left_out(&config.data.skip, sources)?;
        Ok(Self { from, cursor: shares.at(dealt), shares, left_out, earlier })
    }
}

/// What a checkpoint says was dealt out; one source that leaves nothing out needs no account of its own.
fn account(state: &RunState, sources: &Sources, batch: &BatchPlan) -> Result<Account> {
    read_account(state, sources.list().len(), batch.samples_before(state.step))
}

/// As [`account`], of a run of so many sources whose steps took `samples`.
fn read_account(state: &RunState, sources: usize, samples: u64) -> Result<Account> {
    let sample = state.sample;
    let fits = |dealt: &Dealt| {
        let sum: u128 = dealt.taken.iter().map(|taken| u128::from(*taken)).sum();
        let passed = dealt.passed.is_empty() || dealt.passed.len() == sources;
        dealt.taken.len() == sources && passed && sum == u128::from(dealt.sample) && dealt.sample <= sample
    };
    let why = match Progress::read(state)?.mixture {
        None if sources == 1 => {
            let at = |sample| Dealt { sample, taken: vec![sample], passed: Vec::new() };
            let (origin, dealt) = (at(sample.saturating_sub(samples)), at(sample));
            return Ok(Account { from: 0, origin, dealt, earlier: Vec::new() });
        }
        None => "there is none".into(),
        Some(saved) if !fits(&saved.origin) || !fits(&saved.dealt) || saved.dealt.sample < sample => {
            format!("it counts {:?} samples by source, and the run is at {sample}", saved.dealt.taken)
        }
        Some(saved) => return Ok(saved),
    };
    Err(Error::refused(format!(
        "the checkpoint's account of its {sources} sources cannot be used: {why}; use the rewarm that wrote it"
    )))
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
    let shares = config.shares(seq_len, 0, config.data.untouched())?;
    let end = config.batch.plan(seq_len).samples_before(config.total_steps(seq_len));
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

#[cfg(test)]
mod tests {
    use super::super::progress::tests::state;
    use serde_json::{Value, json};

    #[test]
    fn an_account_that_does_not_add_up_is_refused() {
        let account = |origin: [u64; 2], dealt: &[u64]| {
            let dealt = json!({ "sample": 24, "taken": dealt });
            json!({ "mixture": { "from": 1, "origin": { "sample": 8, "taken": origin }, "dealt": dealt } })
        };
        let read = |sample, extra| super::read_account(&state(sample, extra), 2, 24);
        let good = read(24, account([6, 2], &[17, 7])).unwrap();
        assert_eq!((good.from, good.dealt.taken), (1, vec![17, 7]));
        for (sample, extra) in [
            (24, Value::Null),
            (24, json!({ "lr": 1.0 })),
            (25, account([6, 2], &[17, 7])),
            (24, account([6, 2], &[17, 8])),
            (24, account([6, 3], &[17, 7])),
            (24, account([6, 2], &[24])),
            (24, account([6, 2], &[u64::MAX, 25])),
        ] {
            let error = read(sample, extra.clone()).err().unwrap_or_else(|| panic!("{extra} was taken"));
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains("account of its 2 sources"), "{error}");
        }
        let one = super::read_account(&state(24, Value::Null), 1, 16).unwrap();
        assert_eq!((one.origin.taken, one.dealt.taken), (vec![8], vec![24]));
    }
}
