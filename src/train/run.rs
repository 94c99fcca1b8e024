//! The loop: evaluate, step, log, save. It owns the step counter; everything else is a function of it.
use super::choices;
use super::display::Display;
use super::evaluate::EvalResult;
use super::metrics::StepMetrics;
use super::session::Session;
use super::step::{Issued, Micro, StepResult, finish_step, issue_step, prepare_step};
use crate::checkpoint::{Disk, Snapshot, save};
use crate::data::Batch;
use crate::ops::Update;
use crate::optim::AdamSettings;
use crate::schedule::{Quantities, Schedule, Settings};
use crate::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Skipped updates in a row after which a run gives up.
const SKIPS_MAX: u32 = 3;
/// Failed saves in a row after which a run gives up.
const SAVE_FAILURES_MAX: u32 = 3;

/// Keys of [`crate::checkpoint::RunState::extra`].
const SKIPPED: &str = "skipped_samples";
pub(super) const FEEDBACK: &str = "feedback";

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps taken in all.
    pub step: u64,
    /// Loss of the last step's batch.
    pub loss: Option<f64>,
    /// The last evaluation of every set.
    pub evaluations: Vec<EvalResult>,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
}

/// A step between being issued and finished.
struct InFlight {
    issued: Issued,
    started: Instant,
    settings: Settings,
    tokens: usize,
}

#[derive(Serialize)]
struct EvalLine<'a> {
    step: u64,
    #[serde(flatten)]
    result: &'a EvalResult,
}

impl Session {
    /// Trains to the end, or until `stop` is set: then the finished step is saved and [`Error::Stopped`] returned.
    pub fn run(mut self, stop: &Arc<AtomicBool>) -> Result<Summary> {
        let mut display = Display::new(self.state.step, self.quantities.steps);
        let (mut batch, mut in_flight) = (Batch::default(), VecDeque::new());
        let (mut loss, mut skips, mut save_failures) = (None, 0, 0);
        let mut evaluations = Vec::new();
        self.prepare();
        if self.state.step == 0 {
            evaluations = self.evaluate(&display)?;
        }
        let mut saved = None;
        while self.state.step < self.quantities.steps {
            let ahead = in_flight.len() as u64;
            in_flight.push_back(self.issue(ahead, &mut batch)?);
            let step = self.state.step + ahead + 1;
            let (last, stopping) = (step == self.quantities.steps, stop.load(Ordering::Relaxed));
            let evaluates =
                last || (self.config.eval.every > 0 && step.is_multiple_of(self.config.eval.every));
            let saves = last || stopping || step.is_multiple_of(self.config.checkpoint.every);
            let alone = evaluates || saves || self.schedule.looks_back();
            let most = if alone { 0 } else { self.ops.steps_in_flight() };
            while in_flight.len() > most {
                let result = self.finish(in_flight.pop_front().expect("more than none"), &mut display)?;
                loss = Some(result.loss);
                skips = if result.applied { 0 } else { skips + 1 };
                if skips == SKIPS_MAX {
                    return Err(self.not_finite(result));
                }
            }
            if evaluates {
                evaluations = self.evaluate(&display)?;
            }
            if saves {
                match self.save(&display) {
                    Ok(dir) => (saved, save_failures) = (Some(dir), 0),
                    Err(e) if last || stopping || save_failures + 1 == SAVE_FAILURES_MAX => return Err(e),
                    Err(e) => {
                        save_failures += 1;
                        display.line(&format!("warning: step {step} was not saved: {e}"));
                    }
                }
            }
            if stopping && !last {
                display.finish();
                return Err(Error::Stopped { step });
            }
        }
        display.finish();
        let checkpoint =
            saved.unwrap_or_else(|| self.config.run_dir.join(crate::checkpoint::step_name(self.state.step)));
        Ok(Summary { step: self.state.step, loss, evaluations, checkpoint })
    }

    /// All that is repeated is prepared before any of it is computed: what a device refuses it refuses here.
    fn prepare(&mut self) {
        let (model, ops, ws) = (&self.model, &mut *self.ops, &self.workspace);
        self.evaluations.iter().for_each(|evaluation| evaluation.prepare(model, ops, ws));
        let sequences = self.quantities.batch.sequences(self.state.step) as usize;
        prepare_step(model, ops, ws, sequences, self.config.batch.micro, self.mixture.sources().seq_len());
    }

    /// Issues the step that comes `ahead` steps after the last one that was finished.
    fn issue(&mut self, ahead: u64, batch: &mut Batch) -> Result<InFlight> {
        let started = Instant::now();
        let step = self.state.step + ahead;
        let settings = self.settings_of(&self.schedule, &self.quantities, step);
        let sample = self.first_sample + self.quantities.batch.samples_before(step);
        assert_eq!(self.mixture.dealt().sample, sample, "steps read the data in order");
        self.mixture.fill(settings.sequences, self.model.config.vocab_size as u32, batch)?;
        let time = self.mixture.sources().seq_len();
        let input =
            Micro { tokens: &batch.tokens, targets: &batch.targets, time, batch: self.config.batch.micro };
        let Settings { lr, decay_scale, betas, .. } = settings;
        let adam = AdamSettings { betas, ..self.config.optim.adam() };
        let update = Update { adam, lr, decay_scale, seed: self.state.seed, step };
        let issued = issue_step(&self.model, &mut *self.ops, &self.workspace, input, &self.params, update);
        Ok(InFlight { issued, started, settings, tokens: batch.tokens.len() })
    }

    /// Waits for a step, and writes its line in the log.
    fn finish(&mut self, step: InFlight, display: &mut Display) -> Result<StepResult> {
        let InFlight { issued, started, settings, tokens } = step;
        let result = finish_step(&mut *self.ops, issued)?;
        // While it was waiting for its predecessor it was not computed.
        let began = self.finished.map_or(started, |finished| finished.max(started));
        self.finished = Some(Instant::now());
        self.learn(&result);
        self.state.step += 1;
        self.state.applied += u64::from(result.applied);
        self.state.sample += settings.sequences as u64;
        self.state.tokens += tokens as u64;
        self.set_extra("lr", json!(settings.lr));
        let time = self.mixture.sources().seq_len();
        let tokens_per_s = tokens as f64 / began.elapsed().as_secs_f64();
        let metrics = StepMetrics {
            step: self.state.step,
            tokens: self.state.tokens,
            loss: result.loss,
            grad_norm: result.norm,
            grad_norm_l1: result.norm_l1,
            lr: settings.lr,
            scheduled: self.quantities.varying(&settings),
            tokens_per_s,
            gflop_per_s: tokens_per_s * self.model.config.flops_per_token(time) / 1e9,
            applied: result.applied,
        };
        self.metrics.log(&metrics)?;
        display.step(&metrics);
        self.keep_choices()?;
        Ok(result)
    }

    /// What step `step` is set to under a plan.
    pub(super) fn settings_of(&self, schedule: &Schedule, quantities: &Quantities, step: u64) -> Settings {
        let at = self.counted(schedule, quantities, step);
        quantities.settings(step, at, schedule.lr_after(at, &self.feedback), schedule.peak())
    }

    /// What a schedule counts, at step `step`: samples, in steps of the final size of the batch.
    fn counted(&self, schedule: &Schedule, Quantities { batch, .. }: &Quantities, step: u64) -> f64 {
        batch.full_steps(schedule.counter.count(batch.samples_before(step), self.skipped()))
    }

    /// Samples of this run's steps whose update was not made.
    fn skipped(&self) -> u64 {
        self.state.extra[SKIPPED].as_u64().unwrap_or(0)
    }

    /// Keeps, for checkpoints too, what the schedule looks back at.
    fn learn(&mut self, result: &StepResult) {
        if !result.applied {
            let samples = self.quantities.batch.sequences(self.state.step);
            self.set_extra(SKIPPED, json!(self.skipped() + samples));
        } else if self.schedule.feedback.is_some() {
            let step = self.counted(&self.schedule, &self.quantities, self.state.step);
            self.schedule.observe(step, result.loss, &mut self.feedback);
            self.set_extra(FEEDBACK, json!(self.feedback));
        }
    }

    /// Writes down the algorithms of matrix products when there are new ones: in the first steps. A device that
    /// chooses nothing leaves those of an earlier device alone.
    fn keep_choices(&mut self) -> Result<()> {
        let choices = self.ops.choices();
        if choices.device.is_empty() || choices == self.choices {
            return Ok(());
        }
        choices::keep(&choices, &self.config.run_dir)?;
        self.choices = choices;
        Ok(())
    }

    pub(super) fn set_extra(&mut self, key: &str, value: Value) {
        if !self.state.extra.is_object() {
            self.state.extra = json!({});
        }
        self.state.extra[key] = value;
    }

    fn evaluate(&mut self, display: &Display) -> Result<Vec<EvalResult>> {
        let mut results = Vec::new();
        self.log_sources()?;
        for evaluation in &self.evaluations {
            let result = evaluation.run(&self.model, &mut *self.ops, &self.workspace)?;
            self.metrics.log(&EvalLine { step: self.state.step, result: &result })?;
            let bytes = result.bits_per_byte.map_or(String::new(), |b| format!("  {b:.4} bits/byte"));
            display.line(&format!(
                "step {}  {}: loss {:.4}  perplexity {:.2}{bytes}",
                self.state.step, result.eval, result.loss, result.perplexity
            ));
            results.push(result);
        }
        Ok(results)
    }

    fn save(&mut self, display: &Display) -> Result<PathBuf> {
        self.keep_deal();
        let flat = self.ops.state()?;
        let snapshot = Snapshot {
            config: &self.model.config,
            table: &self.model.table,
            w: &flat.w,
            m: &flat.m,
            v: &flat.v,
            ema: flat.ema.as_deref(),
            state: &self.state,
            base_config: self.base_config.as_ref(),
            extra_files: &self.extra_files,
        };
        let saved = save(&Disk, &self.config.run_dir, &snapshot, self.config.checkpoint.keep)?;
        if let Some(warning) = saved.warning {
            display.line(&format!("warning: {warning}"));
        }
        display.line(&format!("saved {}", saved.dir.display()));
        Ok(saved.dir)
    }

    fn not_finite(&self, result: StepResult) -> Error {
        Error::failed(format!(
            "loss {} and gradient norm {} at step {}: {SKIPS_MAX} updates in a row were skipped; nothing after the \
             last checkpoint was saved. Resume from it with a smaller learning rate (a new phase), or look at \
             samples {}..{}",
            result.loss,
            result.norm,
            self.state.step,
            self.first_sample + self.quantities.batch.samples_before(self.state.step - u64::from(SKIPS_MAX)),
            self.state.sample
        ))
    }
}
