//! A run from the moment its configuration is valid: everything that can be refused is refused here, before
//! the first step.
use super::branch::first_sample;
use super::choices;
use super::evaluate::Evaluation;
use super::metrics::{Metrics, replace};
use super::replan::{self, CONFIG, Resumed, resumed_config, wanted_config};
use super::run::FEEDBACK;
use super::source::Source;
use crate::backend::{self, MemoryPlan};
use crate::checkpoint::{
    Buffers, Disk, Fingerprints, Manifest, RunLock, RunState, clean, create_run_dir, find_newest, is_fresh,
    list_steps, read_tokenizer_files,
};
use crate::config::{Config, HELDOUT, Optim, OptimizerStart};
use crate::data::{Corpus, Order, Side, Split, TextTokenizer};
use crate::device::{DeviceName, GemmChoices};
use crate::model::{Model, ModelConfig, Purpose, Workspace, initialize};
use crate::ops::{AdamParam, Ops, Shape};
use crate::optim::{assign, decay_by_depth};
use crate::schedule::{FeedbackState, Quantities, Schedule};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

/// A run that is ready to take its next step.
pub struct Session {
    pub(super) config: Config,
    pub(super) model: Model,
    pub(super) workspace: Workspace,
    pub(super) ops: Box<dyn Ops>,
    pub(super) order: Order,
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) params: Vec<AdamParam>,
    pub(super) schedule: Schedule,
    /// What else is scheduled.
    pub(super) quantities: Quantities,
    /// Position in the data at step 0.
    pub(super) first_sample: u64,
    /// What a schedule that looks at the loss remembers.
    pub(super) feedback: FeedbackState,
    pub(super) state: RunState,
    /// `config.json` of an imported model, whose unknown keys are kept.
    pub(super) base_config: Option<Value>,
    /// Tokenizer files that go into every checkpoint.
    pub(super) extra_files: Vec<(String, Vec<u8>)>,
    pub(super) metrics: Metrics,
    /// What was allocated.
    pub memory: MemoryPlan,
    /// Algorithms of matrix products as they were written down.
    pub(super) choices: GemmChoices,
    /// When the last step was finished.
    pub(super) finished: Option<Instant>,
    _lock: RunLock,
}

/// What a session is made of before memory is spent on it.
pub(super) struct Parts {
    config: Config,
    model: Model,
    pub(super) order: Order,
    evaluations: Vec<Evaluation>,
    pub(super) schedule: Schedule,
    pub(super) quantities: Quantities,
    fingerprints: Fingerprints,
    extra_files: Vec<(String, Vec<u8>)>,
}

/// What a resume may change beside what cannot change a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allow {
    /// Matrix products may be computed by other algorithms than before.
    pub retune: bool,
    /// Rates, decays, betas and the length of the run may be others from here on.
    pub replan: bool,
}

impl Session {
    /// Starts a new phase in a run directory that holds none.
    pub fn start(config: Config) -> Result<Self> {
        let source = config.start.as_ref().map(|s| Source::open(&s.from)).transpose()?;
        let keep = config.start.as_ref().is_some_and(|s| s.optimizer == OptimizerStart::Keep);
        if let Some(Source::HuggingFace { dir, .. }) = source.as_ref().filter(|_| keep) {
            return Err(Error::refused(format!(
                "start.optimizer is \"keep\", and the Hugging Face directory {} has no optimizer state; set \
                 start.optimizer = \"reset\", or start from a rewarm checkpoint",
                dir.display()
            )));
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
        let previous = source.as_ref().and_then(|s| s.manifest()).and_then(|m| m.state.extra["lr"].as_f64());
        let parts = Parts::open(config, model_config, source.as_ref(), previous)?;
        let before = source.as_ref().and_then(|s| s.manifest());
        let lock = claim(&parts.config.run_dir)?;
        if !is_fresh(&Disk, &parts.config.run_dir)? {
            return Err(Error::refused(format!(
                "{} already holds a run; continue it with `rewarm resume {0}`, or choose another run_dir",
                parts.config.run_dir.display()
            )));
        }
        let seq_len = parts.order.seq_len();
        let sample = first_sample(&parts.config, seq_len, &parts.fingerprints, before)?;
        let state = RunState {
            step: 0,
            // Bias correction belongs to the moments.
            applied: before.filter(|_| keep).map_or(0, |m| m.state.applied),
            sample,
            tokens: 0,
            seed: parts.config.seed,
            run_id: run_id(),
            parent: source.as_ref().map(|s| s.dir().display().to_string()),
            run_config: parts.config.to_json(),
            fingerprints: parts.fingerprints.clone(),
            extra: before.map_or(Value::Null, |m| json!({ "previous_lr": m.state.extra["lr"] })),
        };
        let base = source.as_ref().map(|s| s.raw_config().clone());
        let (init, seed) = (parts.config.model.init, parts.config.seed);
        Self::allocate(parts, state, base, lock, true, |model, ops| {
            ops.adopt(&choices::cached(&ops.choices().device))?;
            ops.load_state(&mut |w, m, v| match &source {
                Some(source) => source.load(&model.table, Buffers { w, moments: keep.then_some((m, v)) }),
                None => {
                    initialize(&model.config, &model.table, init, seed, w);
                    Ok(())
                }
            })
        })
    }

    /// Continues a run exactly from its newest valid checkpoint. `sets` may change only what cannot change a
    /// result, and what `allow` names.
    pub fn resume(run_dir: &Path, sets: &[String], allow: Allow) -> Result<Self> {
        newest_manifest(run_dir)?; // before the lock: a mistyped path is not to be written to
        let lock = RunLock::acquire(run_dir)?;
        clean(&Disk, run_dir)?;
        let source = Source::newest(run_dir)?;
        let manifest = source.manifest().ok_or_else(|| Error::refused("a run's step has a manifest"))?;
        let mut state = manifest.state.clone();
        let Resumed { config, before } = resumed_config(&state, run_dir, sets, allow.replan)?;
        state.run_config = config.to_json();
        let previous = state.extra["previous_lr"].as_f64();
        let parts = Parts::open(config, manifest.model.clone(), Some(&source), previous)?;
        state.fingerprints.check(&parts.fingerprints)?;
        if let Some(before) = &before {
            replan::check(before, &parts, state.step, previous)?;
        }
        let base = Some(source.raw_config().clone());
        let choices = match parts.config.device {
            DeviceName::Cuda(_) if !allow.retune => choices::of_run(run_dir)?,
            _ => GemmChoices::default(),
        };
        // Overrides last: the next resume finds them in the file.
        let mut session =
            Self::allocate(parts, state, base, lock, !sets.is_empty() || before.is_some(), |model, ops| {
                ops.adopt(&choices)?;
                ops.load_state(&mut |w, m, v| source.load(&model.table, Buffers { w, moments: Some((m, v)) }))
            })?;
        session.choices = choices;
        if let Some(before) = &before {
            session.announce(before, previous)?;
            replan::accept(run_dir, &session.state)?;
        }
        Ok(session)
    }

    /// Memory, then weights, and only when those are there the files of the run: what is refused on the way
    /// leaves no trace of a run. The configuration is written where `configure` says so.
    fn allocate(
        parts: Parts,
        state: RunState,
        base_config: Option<Value>,
        lock: RunLock,
        configure: bool,
        load: impl FnOnce(&Model, &mut dyn Ops) -> Result<()>,
    ) -> Result<Self> {
        let Parts { config, model, order, evaluations, schedule, quantities, extra_files, .. } = parts;
        let shape = Shape { batch: config.batch.micro, time: order.seq_len() };
        let purpose = Purpose::Train(config.recompute);
        let workspace = Workspace::new(&model.config, shape, config.head.chunk_rows, purpose);
        let (device, sizes, table) = (config.device, &model.config, &model.table);
        let memory = backend::memory_plan(device, sizes, table, &workspace, rayon::current_num_threads());
        let mut ops = backend::open(device, sizes, table, &workspace)?;
        load(&model, &mut *ops)?;
        ops.set_applied(state.applied);
        let params = params(&model, &config.optim)?;
        if configure {
            replace(&config.run_dir.join(CONFIG), config.resolved_toml().as_bytes())?;
        }
        let metrics = Metrics::open(&config.run_dir.join(crate::checkpoint::LOG), state.step)?;
        let feedback = feedback_of(&state)?;
        Ok(Self {
            config,
            model,
            workspace,
            ops,
            order,
            evaluations,
            params,
            schedule,
            // The sizes of steps may not change in a run: no less were taken than they say.
            first_sample: state.sample - quantities.batch.samples_before(state.step),
            quantities,
            feedback,
            state,
            base_config,
            extra_files,
            metrics,
            memory,
            choices: GemmChoices::default(),
            finished: None,
            _lock: lock,
        })
    }

    /// The number of threads that a run will be resumed with.
    pub fn threads_of(run_dir: &Path, sets: &[String]) -> Result<usize> {
        let manifest = newest_manifest(run_dir)?;
        wanted_config(&manifest.state.run_config, run_dir, sets).map(|config| config.threads)
    }

    /// What is about to be computed, for a person.
    pub fn describe(&self) -> String {
        let (c, b) = (&self.model.config, &self.config.batch);
        let data = self.order.corpus();
        format!(
            "{} parameters, {} steps of {} sequences of {} tokens ({} at once), {} threads\n\
             {} tokens in {} documents, {:.3} epochs\n{}",
            c.parameters(),
            self.quantities.steps,
            b.sequences,
            self.order.seq_len(),
            b.micro,
            rayon::current_num_threads(),
            data.tokens(),
            data.documents(),
            self.quantities.batch.samples_before(self.quantities.steps) as f64 / self.order.windows() as f64,
            self.memory
        )
    }

    /// The model that is trained.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Steps of the whole run, and those already taken.
    pub fn progress(&self) -> (u64, u64) {
        (self.quantities.steps, self.state.step)
    }

    /// Where the run lives.
    pub fn run_dir(&self) -> &Path {
        &self.config.run_dir
    }
}

impl Parts {
    fn open(
        config: Config,
        sizes: ModelConfig,
        source: Option<&Source>,
        previous: Option<f64>,
    ) -> Result<Self> {
        let time = config.seq_len(&sizes)?;
        let (schedule, quantities) = (config.compile_schedule(time, previous)?, config.quantities(time)?);
        let corpus = Arc::new(Corpus::open(&config.data.train)?);
        let extra_files = tokenizer_files(&config, &corpus, source)?;
        let tokenizer = check_tokenizer(&extra_files, &corpus, sizes.vocab_size)?;
        let split = Split { fraction: config.data.validation_fraction, seed: config.seed };
        let side = if split.fraction > 0.0 { Side::Train } else { Side::All };
        let order = Order::new(corpus.clone(), side, split, time, config.seed)?;
        let mut evaluations = Vec::new();
        let sequences = config.eval.sequences;
        if split.fraction > 0.0 {
            evaluations.push(Evaluation::new(
                HELDOUT,
                corpus.clone(),
                Side::Validation,
                split,
                time,
                sequences,
            )?);
        }
        for set in &config.data.validation {
            let corpus = Arc::new(Corpus::open(&set.paths)?);
            evaluations.push(Evaluation::new(&set.name, corpus, Side::All, Split::NONE, time, sequences)?);
        }
        let model_json =
            serde_json::to_vec(&sizes).map_err(|e| Error::failed(format!("model sizes: {e}")))?;
        let fingerprints = Fingerprints {
            model: format!("{:032x}", xxh3_128(&model_json)),
            tokenizer,
            corpus: format!("{:032x}", corpus.fingerprint()),
        };
        let model = Model::new(sizes);
        Ok(Self { config, model, order, evaluations, schedule, quantities, fingerprints, extra_files })
    }
}

/// What the schedule remembers: nothing, in a run that has not begun or whose schedule looks at nothing.
fn feedback_of(state: &RunState) -> Result<FeedbackState> {
    match state.extra.get(FEEDBACK) {
        None => Ok(FeedbackState::default()),
        Some(value) => FeedbackState::deserialize(value).map_err(|e| {
            Error::refused(format!(
                "the checkpoint's state of the schedule cannot be read: {e}; use the rewarm that wrote it"
            ))
        }),
    }
}

/// The settings of every tensor; refused where nothing is trained.
fn params(model: &Model, optim: &Optim) -> Result<Vec<AdamParam>> {
    let mut params = assign(&model.table, &optim.groups, optim.weight_decay);
    decay_by_depth(&model.table, optim.layer_decay, &mut params);
    if params.iter().all(AdamParam::is_frozen) {
        return Err(Error::refused(
            "optim.groups sets lr_mult = 0 on every tensor, and nothing is left to train; leave some out, or use \
             `rewarm eval` to only evaluate",
        ));
    }
    Ok(params)
}

/// Creates and locks a run directory and clears what interrupted saves left.
fn claim(run_dir: &Path) -> Result<RunLock> {
    create_run_dir(&Disk, run_dir)?;
    let lock = RunLock::acquire(run_dir)?;
    clean(&Disk, run_dir)?;
    Ok(lock)
}

/// The newest manifest of a run that can be read; refused where there is none.
fn newest_manifest(run_dir: &Path) -> Result<Manifest> {
    if !run_dir.is_dir() {
        return Err(Error::refused(format!(
            "{} is not a directory; expected a run directory",
            run_dir.display()
        )));
    }
    let steps = list_steps(&Disk, run_dir)?;
    match steps.into_iter().find_map(|(_, dir)| Manifest::read(&Disk, &dir).ok()) {
        Some(manifest) => Ok(manifest),
        None => find_newest(&Disk, run_dir).map(|found| found.manifest), // it says what is wrong
    }
}

/// The tokenizer's files: of the configured tokenizer, of the model started from, or of the data.
fn tokenizer_files(
    config: &Config,
    corpus: &Corpus,
    source: Option<&Source>,
) -> Result<Vec<(String, Vec<u8>)>> {
    if let Some(path) = &config.data.tokenizer {
        let text = std::fs::read(path).map_err(Error::input("read", path))?;
        return Ok(vec![("tokenizer.json".into(), text)]);
    }
    if let Some(source) = source {
        return read_tokenizer_files(source.dir());
    }
    let noted = corpus.tokenized()?.into_iter().next().flatten().is_some();
    let beside = corpus.shards().first().and_then(|s| s.path().parent()).map(Path::to_path_buf);
    match beside {
        Some(dir) if noted => {
            let files = read_tokenizer_files(&dir)?;
            Ok(files.into_iter().filter(|f| f.0 == "tokenizer.json").collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// Refuses a tokenizer with ids that the model does not have, and data made with another tokenizer. Gives the
/// tokenizer's fingerprint, empty without one.
fn check_tokenizer(files: &[(String, Vec<u8>)], corpus: &Corpus, vocab: usize) -> Result<String> {
    let infos: Vec<_> = corpus.tokenized()?.into_iter().flatten().collect();
    for info in &infos {
        if info.vocab_size as usize > vocab {
            return Err(Error::refused(format!(
                "the data were made with a tokenizer of {} tokens, the model has a vocabulary of {vocab}; use data \
                 made with the model's tokenizer, or a model with model.vocab_size >= {0}",
                info.vocab_size
            )));
        }
    }
    let Some((_, json)) = files.iter().find(|f| f.0 == "tokenizer.json") else { return Ok(String::new()) };
    let tokenizer = TextTokenizer::from_json(json.clone())?;
    tokenizer.check_fits(vocab as u32)?;
    infos.iter().try_for_each(|info| info.check_tokenizer(&tokenizer))?;
    Ok(format!("{:032x}", tokenizer.hash()))
}

/// A name for the run: time and process, hashed.
fn run_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:016x}", xxh3_128(format!("{now:?} {}", std::process::id()).as_bytes()) as u64)
}
