//! A run between its steps: what it consists of.
use super::beginning::Beginning;
use super::evaluate::Evaluation;
use super::left::TimeLeft;
use super::metrics::Metrics;
use super::progress::{Earlier, Progress};
use crate::backend::MemoryPlan;
use crate::checkpoint::{RunLock, RunState};
use crate::config::{Config, EvalSteps, MilestoneSteps};
use crate::data::{Mixture, Standing};
use crate::model::{Model, Workspace};
use crate::ops::{AdamParam, Backend, GemmChoices};
use crate::schedule::{Quantities, Schedule};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What every step is, as a function of its number.
pub(super) struct Plan {
    /// The rate of every step.
    pub schedule: Schedule,
    /// What else is scheduled.
    pub quantities: Quantities,
    /// Position in the data at step 0.
    pub first_sample: u64,
    /// Step at which the mixture's shares begin.
    pub shares_from: u64,
    /// The shares before them.
    pub earlier: Vec<Earlier>,
    /// The sources before that are no longer there.
    pub dropped: Vec<Standing>,
    /// The steps that are evaluated.
    pub evaluated: EvalSteps,
    /// The steps whose checkpoints stay.
    pub milestones: MilestoneSteps,
}

/// What goes with the weights into every checkpoint.
pub(super) struct Carried {
    /// `config.json` of an imported model, whose unknown keys are kept.
    pub base_config: Option<Value>,
    /// The tokenizer's files, and those of the model started from.
    pub extra_files: Vec<(String, Vec<u8>)>,
}

/// When things were last done, in this process.
pub(super) struct Clock {
    /// The end of the last step.
    pub finished: Option<Instant>,
    /// When it was last tried to save one.
    pub save_tried: Instant,
    /// How long what lies ahead takes.
    pub left: TimeLeft,
}

/// A run that is ready to take its next step.
pub struct Session {
    pub(super) config: Config,
    pub(super) model: Model,
    pub(super) workspace: Workspace,
    pub(super) ops: Box<dyn Backend>,
    /// What is read next.
    pub(super) mixture: Mixture,
    pub(super) evaluations: Vec<Evaluation>,
    /// What weights are compared with at evaluations, where they are.
    pub(super) beginning: Option<Beginning>,
    pub(super) params: Vec<AdamParam>,
    pub(super) plan: Plan,
    /// Counts of what was done.
    pub(super) state: RunState,
    /// What else goes on from step to step.
    pub(super) progress: Progress,
    pub(super) carried: Carried,
    pub(super) metrics: Metrics,
    /// The bytes that the backend allocated, by kind.
    pub memory: MemoryPlan,
    /// Algorithms of matrix products as they were written down.
    pub(super) choices: GemmChoices,
    /// The step that is on disk.
    pub(super) saved: Option<u64>,
    pub(super) clock: Clock,
    /// Where evaluations before the first step are shared with other runs.
    pub(super) baselines: Option<PathBuf>,
    /// Held as long as the run lives.
    pub(super) _lock: RunLock,
}

impl Session {
    /// What is about to be computed, for a person.
    pub fn describe(&self) -> String {
        let (c, b) = (&self.model.config, &self.config.batch);
        format!(
            "{} parameters, {} steps of {} sequences of {} tokens ({} at once), {} threads, {} on {}{}\n\
             {}{}",
            c.parameters(),
            self.plan.quantities.steps,
            b.sequences,
            self.mixture.sources().seq_len(),
            b.micro,
            rayon::current_num_threads(),
            self.config.precision,
            self.config.device,
            self.progress.products.as_ref().map(|p| format!(", products by {p}")).unwrap_or_default(),
            self.describe_sources(),
            self.memory
        )
    }

    /// Says at what rates a new run begins.
    pub(super) fn tell_first_rates(&self) {
        const SHOWN: u64 = 3;
        let Plan { schedule, quantities, .. } = &self.plan;
        let rate = |step| format!("{:e}", self.settings_of(schedule, quantities, step).lr);
        let rates: Vec<String> = (0..quantities.steps.min(SHOWN)).map(rate).collect();
        log::info!("rates of the first steps: {}", rates.join(", "));
    }

    /// The model that is trained.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Whether every step was taken and everything is in the log.
    pub fn is_finished(&self) -> bool {
        self.state.step == self.plan.quantities.steps && !self.progress.owes_evaluation
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.plan.quantities.steps
    }

    /// Where the run lives.
    pub fn run_dir(&self) -> &Path {
        &self.config.run_dir
    }
}
