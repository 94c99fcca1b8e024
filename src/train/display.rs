//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.
use super::left::readable;
use super::metrics::StepMetrics;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// The live line of a run, on stderr.
pub struct Display {
    bar: Option<ProgressBar>,
    total: u64,
    printed: Option<Instant>,
}

impl Display {
    /// Starts at `step` of `total`.
    pub fn new(step: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:28} {pos}/{len}  {msg}");
            let bar = ProgressBar::new(total).with_position(step);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, total, printed: None }
    }

    /// After a step; `left` are the seconds that the run still takes.
    pub fn step(&mut self, m: &StepMetrics, left: f64) {
        let text = format!(
            "loss {:.4}  norm {:.2}  lr {:.2e}  {:.0} tokens/s  {:.0} GFLOP/s  {} left",
            m.loss,
            m.grad_norm,
            m.lr,
            m.tokens_per_s,
            m.gflop_per_s,
            readable(left)
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
        log::info!("step {}/{}  {text}", m.step, self.total);
    }

    /// A line of its own.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => log::info!("{}", text),
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
