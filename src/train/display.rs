//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.
use super::metrics::StepMetrics;
use crate::console::note;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The live line of a run, on stderr.
pub struct Display {
    bar: Option<ProgressBar>,
    total: u64,
    started: Instant,
    first: u64,
    printed: Option<Instant>,
}

impl Display {
    /// Starts at `step` of `total`.
    pub fn new(step: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:28} {pos}/{len}  {msg}  {eta} left");
            let bar = ProgressBar::new(total).with_position(step);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.reset_eta();
            bar
        });
        Self { bar, total, started: Instant::now(), first: step, printed: None }
    }

    /// After a step.
    pub fn step(&mut self, m: &StepMetrics) {
        let text = format!(
            "loss {:.4}  norm {:.2}  lr {:.2e}  {:.0} tokens/s  {:.0} GFLOP/s",
            m.loss, m.grad_norm, m.lr, m.tokens_per_s, m.gflop_per_s
        );
        if let Some(bar) = &self.bar {
            bar.set_position(m.step);
            bar.set_message(text);
            return;
        }
        if m.step < self.total && self.printed.is_some_and(|t| t.elapsed() < PLAIN_EVERY) {
            return;
        }
        self.printed = Some(Instant::now());
        let done = (m.step - self.first) as f64;
        let left = self.started.elapsed().as_secs_f64() / done * (self.total - m.step) as f64;
        note(&format!("step {}/{}  {text}  {:.0} s left", m.step, self.total, left));
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => note(text),
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
