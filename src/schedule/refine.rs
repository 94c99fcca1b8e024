//! Schedules refined from the gradient norms of a run (Defazio et al. 2023, arXiv:2310.07831).
//!
//! The rate of a step is its weight times the weights of all later steps, where the weight is the inverse of the
//! smoothed norm: its square for SGD (l2), itself for Adam (l1). Norms that never change give exactly linear decay;
//! norms that fall at the beginning give a warmup.
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// Samples at either end of a log that are artefacts of logging.
const ENDS: usize = 2;
/// What a file says that it is.
const FORMAT: &str = "rewarm refined schedule 1";

/// Whose norms, and what they weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// The l1 norm to the power −1.
    Adam,
    /// The l2 norm to the power −2.
    Sgd,
}

/// A schedule in shares of its peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refined {
    format: String,
    /// What the norms were taken for.
    pub optimizer: Optimizer,
    /// Width of the median filter in shares of the run.
    pub tau: f64,
    /// XXH3-128 of the rates as f64, little-endian.
    pub checksum: String,
    /// The rate of step `i` of so many; the largest is 1, the last is 0.
    pub rates: Vec<f64>,
}

impl Refined {
    /// The schedule that these norms, one per step of a complete run, are a reason for.
    ///
    /// # Errors
    /// Refused when `tau` is not in `0.0..=0.25`, when too few norms are finite, or when one is not above 0.
    pub fn new(norms: &[f64], optimizer: Optimizer, tau: f64) -> Result<Self> {
        if !(0.0..=0.25).contains(&tau) {
            return Err(Error::refused(format!(
                "--tau is {tau}; the width of the median filter is a share of the run between 0 and 0.25"
            )));
        }
        let finite: Vec<f64> = norms.iter().copied().filter(|norm| norm.is_finite()).collect();
        if finite.len() < 2 * ENDS + 2 {
            return Err(Error::refused(format!(
                "the log has {} steps with finite norms; a schedule needs at least {}, and {ENDS} at either end are dropped",
                finite.len(),
                2 * ENDS + 2
            )));
        }
        let norms = &finite[ENDS..finite.len() - ENDS];
        let smooth = smooth(norms, tau);
        if let Some(step) = smooth.iter().position(|norm| *norm <= 0.0) {
            return Err(Error::refused(format!(
                "the smoothed norm is {} at sample {step}; a norm must be above 0, is it the log of a run that learned?",
                smooth[step]
            )));
        }
        let weight = |norm: &f64| match optimizer {
            Optimizer::Adam => 1.0 / norm,
            Optimizer::Sgd => 1.0 / (norm * norm),
        };
        let mut later = 0.0;
        let mut rates: Vec<f64> = Vec::with_capacity(smooth.len());
        for weight in smooth.iter().map(weight).rev() {
            rates.push(weight * later);
            later += weight;
        }
        rates.reverse();
        let top = rates.iter().copied().fold(0.0, f64::max);
        rates.iter_mut().for_each(|rate| *rate /= top);
        Ok(Self { format: FORMAT.into(), optimizer, tau, checksum: checksum(&rates), rates })
    }

    /// Reads a file of [`Refined::to_json`]; refused where it is not as it was written.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::input("read", path))?;
        let bad = |why: String| {
            Error::refused(format!("{}: {why}; write it again with `rewarm schedule refine`", path.display()))
        };
        let refined: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if refined.format != FORMAT {
            return Err(bad(format!("its format is {:?}, where {FORMAT:?} is expected", refined.format)));
        }
        let found = checksum(&refined.rates);
        if found != refined.checksum {
            return Err(bad(format!(
                "its rates have the checksum {found}, and it says {}",
                refined.checksum
            )));
        }
        if refined.rates.is_empty() || !refined.rates.iter().all(|rate| (0.0..=1.0).contains(rate)) {
            return Err(bad("its rates are not all in 0..=1".into()));
        }
        Ok(refined)
    }

    /// The content of the file, as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings have a JSON form") + "\n"
    }
}

fn checksum(rates: &[f64]) -> String {
    let bytes: Vec<u8> = rates.iter().flat_map(|rate| rate.to_le_bytes()).collect();
    format!("{:032x}", xxh3_128(&bytes))
}

/// The median over an odd window of about `tau` of the samples. Before the first sample it repeats itself; the end is
/// reflected first, since the last window would be distorted otherwise.
fn smooth(norms: &[f64], tau: f64) -> Vec<f64> {
    let n = norms.len();
    let half = (tau * n as f64).floor() as usize / 2;
    let padded = n + 4 * half + 2; // twice the width of 2·half + 1 more
    let at = |i: usize| norms[reflected(i.min(padded - 1), n)];
    let mut window: Vec<f64> = (0..2 * half + 1).map(|i| at(i.saturating_sub(half))).collect();
    window.sort_unstable_by(f64::total_cmp);
    let mut medians = Vec::with_capacity(n);
    for i in 0..n {
        medians.push(window[half]);
        let (gone, new) = (at(i.saturating_sub(half)), at(i + half + 1));
        let place = window.partition_point(|x| *x < gone);
        window.remove(place);
        let place = window.partition_point(|x| *x < new);
        window.insert(place, new);
    }
    medians
}

/// The sample at `i` of a signal of `n` samples that swings between its ends.
fn reflected(i: usize, n: usize) -> usize {
    let period = 2 * (n - 1).max(1);
    let i = i % period;
    i.min(period - i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_norms_give_exactly_linear_decay() {
        for optimizer in [Optimizer::Adam, Optimizer::Sgd] {
            let rates = Refined::new(&[3.7; 504], optimizer, 0.1).unwrap().rates;
            assert_eq!(rates.len(), 500);
            for (t, rate) in rates.iter().enumerate() {
                let linear = (499 - t) as f64 / 499.0;
                assert!((rate - linear).abs() <= 1e-9, "{t}: {rate} and {linear}");
            }
        }
    }

    #[test]
    fn norms_that_fall_give_a_warmup() {
        let norms: Vec<f64> = (0..1004).map(|t| 1.0 + 20.0 / (1.0 + t as f64 / 20.0)).collect();
        let rates = Refined::new(&norms, Optimizer::Adam, 0.1).unwrap().rates;
        let top = rates.iter().position(|rate| *rate == 1.0).unwrap();
        assert!((50..400).contains(&top), "the peak is at {top}");
        assert!(rates[0] < 0.5 && rates[999] == 0.0);
        assert!(rates[top..].is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn a_changed_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refined.json");
        let refined = Refined::new(&[1.0; 40], Optimizer::Sgd, 0.1).unwrap();
        std::fs::write(&path, refined.to_json()).unwrap();
        assert_eq!(Refined::read(&path).unwrap(), refined);
        std::fs::write(&path, refined.to_json().replacen("1.0", "0.9", 1)).unwrap();
        assert!(Refined::read(&path).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for (norms, tau, expected) in [
            (vec![1.0; 40], 0.5, "--tau"),
            (vec![f64::NAN; 40], 0.1, "0 steps"),
            (vec![0.0; 40], 0.1, "above 0"),
        ] {
            let error = Refined::new(&norms, Optimizer::Adam, tau).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
