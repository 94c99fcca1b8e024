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
use super::takeover::goes_on;
use crate::checkpoint::{Disk, MANIFEST, list_steps};
use crate::config::{Budget, Config};
use crate::data::{Cursor, Dealt, LeftOut, Shares, Sources, Turn};
use crate::schedule::BatchPlan;
use crate::{Error, Result};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The data of a run, step by step.
pub struct History {
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

/// A part of a run with shares, or sources, of its own.
struct Chapter {
    /// Step before which it begins.
    from: u64,
    /// Refused where its data are no longer there.
    read: Result<Reading>,
}

/// What a part of a run reads.
pub struct Reading {
    /// Its sources.
    pub sources: Arc<Sources>,
    shares: Shares,
    left_out: Vec<LeftOut>,
}

impl Reading {
    /// The position before a sample of the run.
    fn at(&self, sample: u64) -> Cursor {
        if self.left_out.iter().all(LeftOut::is_empty) {
            return self.shares.seek(sample);
        }
        let mut cursor = self.shares.at(self.shares.origin().clone());
        while cursor.dealt().sample < sample {
            self.turn(&mut cursor);
        }
        cursor
    }

    fn turn(&self, cursor: &mut Cursor) -> Turn {
        self.sources.turn(&self.shares, &self.left_out, cursor)
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
        let mut sources = open_sources(&config, config.seq_len(&sizes)?)?;
        let going = goes_on(&config, &sources, source.as_ref())?;
        let deal = Deal::start(&config, &mut sources, going)?;
        let sample = deal.cursor.dealt().sample;
        let tokenizer = tokenizer_path(&config, &sources, source.as_ref())?;
        Self::of_deal(&config, sources, deal, (sample, 0), tokenizer)
    }

    /// Of a run whose newest checkpoint this is.
    fn of_run(Kept { dir, manifest, config, mut sources }: Kept) -> Result<Self> {
        let deal = Deal::resume(&config, &mut sources, (&manifest, &dir))?;
        let state = manifest.state;
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
        let (seq_len, sources) = (sources.seq_len(), Arc::new(sources));
        let chapter = |earlier: &Earlier| {
            let read = read_of(config, earlier, &sources);
            let gone = |e: Error| e.within(&format!("the data of the run from step {} on", earlier.from + 1));
            Chapter { from: earlier.from, read: read.map_err(gone) }
        };
        let mut chapters: Vec<Chapter> = deal.earlier.iter().map(chapter).collect();
        let Deal { from, shares, left_out, .. } = deal;
        chapters.push(Chapter { from, read: Ok(Reading { sources: sources.clone(), shares, left_out }) });
        let (batch, steps) = (config.batch.plan(seq_len), config.total_steps(seq_len));
        Ok(Self { batch, first_sample, chapters, taken, steps, tokenizer })
    }

    /// Steps of the newest checkpoint, and of the whole run.
    pub fn steps(&self) -> (u64, u64) {
        (self.taken, self.steps)
    }

    /// The tokenizer of the run, where it has one.
    pub fn tokenizer(&self) -> Option<&Path> {
        self.tokenizer.as_deref()
    }

    /// What the rows of a step read, in order, and of which sources; the first step is 1, as in the log.
    pub fn rows(&self, step: u64) -> Result<(&Sources, Vec<Turn>)> {
        if step == 0 || step > self.steps {
            return Err(Error::refused(format!(
                "step {step} was asked for; the run has the steps 1 to {}, as its log counts them",
                self.steps
            )));
        }
        let read = self.reading(step - 1)?;
        let mut cursor = read.at(self.sample(step - 1));
        let turns = (0..self.batch.sequences(step - 1)).map(|_| read.turn(&mut cursor)).collect();
        Ok((&read.sources, turns))
    }

    /// What the sources that are there after so many steps have given, since the order of their data began.
    pub fn given(&self, steps: u64) -> Result<(&Sources, Dealt)> {
        if steps > self.steps {
            return Err(Error::refused(format!(
                "step {steps} was asked for, and the run has {} steps; give at most that, or a longer train.steps",
                self.steps
            )));
        }
        let read = self.reading(steps.saturating_sub(1))?;
        Ok((&read.sources, read.at(self.sample(steps)).dealt().clone()))
    }

    /// Calls `seen` with the sources, the step and row, and the turn of every row of the run that reads a token of those that
    /// `wanted` gives of sources: of one of them by its number, at positions of its side.
    pub fn readers(
        &self,
        wanted: impl Fn(&Sources) -> Result<Option<(usize, Vec<Range<u64>>)>>,
        mut seen: impl FnMut(&Sources, u64, u64, Turn) -> Result<()>,
    ) -> Result<()> {
        for (i, chapter) in self.chapters.iter().enumerate() {
            let read = chapter.read.as_ref().map_err(again)?;
            let end = self.chapters.get(i + 1).map_or(self.steps, |next| next.from);
            let Some((source, positions)) = wanted(&read.sources)? else { continue };
            let order = &read.sources.list()[source].order;
            let mut samples = HashSet::new();
            let mut known = 0..0; // epochs whose samples are among them
            let mut cursor = read.shares.at(read.shares.origin().clone());
            for step in chapter.from..end {
                for row in 0..self.batch.sequences(step) {
                    let turn = read.turn(&mut cursor);
                    if turn.source != source {
                        continue;
                    }
                    let (first, last) = order.epochs_of(&(turn.sample..turn.sample + 1));
                    for epoch in first.max(known.end)..=last {
                        let of_epoch =
                            positions.iter().flat_map(|tokens| order.samples_of(epoch, tokens.clone()));
                        samples.extend(of_epoch.flatten());
                        known = first..epoch + 1;
                    }
                    if samples.contains(&turn.sample) {
                        seen(&read.sources, step + 1, row, turn)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The sources that any part of the run reads, the present ones first; not those whose data are no longer there.
    pub fn all_sources(&self) -> impl Iterator<Item = &Sources> {
        self.chapters.iter().rev().filter_map(|chapter| Some(&*chapter.read.as_ref().ok()?.sources))
    }

    /// The sample of the run with which a step, counted from 0, begins.
    fn sample(&self, step: u64) -> u64 {
        self.first_sample + self.batch.samples_before(step)
    }

    /// What the part of the run reads that a step, counted from 0, is in.
    fn reading(&self, step: u64) -> Result<&Reading> {
        let chapter = self.chapters.iter().rfind(|chapter| chapter.from <= step).ok_or_else(|| {
            Error::refused(format!(
                "the shares of the sources were changed after step {}, and a version of rewarm that kept no account of that \
                 saved the run: what its first steps read is not known; name a step directory from before",
                self.chapters[0].from
            ))
        })?;
        chapter.read.as_ref().map_err(again)
    }
}

fn again(error: &Error) -> Error {
    Error::refused(error.to_string())
}

/// What a part of a run that has ended read; `now` are the sources of the run, which it had unless it says so.
fn read_of(config: &Config, earlier: &Earlier, now: &Arc<Sources>) -> Result<Reading> {
    let mut config = config.clone();
    config.train = Budget::Steps(earlier.steps);
    config.data.mixture.clone_from(&earlier.mixture);
    config.data.skip.clone_from(&earlier.skip);
    let sources = match &earlier.corpus {
        None => now.clone(),
        Some(corpus) => {
            config.data.train.clone_from(&earlier.train);
            let mut sources = open_sources(&config, now.seq_len())?;
            if *corpus != format!("{:032x}", sources.fingerprint()) {
                return Err(Error::refused("its sources were replaced; restore them where they lay"));
            }
            sources.begin(&earlier.origin);
            Arc::new(sources)
        }
    };
    let left_out = left_out(&config.data, &sources)?;
    let (origin, until) = (earlier.origin.clone(), limits::end_of(&config, &sources, &earlier.origin));
    let shares = limits::shares(&config, &sources, &left_out, earlier.from, origin, until)?;
    Ok(Reading { sources, shares, left_out })
}
