//! The form of every result.
use super::Machine;
use crate::Result;
use crate::machine::COMMIT;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// One measurement: a line of JSON, or what a person is told.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The command that measured.
    pub tool: String,
    /// Version of rewarm, as in Cargo.toml.
    pub version: &'static str,
    /// What it was built from, where that is known.
    pub commit: Option<&'static str>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The machine that it was measured on.
    pub machine: Machine,
    /// Name of what was measured.
    pub name: String,
    /// Everything that was chosen.
    pub settings: Value,
    /// Unit of the samples.
    pub unit: &'static str,
    /// The samples in the order in which they were taken.
    pub samples: Vec<f64>,
    /// Quantiles of the samples.
    pub summary: Summary,
    /// Units at the ends of the names.
    pub derived: Value,
}

impl Record {
    /// Of samples in seconds.
    pub fn new(
        tool: &str,
        machine: &Machine,
        name: String,
        settings: Value,
        samples: Vec<f64>,
        derived: impl FnOnce(Summary) -> Value,
    ) -> Self {
        let summary = Summary::of(&samples);
        Self {
            tool: format!("rewarm {tool}"),
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            command: std::env::args().collect(),
            machine: machine.clone(),
            name,
            settings,
            unit: "s",
            samples,
            summary,
            derived: derived(summary),
        }
    }
}

/// The middle of samples and how far they spread: values that half, a fifth and four fifths of them do not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The median of the samples.
    pub median: f64,
    /// The 20th percentile of the samples.
    pub p20: f64,
    /// The 80th percentile of the samples.
    pub p80: f64,
}

impl Summary {
    /// NaN of no samples.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank: always one of the samples.
        let rank = |q: f64| (q * sorted.len() as f64).ceil().max(1.0) as usize - 1;
        let quantile = |q| sorted.get(rank(q)).copied().unwrap_or(f64::NAN);
        Self { median: quantile(0.5), p20: quantile(0.2), p80: quantile(0.8) }
    }
}

/// Calls `f` at least `least` times and for at least `time`; seconds of each call.
pub fn time_s(least: usize, time: Duration, mut f: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let (started, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < least || started.elapsed() < time {
        let began = Instant::now();
        f()?;
        samples.push(began.elapsed().as_secs_f64());
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let ten: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(Summary::of(&ten), Summary { median: 5.0, p20: 2.0, p80: 8.0 });
        assert_eq!(Summary::of(&[3.0]), Summary { median: 3.0, p20: 3.0, p80: 3.0 });
        assert_eq!(Summary::of(&[2.0, 1.0]).p80, 2.0);
        assert!(Summary::of(&[]).median.is_nan());
    }
}
