//! The loop: evaluate, step, log, save. It owns the step counter; everything else is a function of it.
use super::choices;
use super::claim::STOP;
use super::display::Display;
use super::evaluate::EvalResult;
use super::left::Ahead;
use super::metrics::StepMetrics;
use super::progress::Progress;
use super::session::Session;
use super::step::{Issued, Micro, StepResult, finish_step, issue_step, prepare_step};
use crate::checkpoint::{Disk, Keep, Snapshot, save};
use crate::config::{Cadence, TimeSpan};
use crate::data::{Batch, Cursor};
use crate::ops::{AdamSettings, Update};
use crate::schedule::{Quantities, Schedule, Settings};
use crate::stop::{self, shell_word};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Skipped updates in a row after which a run gives up.
const SKIPS_MAX: u32 = 3;
/// Failed saves in a row after which a run gives up.
const SAVE_FAILURES_MAX: u32 = 3;

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps taken in all.
    pub step: u64,
    /// Loss of the last step's batch.
    pub loss: Option<f64>,
    /// The last evaluation of every set.
    pub evaluations: Vec<EvalResult>,
    /// The last checkpoint that was saved.
    pub checkpoint: PathBuf,
}

/// A step between being issued and finished.
struct InFlight {
    issued: Issued,
    started: Instant,
    settings: Settings,
    tokens: usize,
    /// How long it took to read them.
    read: Duration,
    /// Where the data were before it.
    cursor: Cursor,
}

impl Session {
    /// Trains to the end. Where a stop is requested meanwhile, the last step that was finished is saved and
    /// [`Error::Stopped`] returned.
    pub fn run(mut self) -> Result<Summary> {
        let _held = stop::hold();
        stop::listen_to_file(self.config.run_dir.join(STOP)); // there was none when the run was locked
        let mut display = Display::new(self.state.step, self.plan.quantities.steps);
        self.clock.save_tried = Instant::now();
        let ended = self.train(&mut display).map_err(|end| self.leave(end, &display));
        display.finish();
        self.remove_stop_file();
        ended
    }

    fn train(&mut self, display: &mut Display) -> Result<Summary> {
        let (mut batch, mut in_flight) = (Batch::default(), VecDeque::new());
        let (mut loss, mut skips, mut save_failures) = (None, 0, 0);
        let mut evaluations = Vec::new();
        self.prepare();
        if self.progress.owes_evaluation {
            evaluations = self.evaluate(display)?;
        }
        while self.state.step < self.plan.quantities.steps {
            let issued = stop::check().and_then(|()| self.issue(in_flight.len() as u64, &mut batch));
            let end = issued.map(|issued| in_flight.push_back(issued)).err();
            let step = self.state.step + in_flight.len() as u64;
            let last = step == self.plan.quantities.steps;
            let evaluates = self.plan.evaluated.has(step);
            let saves = last || self.save_is_due(step);
            let alone = evaluates || saves || end.is_some() || self.plan.schedule.looks_back();
            let most = if alone { 0 } else { self.ops.steps_in_flight() };
            while in_flight.len() > most {
                let result = self.finish(in_flight.pop_front().expect("more than none"), display)?;
                loss = Some(result.loss);
                skips = if result.applied { 0 } else { skips + 1 };
                if !result.applied {
                    self.say_skipped(&result, display);
                }
                if skips == SKIPS_MAX {
                    return Err(self.not_finite(&result));
                }
            }
            if let Some(end) = end {
                return Err(end);
            }
            if evaluates {
                evaluations = self.evaluate(display)?;
            }
            if saves {
                match self.save(display) {
                    Ok(_) => save_failures = 0,
                    Err(e) if last || save_failures + 1 == SAVE_FAILURES_MAX => return Err(e),
                    Err(e) => {
                        save_failures += 1;
                        display.line(&format!("warning: step {step} was not saved: {e}"));
                    }
                }
            }
        }
        let checkpoint = self.config.run_dir.join(crate::checkpoint::step_name(self.state.step));
        Ok(Summary { step: self.state.step, loss, evaluations, checkpoint })
    }

    /// All that is repeated is prepared before any of it is computed: what a device refuses it refuses here.
    fn prepare(&mut self) {
        let (model, ops, ws) = (&self.model, &mut *self.ops, &self.workspace);
        self.evaluations.iter().for_each(|evaluation| evaluation.prepare(model, ops, ws));
        if let (Some(_), Some(set)) = (&self.beginning, self.evaluations.first()) {
            set.prepare_sample(model, ops, ws);
        }
        let sequences = self.plan.quantities.batch.sequences(self.state.step) as usize;
        prepare_step(model, ops, ws, sequences, self.config.batch.micro, self.mixture.sources().seq_len());
    }

    fn save_is_due(&self, step: u64) -> bool {
        let by_cadence = match self.config.checkpoint.every {
            Cadence::Steps(every) => step.is_multiple_of(every),
            Cadence::Time(TimeSpan(every)) => self.clock.save_tried.elapsed() >= every,
        };
        by_cadence || self.plan.milestones.has(step)
    }

    /// What lies ahead after the present step.
    fn ahead(&self) -> Ahead {
        let Quantities { steps, batch, .. } = &self.plan.quantities;
        let (step, steps) = (self.state.step, *steps);
        let samples = batch.samples_before(steps) - batch.samples_before(step);
        // Multiples that are still to come, and the last step.
        let times = |every: u64| {
            let multiples = steps.checked_div(every).unwrap_or(0) - step.checked_div(every).unwrap_or(0);
            multiples + u64::from(step < steps && steps.checked_rem(every) != Some(0))
        };
        let (saves, save_every) = match self.config.checkpoint.every {
            Cadence::Steps(every) => (times(every), None),
            Cadence::Time(TimeSpan(every)) => (times(0), Some(every)),
        };
        // Most of them are among the others.
        let saves = saves.max(self.plan.milestones.count(steps) - self.plan.milestones.count(step));
        let tokens = samples.saturating_mul(self.mixture.sources().seq_len() as u64);
        let evaluations = self.plan.evaluated.count(steps) - self.plan.evaluated.count(step);
        Ahead { tokens, evaluations, saves, save_every }
    }

    /// Issues the step that comes `ahead` steps after the last one that was finished.
    fn issue(&mut self, ahead: u64, batch: &mut Batch) -> Result<InFlight> {
        let started = Instant::now();
        let step = self.state.step + ahead;
        let settings = self.settings_of(&self.plan.schedule, &self.plan.quantities, step);
        let sample = self.plan.first_sample + self.plan.quantities.batch.samples_before(step);
        assert_eq!(self.mixture.dealt().sample, sample, "steps read the data in order");
        let cursor = self.mixture.cursor().clone();
        if let Err(e) = self.mixture.fill(settings.sequences, self.model.config.vocab_size as u32, batch) {
            self.mixture.rewind(cursor);
            return Err(e);
        }
        let read = started.elapsed();
        let time = self.mixture.sources().seq_len();
        let input = Micro {
            weights: &batch.weights,
            documents: self.mixture.documents().of(&batch.documents),
            end_of_text: self.mixture.documents().end_of_text(),
            sources: if self.mixture.sources().are_mixed() { self.mixture.rows() } else { &[] },
            ..Micro::new(&batch.tokens, &batch.targets, time, self.config.batch.micro)
        };
        let Settings { lr, decay_scale, betas, .. } = settings;
        let adam = AdamSettings { betas, ..self.config.optim.adam() };
        let update =
            Update { adam, lr, decay_scale, seed: self.state.seed, step: self.progress.chain_steps + step };
        let issued = issue_step(&self.model, &mut *self.ops, &self.workspace, input, &self.params, update);
        Ok(InFlight { issued, started, settings, tokens: batch.tokens.len(), read, cursor })
    }

    /// Waits for a step, and writes its line in the log.
    fn finish(&mut self, step: InFlight, display: &mut Display) -> Result<StepResult> {
        let InFlight { issued, started, settings, tokens, read, cursor } = step;
        let result = match finish_step(&mut *self.ops, issued) {
            Ok(result) => result,
            Err(e) => {
                self.mixture.rewind(cursor);
                return Err(e);
            }
        };
        // While it was waiting for its predecessor it was not computed.
        let began = self.clock.finished.map_or(started, |finished| finished.max(started));
        let took = began.elapsed();
        self.clock.finished = Some(Instant::now());
        self.clock.left.step(tokens, took);
        self.learn(&result);
        self.state.step += 1;
        self.state.applied += u64::from(result.applied);
        self.state.sample += settings.sequences as u64;
        self.state.tokens += tokens as u64;
        self.progress.lr = Some(settings.lr);
        let time = self.mixture.sources().seq_len();
        let tokens_per_s = tokens as f64 / took.as_secs_f64();
        let name = |source: usize| self.mixture.sources().list()[source].name.clone();
        let metrics = StepMetrics {
            step: self.state.step,
            tokens: self.state.tokens,
            loss: result.loss,
            by_end: result.by_end,
            loss_by_source: result.by_source.iter().map(|of| (name(of.source), of.loss)).collect(),
            grad_norm: result.norm,
            grad_norm_l1: result.norm_l1,
            lr: settings.lr,
            scheduled: self.plan.quantities.varying(&settings),
            tokens_per_s,
            data_s: read.as_secs_f64(),
            gflop_per_s: tokens_per_s * self.model.config.flops_per_token(time) / 1e9,
            applied: result.applied,
        };
        self.metrics.log(&metrics)?;
        display.step(&metrics, self.clock.left.seconds(self.ahead()));
        self.keep_choices()?;
        Ok(result)
    }

    /// What step `step` is set to under a plan.
    pub(super) fn settings_of(&self, schedule: &Schedule, quantities: &Quantities, step: u64) -> Settings {
        let at = self.counted(schedule, quantities, step);
        quantities.settings(step, at, schedule.lr_after(at, &self.progress.feedback), schedule.peak())
    }

    /// What a schedule counts, at step `step`: samples, in steps of the final size of the batch.
    fn counted(&self, schedule: &Schedule, Quantities { batch, .. }: &Quantities, step: u64) -> f64 {
        batch.full_steps(schedule.counter.count(batch.samples_before(step), self.progress.skipped_samples))
    }

    /// Keeps, for checkpoints too, what the schedule looks back at.
    fn learn(&mut self, result: &StepResult) {
        if !result.applied {
            self.progress.skipped_samples += self.plan.quantities.batch.sequences(self.state.step);
        } else if self.plan.schedule.feedback.is_some() {
            let step = self.counted(&self.plan.schedule, &self.plan.quantities, self.state.step);
            self.plan.schedule.observe(step, result.loss, &mut self.progress.feedback);
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

    /// Saves the present step; no step is in flight.
    pub(super) fn save(&mut self, display: &Display) -> Result<()> {
        let started = Instant::now();
        self.keep_deal();
        self.progress.milestone = self.plan.milestones.has(self.state.step);
        self.state.extra = self.progress.to_json();
        let snapshot = Snapshot {
            config: &self.model.config,
            table: &self.model.table,
            state: &self.state,
            base_config: self.carried.base_config.as_ref(),
            extra_files: &self.carried.extra_files,
        };
        let keep = Keep { newest: self.config.checkpoint.keep, stays: Progress::is_milestone };
        let saved = save(&Disk, &self.config.run_dir, &snapshot, &mut *self.ops, keep);
        self.clock.save_tried = Instant::now();
        let saved = saved?;
        self.saved = Some(self.state.step);
        self.clock.left.save = started.elapsed();
        if let Some(warning) = saved.warning {
            display.line(&format!("warning: {warning}"));
        }
        display.line(&format!("saved {}", saved.dir.display()));
        Ok(())
    }

    /// That an update was skipped, and how to see what its step read. A loss that is not finite is of some rows; a
    /// gradient is of all of them.
    fn say_skipped(&self, result: &StepResult, display: &Display) {
        let (step, run) = (self.state.step, shell_word(&self.config.run_dir));
        let (what, row) = match result.bad_row {
            Some(row) => (format!("the loss of row {row}"), format!(" --row {row}")),
            None => ("the gradient".into(), String::new()),
        };
        display.line(&format!(
            "warning: step {step}: {what} is not finite, the update was skipped; what it read: `rewarm data where {run} \
             --step {step}{row}`"
        ));
    }

    fn not_finite(&self, result: &StepResult) -> Error {
        let (step, run) = (self.state.step, shell_word(&self.config.run_dir));
        Error::failed(format!(
            "loss {} and gradient norm {} at step {step}: {SKIPS_MAX} updates in a row were skipped; nothing after the \
             last checkpoint was saved. Resume from it with a smaller learning rate (a new phase), or look at what steps \
             {} to {step} read (`rewarm data where {run} --step {step}`), and resume with --override and a data.skip that \
             leaves it out",
            result.loss,
            result.norm,
            step + 1 - u64::from(SKIPS_MAX)
        ))
    }
}

#[cfg(test)]
mod tests;
