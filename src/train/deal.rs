//! How the samples of a run are dealt out to its sources: what is said, logged and kept of it, and how it goes on.
use super::progress::{Account, Progress};
use super::run_config::saved_config;
use super::session::Session;
use super::sources::open_sources;
use crate::checkpoint::RunState;
use crate::config::Config;
use crate::data::{Cursor, Dealt, Shares, Source, Sources};
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
    /// After the last step that was finished.
    pub cursor: Cursor,
}

impl Deal {
    /// Of a run whose step 0 is at sample `sample` of the data: 0, or the position in `before`.
    pub fn start(config: &Config, seq_len: usize, sample: u64, before: Option<&RunState>) -> Result<Self> {
        let origin = match before.filter(|_| sample > 0) {
            None => config.data.untouched(),
            Some(before) => account(before, config.data.untouched().taken.len())?.dealt,
        };
        Self::at(config, seq_len, 0, origin)
    }

    /// Of a run that goes on from `state`. Under the shares it had, what was dealt out is computed again, and must be what
    /// the checkpoint says; other shares begin here.
    pub fn resume(config: &Config, seq_len: usize, state: &RunState) -> Result<Self> {
        let sources = config.data.untouched().taken.len();
        let Account { from, origin, dealt } = account(state, sources)?;
        if sources == 1 {
            return Self::at(config, seq_len, from, dealt);
        }
        let shares = config.shares(seq_len, from, origin.clone())?;
        let before = saved_config(&state.run_config, &config.run_dir, &[])?;
        if before.shares(seq_len, from, origin)? != shares {
            return Self::at(config, seq_len, state.step, dealt);
        }
        let cursor = shares.seek(state.sample);
        if *cursor.dealt() != dealt {
            return Err(Error::refused(format!(
                "the sources have given {:?} samples by their shares and {:?} in the checkpoint; resume with the rewarm \
                 that wrote it",
                cursor.dealt().taken,
                dealt.taken
            )));
        }
        Ok(Self { from, shares, cursor })
    }

    fn at(config: &Config, seq_len: usize, from: u64, dealt: Dealt) -> Result<Self> {
        let shares = config.shares(seq_len, from, dealt.clone())?;
        let cursor = shares.at(dealt);
        Ok(Self { from, shares, cursor })
    }
}

/// What a checkpoint says was dealt out to so many sources; one needs no account of its own.
fn account(state: &RunState, sources: usize) -> Result<Account> {
    let RunState { step, sample, .. } = *state;
    if sources == 1 {
        let dealt = Dealt { sample, taken: vec![sample] };
        return Ok(Account { from: step, origin: dealt.clone(), dealt });
    }
    let fits = |dealt: &Dealt| {
        let sum: u128 = dealt.taken.iter().map(|taken| u128::from(*taken)).sum();
        dealt.taken.len() == sources && sum == u128::from(dealt.sample) && dealt.sample <= sample
    };
    let why = match Progress::read(state)?.mixture {
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
    /// What the next checkpoint carries of the mixture: nothing where there is one source. No step is in flight.
    pub(super) fn keep_deal(&mut self) {
        if self.mixture.sources().are_mixed() {
            let (origin, dealt) = (self.mixture.shares().origin().clone(), self.mixture.dealt().clone());
            self.progress.mixture = Some(Account { from: self.plan.shares_from, origin, dealt });
        }
    }

    /// What every source of a mixture has given; no step is in flight.
    pub(super) fn log_sources(&mut self) -> Result<()> {
        let sources = self.mixture.sources();
        if !sources.are_mixed() {
            return Ok(());
        }
        let given = sources.list().iter().zip(&self.mixture.dealt().taken).map(|(source, taken)| {
            let Source { name, order } = source;
            let tokens = taken * order.seq_len() as u64;
            (name.clone(), Given { tokens, epochs: *taken as f64 / order.windows() as f64 })
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
    let samples = (end - shares.origin().sample).max(1) as f64;
    let mut uses = Vec::new();
    for ((source, before), due) in sources.list().iter().zip(&shares.origin().taken).zip(shares.due(end)) {
        let corpus = source.order.corpus();
        uses.push(SourceUse {
            name: sources.are_mixed().then(|| source.name.clone()),
            tokens: corpus.tokens(),
            documents: corpus.documents(),
            epochs: due / source.order.windows() as f64,
            share: (due - *before as f64) / samples,
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
        let read = |sample, extra| super::account(&state(sample, extra), 2);
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
        assert_eq!(super::account(&state(24, Value::Null), 1).unwrap().dealt.taken, [24]);
    }
}
