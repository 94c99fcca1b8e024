//! What every step of a run reads, of those that were taken and those that are planned: a function of the shares that held
//! in each part of the run, which the newest checkpoint carries.
use super::deal::Deal;
use super::kept::Kept;
use super::limits;
use super::lineage::settle_seeds;
use super::progress::Earlier;
use super::run_config::CONFIG;
use super::skip::left_out;
use super::source::OpenModel;
use super::sources::{open_sources, tokenizer_path};
use super::takeover::first_sample;
use crate::checkpoint::{Disk, Fingerprints, MANIFEST, list_steps};
use crate::config::{Budget, Config};
use crate::data::{Cursor, Dealt, LeftOut, Shares, Sources, Turn};
use crate::schedule::BatchPlan;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The data of a run, step by step.
pub struct History {
    sources: Sources,
    batch: BatchPlan,
    /// Position in the data at step 0.
    first_sample: u64,
    /// In order; the last one goes on.
    chapters: Vec<Chapter>,
    /// Steps that the newest checkpoint has taken.
    taken: u64,
    steps: u64,
    tokenizer: Option<PathBuf>,
}

/// A part of a run with shares of its own.
struct Chapter {
    /// Step before which it begins.
    from: u64,
    shares: Shares,
    left_out: Vec<LeftOut>,
}

impl Chapter {
    /// The position before a sample of the run.
    fn at(&self, sources: &Sources, sample: u64) -> Cursor {
        if self.left_out.iter().all(LeftOut::is_empty) {
            return self.shares.seek(sample);
        }
        let mut cursor = self.shares.at(self.shares.origin().clone());
        while cursor.dealt().sample < sample {
            sources.turn(&self.shares, &self.left_out, &mut cursor);
        }
        cursor
    }
}

impl History {
    /// Of a run directory or one of its steps, or of a configuration, whose run has not begun.
    pub fn open(path: &Path, sets: &[String]) -> Result<Self> {
        let config = path.join(CONFIG);
        let kept = if path.join(MANIFEST).exists() {
            Kept::step(path)?
        } else if !path.is_dir() {
            return Self::planned(Config::load(Some(path), sets)?);
        } else if config.exists() && list_steps(&Disk, path)?.is_empty() {
            return Self::planned(Config::load(Some(&config), sets)?);
        } else {
            Kept::newest(path)?
        };
        match sets.first() {
            None => Self::of_run(kept),
            Some(set) => Err(Error::refused(format!(
                "--set {set}: {} has begun, and goes on under another plan by `rewarm resume --override` only; name its \
                 configuration to see another one",
                path.display()
            ))),
        }
    }

    /// Of a run that would be begun with this configuration.
    fn planned(mut config: Config) -> Result<Self> {
        let source = config.start.as_ref().map(|start| OpenModel::open(&start.from)).transpose()?;
        settle_seeds(&mut config, source.as_ref())?;
        let sizes = match (&source, config.model_config()?) {
            (Some(source), _) => source.config().clone(),
            (None, Some(sizes)) => sizes,
            (None, None) => return Err(Error::refused("no model: name a preset, its sizes, or start.from")),
        };
        let seq_len = config.seq_len(&sizes)?;
        let sources = open_sources(&config, seq_len)?;
        let corpus = format!("{:032x}", sources.fingerprint());
        let before = source.as_ref().and_then(OpenModel::manifest);
        let fingerprints = Fingerprints { corpus, ..Fingerprints::default() };
        let sample = first_sample(&config, seq_len, &fingerprints, before)?;
        let deal = Deal::start(&config, &sources, sample, before.map(|manifest| &manifest.state))?;
        let tokenizer = tokenizer_path(&config, &sources, source.as_ref())?;
        Self::of_deal(&config, sources, deal, (sample, 0), tokenizer)
    }

    /// Of a run whose newest checkpoint this is.
    fn of_run(Kept { dir, state, config, sources }: Kept) -> Result<Self> {
        let deal = Deal::resume(&config, &sources, &state)?;
        let first =
            state.sample.saturating_sub(config.batch.plan(sources.seq_len()).samples_before(state.step));
        let own = dir.join("tokenizer.json");
        let tokenizer = if own.exists() { Some(own) } else { tokenizer_path(&config, &sources, None)? };
        Self::of_deal(&config, sources, deal, (first, state.step), tokenizer)
    }

    fn of_deal(
        config: &Config,
        sources: Sources,
        deal: Deal,
        (first_sample, taken): (u64, u64),
        tokenizer: Option<PathBuf>,
    ) -> Result<Self> {
        let seq_len = sources.seq_len();
        let chapter = |earlier: &Earlier| {
            let mut config = config.clone();
            config.train = Budget::Steps(earlier.steps);
            config.data.mixture.clone_from(&earlier.mixture);
            let left_out = left_out(&earlier.skip, &sources)?;
            let until = limits::end_of(&config, &sources, &earlier.origin);
            let origin = earlier.origin.clone();
            let shares = limits::shares(&config, &sources, &left_out, earlier.from, origin, until)?;
            Ok(Chapter { from: earlier.from, shares, left_out })
        };
        let mut chapters = deal.earlier.iter().map(chapter).collect::<Result<Vec<_>>>()?;
        chapters.push(Chapter { from: deal.from, shares: deal.shares, left_out: deal.left_out });
        let (batch, steps) = (config.batch.plan(seq_len), config.total_steps(seq_len));
        Ok(Self { sources, batch, first_sample, chapters, taken, steps, tokenizer })
    }

    /// What is read.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Steps of the newest checkpoint, and of the whole run.
    pub fn steps(&self) -> (u64, u64) {
        (self.taken, self.steps)
    }

    /// The tokenizer of the run, where it has one.
    pub fn tokenizer(&self) -> Option<&Path> {
        self.tokenizer.as_deref()
    }

    /// What the rows of a step read, in order; the first step is 1, as in the log.
    pub fn rows(&self, step: u64) -> Result<Vec<Turn>> {
        if step == 0 || step > self.steps {
            return Err(Error::refused(format!(
                "step {step} was asked for; the run has the steps 1 to {}, as its log counts them",
                self.steps
            )));
        }
        let chapter = self.chapter(step - 1)?;
        let mut cursor = chapter.at(&self.sources, self.sample(step - 1));
        let turn = |_| self.sources.turn(&chapter.shares, &chapter.left_out, &mut cursor);
        Ok((0..self.batch.sequences(step - 1)).map(turn).collect())
    }

    /// What the sources have given after so many steps, since the order of their data began.
    pub fn given(&self, steps: u64) -> Result<Dealt> {
        if steps > self.steps {
            return Err(Error::refused(format!(
                "step {steps} was asked for, and the run has {} steps; give at most that, or a longer train.steps",
                self.steps
            )));
        }
        let chapter = self.chapter(steps.saturating_sub(1))?;
        Ok(chapter.at(&self.sources, self.sample(steps)).dealt().clone())
    }

    /// Calls `seen` with every step and row of the run that reads one of these windows of a source, and with the sample
    /// that it is. `windows` are sorted.
    pub fn readers(
        &self,
        source: usize,
        windows: &[u64],
        mut seen: impl FnMut(u64, u64, u64) -> Result<()>,
    ) -> Result<()> {
        let order = &self.sources.list()[source].order;
        let (mut epoch, mut wanted) = (None, Vec::new());
        for (i, chapter) in self.chapters.iter().enumerate() {
            let end = self.chapters.get(i + 1).map_or(self.steps, |next| next.from);
            let mut cursor = chapter.shares.at(chapter.shares.origin().clone());
            for step in chapter.from..end {
                for row in 0..self.batch.sequences(step) {
                    let turn = self.sources.turn(&chapter.shares, &chapter.left_out, &mut cursor);
                    if turn.source != source {
                        continue;
                    }
                    let now = turn.sample / order.windows();
                    if epoch != Some(now) {
                        epoch = Some(now);
                        wanted = windows.iter().map(|window| order.sample_of(now, *window)).collect();
                        wanted.sort_unstable();
                    }
                    if wanted.binary_search(&turn.sample).is_ok() {
                        seen(step + 1, row, turn.sample)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The sample of the run with which a step, counted from 0, begins.
    fn sample(&self, step: u64) -> u64 {
        self.first_sample + self.batch.samples_before(step)
    }

    /// The part of the run that a step, counted from 0, is in.
    fn chapter(&self, step: u64) -> Result<&Chapter> {
        self.chapters.iter().rfind(|chapter| chapter.from <= step).ok_or_else(|| {
            Error::refused(format!(
                "the shares of the sources were changed after step {}, and a version of rewarm that kept no account of that \
                 saved the run: what its first steps read is not known; name a step directory from before",
                self.chapters[0].from
            ))
        })
    }
}
