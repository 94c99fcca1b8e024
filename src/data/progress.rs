//! Progress of long work: a bar on a terminal, a line every ten seconds elsewhere.
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts bytes of input; prints to stderr.
#[derive(Debug)]
pub struct Progress {
    label: &'static str,
    total: u64,
    done: u64,
    /// Counts instead of what is added.
    follows: Option<Arc<AtomicU64>>,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { start: Instant, last: Instant },
}

impl Progress {
    /// Shows nothing: for tests and callers with a display of their own.
    pub fn hidden() -> Self {
        Self { label: "", total: 0, done: 0, follows: None, shown: Shown::Nothing }
    }

    /// A bar over `total` bytes, named `label`.
    pub fn bytes(label: &'static str, total: u64) -> Self {
        let now = Instant::now();
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total).with_message(label);
            let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            // A template that does not parse only costs the looks.
            Shown::Bar(match ProgressStyle::with_template(style) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            })
        } else {
            Shown::Lines { start: now, last: now }
        };
        Self { label, total, done: 0, follows: None, shown }
    }

    /// For work whose total is not known beforehand.
    pub fn counting(label: &'static str) -> Self {
        let progress = Self::bytes(label, 0);
        if let Shown::Bar(bar) = &progress.shown {
            bar.unset_length();
        }
        progress
    }

    /// For reading `total` bytes, where that is known; `count` is how many were.
    pub fn following(label: &'static str, total: Option<u64>, count: Arc<AtomicU64>) -> Self {
        let progress = total.map_or_else(|| Self::counting(label), |total| Self::bytes(label, total));
        Self { follows: Some(count), ..progress }
    }

    /// More bytes are done.
    pub fn add(&mut self, bytes: u64) {
        self.done = match &self.follows {
            Some(count) => count.load(Ordering::Relaxed),
            None => self.done.saturating_add(bytes),
        };
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(self.done),
            Shown::Lines { start, last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let rate = self.done as f64 / start.elapsed().as_secs_f64();
                let of =
                    if self.total > 0 { format!(" of {}", HumanBytes(self.total)) } else { String::new() };
                log::info!("{}: {}{of}, {}/s", self.label, HumanBytes(self.done), HumanBytes(rate as u64));
            }
            Shown::Lines { .. } => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}
