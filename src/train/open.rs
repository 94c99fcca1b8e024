//! A run from the moment its configuration is valid: everything that can be refused is refused here, before
//! the first step.
use super::beginning::Beginning;
use super::choices;
use super::claim::{Claim, clear, newest_manifest};
use super::deal::Deal;
use super::evaluations::tell_unknown;
use super::left::TimeLeft;
use super::limits;
use super::lineage::{self, settle_seeds, usage_before, usage_before_run, usage_of};
use super::metrics::{Metrics, has_evaluations};
use super::parts::Parts;
use super::prepare::{check_tokens, params, run_id, settle_chunk_rows};
use super::progress::Progress;
use super::replan::{self, Resumed, resumed_config};
use super::rewind::{go_back, step_to_go_back_to};
use super::run_config::{CONFIG, wanted_config};
use super::session::{Carried, Clock, Plan, Session};
use super::source::OpenModel;
use super::sources::{keep_tokenizer, resumed_fingerprint, settle_weights, tell_packing, weights_name};
use super::takeover::{check_optimizer, goes_on, tell_precision, tell_taken};
use crate::backend;
use crate::checkpoint::{RunLock, RunState, load_tensors};
use crate::config::Config;
use crate::data::Mixture;
use crate::device::{self, Device, DeviceName};
use crate::files::write_whole;
use crate::model::{Model, Purpose, Workspace, initialize};
use crate::ops::{Backend, GemmChoices, Part, Shape};
use crate::{Error, Result};
use serde_json::Value;
use std::time::Instant;

/// A device, none for the processor, or why there is none.
type Opened = Result<Option<Box<dyn Device>>>;

/// What a resume may change beside what cannot change a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allow {
    /// Matrix products may be computed by other algorithms than before.
    pub retune: bool,
    /// Rates, decays, betas and the length of the run may be others from here on, and so may shares of sources and what is
    /// left out of them.
    pub replan: bool,
    /// It goes on from this step, and what came after it is no longer part of the run.
    pub rewind: Option<u64>,
}

impl Session {
    /// Starts a new phase in a run directory that holds none.
    pub fn start(config: Config) -> Result<Self> {
        Self::start_with(config, device::open)
    }

    /// As [`Session::start`], on what `open` gives: how tests choose a device's memory.
    pub fn start_with(config: Config, open: impl FnOnce(DeviceName) -> Opened) -> Result<Self> {
        let source = config.start.as_ref().map(|start| OpenModel::open(&start.from)).transpose()?;
        Self::start_from(config, source, open)
    }

    /// As [`Session::start`], from what `start.from` names, which is open.
    pub(crate) fn start_from(
        mut config: Config,
        source: Option<OpenModel>,
        open: impl FnOnce(DeviceName) -> Opened,
    ) -> Result<Self> {
        let before = source.as_ref().and_then(OpenModel::manifest);
        let earlier = before.map(|m| Progress::read(&m.state)).transpose()?.unwrap_or_default();
        settle_seeds(&mut config, source.as_ref())?;
        config.settle_rates(earlier.lr)?;
        let claim = Claim::new(&config)?;
        let keep = config.keeps_moments();
        if let (Some(source), Some(start)) = (&source, &config.start) {
            check_optimizer(source, start.optimizer)?;
        }
        let model_config = match (&source, config.model_config()?) {
            (Some(source), _) => {
                let mut found = source.config().clone();
                found.gelu = config.model.gelu.unwrap_or(found.gelu);
                found
            }
            (None, Some(sizes)) => sizes,
            (None, None) => return Err(Error::refused("no model: name a preset, its sizes, or start.from")),
        };
        source.as_ref().map_or(Ok(()), |source| keep_tokenizer(&config, source))?;
        let mut parts = Parts::open(config, model_config, source.as_ref(), earlier.lr)?;
        let going = goes_on(&parts.config, &parts.sources, source.as_ref())?;
        let usage = usage_before(source.as_ref())?;
        lineage::check(&parts.config, &parts.sources, &parts.evaluations, &usage)?;
        let deal = Deal::start(&parts.config, &mut parts.sources, going)?;
        let sample = deal.cursor.dealt().sample;
        let end = sample + parts.quantities.batch.samples_before(parts.quantities.steps);
        limits::check(&parts.config, &parts.sources, (&deal.shares, &deal.left_out), end, true)?;
        // Random numbers go on with the moments, so that a branch rounds as the run would have.
        let chain_steps = before.filter(|_| keep).map_or(0, |m| earlier.chain_steps + m.state.step);
        let state = RunState {
            step: 0,
            // Bias correction belongs to the moments.
            applied: before.filter(|_| keep).map_or(0, |m| m.state.applied),
            sample,
            tokens: 0,
            seed: parts.config.seed,
            run_id: run_id()?,
            parent: source.as_ref().map(|s| s.dir().display().to_string()),
            run_config: Value::Null, // once it is settled
            fingerprints: parts.fingerprints.clone(),
            extra: Progress::after(earlier.lr, chain_steps, usage.clone()).to_json(),
        };
        tell_packing(&parts.sources)?;
        deal.goes_on.iter().for_each(|going| going.tell(&parts.sources, &usage));
        if let Some(source) = &source {
            tell_taken(source, &parts.config, &state, chain_steps, parts.tokenizer.as_ref());
            tell_precision(source, parts.config.precision, keep)?;
        }
        let base = source.as_ref().map(|s| s.raw_config().clone());
        let (init, seed, ema) = (parts.config.model.init, parts.config.seed, parts.config.ema);
        let how = (open, true, || claim.keep());
        let session = Self::allocate(parts, deal, state, base, how, |model, ops| {
            ops.adopt(&choices::cached(&ops.choices().device))?;
            match &source {
                Some(source) => source.load(&model.table, ops, keep)?,
                None => initialize(&model.config, &model.table, init, seed, ops)?,
            }
            let Some(decay) = ema else { return Ok(()) };
            ops.keep_ema(decay)?;
            match source.as_ref().filter(|source| keep && source.has_average()) {
                Some(source) => load_average(source, model, ops),
                None => Ok(()),
            }
        })?;
        session.tell_first_rates();
        Ok(session)
    }

    /// Continues a run exactly from its newest valid checkpoint. `sets` may change only what cannot change a
    /// result, and what `allow` names.
    pub fn resume(lock: RunLock, sets: &[String], allow: Allow) -> Result<Self> {
        let run_dir = &lock.run_dir().to_path_buf();
        newest_manifest(run_dir)?;
        clear(run_dir)?;
        let source = match allow.rewind {
            Some(step) => step_to_go_back_to(run_dir, step)?,
            None => OpenModel::newest(run_dir)?,
        };
        let manifest = source.manifest().ok_or_else(|| Error::refused("a run's step has a manifest"))?;
        let mut state = manifest.state.clone();
        let mut progress = Progress::read(&state)?;
        if progress.data_use.is_none() {
            progress.data_use = Some(usage_before_run(&state)?);
            state.extra = progress.to_json();
        }
        let previous = progress.previous_lr;
        let Resumed { config, before, reworded, other_data, corpus } =
            resumed_config(&state, run_dir, sets, allow.replan, previous)?;
        let mut parts = Parts::open(config, manifest.model.clone(), Some(&source), previous)?;
        let was = &mut state.fingerprints.tokenizer;
        *was = resumed_fingerprint(was, source.dir(), parts.tokenizer.as_ref())?;
        if other_data || corpus.as_ref() == Some(&parts.fingerprints.corpus) {
            // Other sources come with their weights.
            if state.fingerprints.corpus != parts.fingerprints.corpus && progress.loss_weights.is_some() {
                progress.loss_weights = weights_name(&parts.weights);
                state.extra = progress.to_json();
            }
            state.fingerprints.corpus.clone_from(&parts.fingerprints.corpus);
        }
        state.fingerprints.check(&parts.fingerprints)?;
        let deal = Deal::resume(&parts.config, &mut parts.sources, (manifest, source.dir()))?;
        let usage = progress.data_use.as_ref().expect("it was asked for");
        if let Some(going) = &deal.goes_on {
            lineage::check(&parts.config, &parts.sources, &parts.evaluations, usage)?;
            going.tell(&parts.sources, usage);
        } else if !sets.is_empty() {
            // Validation sets may be others now.
            lineage::check_evaluations(&parts.config, &parts.sources, &parts.evaluations, usage)?;
        }
        if let Some(before) = &before {
            replan::check(before, &parts, state.step, previous)?;
            let batch = &parts.quantities.batch;
            let end = state.sample + batch.samples_before(parts.quantities.steps)
                - batch.samples_before(state.step);
            limits::check(&parts.config, &parts.sources, (&deal.shares, &deal.left_out), end, false)?;
        }
        let base = Some(source.raw_config().clone());
        let choices = match parts.config.device {
            DeviceName::Cuda(_) if !allow.retune => choices::of_run(run_dir)?,
            _ => GemmChoices::default(),
        };
        let ema = parts.config.ema;
        // Overrides last: the next resume finds them in the file.
        let how = (device::open, !sets.is_empty() || before.is_some() || reworded, || {
            allow.rewind.map_or(Ok(()), |step| go_back(run_dir, step)).map(|()| lock)
        });
        let mut session = Self::allocate(parts, deal, state, base, how, |model, ops| {
            ops.adopt(&choices)?;
            source.load(&model.table, ops, true)?;
            let Some(decay) = ema else { return Ok(()) };
            ops.keep_ema(decay)?;
            load_average(&source, model, ops)
        })?;
        session.choices = choices;
        if let Some(before) = &before {
            session.announce(before, previous)?;
            replan::accept(run_dir, &session.state)?;
        }
        Ok(session)
    }

    /// Memory, then weights, and only when those are there the files of the run: what is refused on the way
    /// leaves no trace of a run. The configuration is written where `configure` says so, after `lock` has made the
    /// directory this run's.
    fn allocate(
        parts: Parts,
        deal: Deal,
        mut state: RunState,
        base_config: Option<Value>,
        (open, configure, lock): (impl FnOnce(DeviceName) -> Opened, bool, impl FnOnce() -> Result<RunLock>),
        load: impl FnOnce(&Model, &mut dyn Backend) -> Result<()>,
    ) -> Result<Self> {
        let Parts {
            mut config,
            mut model,
            sources,
            documents,
            weights,
            evaluations,
            schedule,
            quantities,
            extra_files,
            ..
        } = parts;
        let milestones = config.milestones(sources.seq_len(), &schedule);
        let evaluated = config.eval_steps(sources.seq_len())?;
        let mut progress = Progress::read(&state)?;
        settle_weights(&weights, state.step, &mut progress.loss_weights)?;
        check_tokens(&sources, &deal, quantities.batch.sequences(state.step), &evaluations, &model)?;
        let shape = Shape { batch: config.batch.micro, time: sources.seq_len() };
        let device = open(config.device)?;
        let chunk_rows = settle_chunk_rows(&mut config, &model, shape, device.as_deref())?;
        state.run_config = config.to_json();
        let workspace = Workspace::new(&model.config, shape, chunk_rows, Purpose::Train(config.recompute));
        let (sizes, table, threads) = (&model.config, &model.table, rayon::current_num_threads());
        let memory = backend::memory_plan(config.device, sizes, table, &workspace, threads);
        let mut ops = backend::on(config.device, device, sizes, table, &workspace)?;
        load(&model, &mut *ops)?;
        ops.set_applied(state.applied);
        let params = params(&model, &config.optim)?;
        model.freeze(&params);
        let lock = lock()?;
        if configure {
            write_whole(&config.run_dir.join(CONFIG), config.resolved_toml().as_bytes())?;
        }
        let log = config.run_dir.join(crate::checkpoint::LOG);
        let sets: Vec<&str> = evaluations.iter().map(|set| &set.name[..]).collect();
        progress.data_use.get_or_insert_default().extend(usage_of(&config, &sources, &evaluations));
        // What lies ahead is compared with what it is owed; of a run without steps ahead the log is enough.
        let is_logged = || state.step == quantities.steps && has_evaluations(&log, state.step, &sets);
        progress.owes_evaluation = state.step == 0 || (progress.owes_evaluation && !is_logged());
        tell_unknown(&evaluations, &progress.gaps, state.step);
        let beginning = Beginning::of(&config, &state);
        if let Some(beginning) = &beginning {
            beginning.tell(state.step, progress.start_weights.is_some(), evaluations.is_empty());
        }
        progress.tell_products(state.step, ops.multiplies_by());
        let metrics = Metrics::open(&log, state.step, progress.owes_evaluation)?
            .with_board(config.tensorboard, state.step)?;
        Ok(Self {
            config,
            model,
            workspace,
            ops,
            mixture: Mixture::new(sources, deal.shares, deal.left_out, deal.cursor)
                .with_documents(documents)
                .with_weights(weights),
            evaluations,
            beginning,
            params,
            plan: Plan {
                evaluated,
                milestones,
                schedule,
                // The sizes of steps may not change in a run: no less were taken than they say.
                first_sample: state.sample - quantities.batch.samples_before(state.step),
                quantities,
                shares_from: deal.from,
                earlier: deal.earlier,
                dropped: deal.dropped,
            },
            progress,
            saved: (state.step > 0).then_some(state.step),
            state,
            carried: Carried { base_config, extra_files },
            metrics,
            memory,
            choices: GemmChoices::default(),
            baselines: None,
            clock: Clock { finished: None, save_tried: Instant::now(), left: TimeLeft::default() },
            _lock: lock,
        })
    }

    /// The number of threads that a run will be resumed with.
    pub fn threads_of(lock: &RunLock, sets: &[String]) -> Result<usize> {
        let manifest = newest_manifest(lock.run_dir())?;
        wanted_config(&manifest.state.run_config, lock.run_dir(), sets).map(|config| config.threads)
    }
}

fn load_average(source: &OpenModel, model: &Model, ops: &mut dyn Backend) -> Result<()> {
    load_tensors(&source.open_tensors(&model.table, Part::Average)?, &model.table, ops, Part::Average)
}
