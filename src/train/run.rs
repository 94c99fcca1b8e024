//! The loop: evaluate, step, log, save. It owns the step counter; everything else is a function of it.
use super::display::Display;
use super::evaluate::EvalResult;
use super::metrics::StepMetrics;
use super::session::Session;
use super::step::{Micro, StepResult, Update, train_step};
use crate::checkpoint::{Disk, Snapshot, save};
use crate::data::{Batch, fill_batch};
use crate::ops::Ops;
use crate::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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
    /// The last checkpoint.
    pub checkpoint: PathBuf,
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
        let mut display = Display::new(self.state.step, self.schedule.total);
        let mut batch = Batch::default();
        let (mut loss, mut skips, mut save_failures) = (None, 0, 0);
        let mut evaluations = Vec::new();
        if self.state.step == 0 {
            evaluations = self.evaluate(&display)?;
        }
        let mut saved = None;
        while self.state.step < self.schedule.total {
            let result = self.step(&mut batch, &mut display)?;
            loss = Some(result.loss);
            skips = if result.applied { 0 } else { skips + 1 };
            if skips == SKIPS_MAX {
                return Err(self.not_finite(result));
            }
            let (step, last) = (self.state.step, self.state.step == self.schedule.total);
            if last || (self.config.eval.every > 0 && step.is_multiple_of(self.config.eval.every)) {
                evaluations = self.evaluate(&display)?;
            }
            let stopping = stop.load(Ordering::Relaxed);
            if last || stopping || step.is_multiple_of(self.config.checkpoint.every) {
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

    /// One step, and its line in the log.
    fn step(&mut self, batch: &mut Batch, display: &mut Display) -> Result<StepResult> {
        let started = Instant::now();
        let vocab = self.model.config.vocab_size as u32;
        fill_batch(&self.order, self.state.sample, self.config.batch.sequences, vocab, batch)?;
        let lr = self.schedule.lr(self.state.step);
        let time = self.order.seq_len();
        let input =
            Micro { tokens: &batch.tokens, targets: &batch.targets, time, batch: self.config.batch.micro };
        let (params, adam, applied) = (&self.params[..], self.config.optim.adam(), self.state.applied);
        let update = Update { params, adam, lr, applied };
        let result = train_step(&self.model, &mut self.ops, &self.workspace, input, update)?;
        self.state.step += 1;
        self.state.applied += u64::from(result.applied);
        self.state.sample += self.config.batch.sequences as u64;
        self.state.tokens += batch.tokens.len() as u64;
        self.set_extra("lr", json!(lr));
        let tokens_per_s = batch.tokens.len() as f64 / started.elapsed().as_secs_f64();
        let metrics = StepMetrics {
            step: self.state.step,
            tokens: self.state.tokens,
            loss: result.loss,
            grad_norm: result.norm,
            lr,
            tokens_per_s,
            gflop_per_s: tokens_per_s * self.model.config.flops_per_token(time) / 1e9,
            applied: result.applied,
        };
        self.metrics.log(&metrics)?;
        display.step(&metrics);
        Ok(result)
    }

    fn set_extra(&mut self, key: &str, value: Value) {
        if !self.state.extra.is_object() {
            self.state.extra = json!({});
        }
        self.state.extra[key] = value;
    }

    fn evaluate(&mut self, display: &Display) -> Result<Vec<EvalResult>> {
        let mut results = Vec::new();
        for evaluation in &self.evaluations {
            let result = evaluation.run(&self.model, &mut self.ops, &self.workspace)?;
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
        let flat = self.ops.state()?;
        let snapshot = Snapshot {
            config: &self.model.config,
            table: &self.model.table,
            w: &flat.w,
            m: &flat.m,
            v: &flat.v,
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
            self.state.sample - u64::from(SKIPS_MAX) * self.config.batch.sequences as u64,
            self.state.sample
        ))
    }
}
