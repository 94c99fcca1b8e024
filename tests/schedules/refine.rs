//! Refined schedules against an independent statement of the algorithm (`tools/golden_refine.py`, numpy), and from a
//! file through a configuration.
use super::styled;
use rewarm::schedule::{Optimizer, Refined};
use serde::Deserialize;
use toml::{Table, Value};

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    norms: Vec<Option<f64>>,
    tau: f64,
    optimizer: Optimizer,
    rates: Vec<f64>,
}

#[test]
fn the_algorithm_is_that_of_numpy() {
    let golden: Vec<Golden> = serde_json::from_str(include_str!("refine.json")).unwrap();
    for case in golden {
        let norms: Vec<f64> = case.norms.iter().map(|norm| norm.unwrap_or(f64::NAN)).collect();
        let rates = Refined::new(&norms, case.optimizer, case.tau).unwrap().rates;
        assert_eq!(rates.len(), case.rates.len());
        for (step, (found, expected)) in rates.iter().zip(&case.rates).enumerate() {
            assert!(
                (found - expected).abs() <= TOLERANCE,
                "step {step} of {}: {found} {expected}",
                rates.len()
            );
        }
    }
}

#[test]
fn a_file_is_a_schedule_of_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("refined.json");
    let norms: Vec<f64> = (0..104).map(|t| 1.0 + 20.0 / (1.0 + t as f64)).collect();
    let refined = Refined::new(&norms, Optimizer::Adam, 0.1).unwrap();
    std::fs::write(&path, refined.to_json()).unwrap();
    let mut args = Table::from_iter([
        ("lr".to_owned(), Value::Float(2e-3)),
        ("file".to_owned(), path.display().to_string().into()),
        ("checksum".to_owned(), refined.checksum.clone().into()),
    ]);
    let same = styled("refined:file", args.clone(), 100).unwrap();
    for (step, share) in refined.rates.iter().enumerate() {
        assert!((same.lr(step as u64) - 2e-3 * share).abs() <= 1e-15, "{step}");
    }
    let (longer, shorter) = (
        styled("refined:file", args.clone(), 250).unwrap(),
        styled("refined:file", args.clone(), 40).unwrap(),
    );
    for step in 0..40 {
        let at = step as f64 * 2.5;
        let (low, share) = (at.floor() as usize, at.fract());
        let rate = refined.rates[low] * (1.0 - share) + refined.rates[(low + 1).min(99)] * share;
        assert!((shorter.lr(step) - 2e-3 * rate).abs() <= 1e-15, "{step}");
    }
    assert_eq!(longer.lr(249), 0.0);
    assert!((longer.lr(125) - same.lr(50)).abs() <= 1e-15);
    args.insert("checksum".into(), "0".repeat(32).into());
    let error = styled("refined:file", args, 100).unwrap_err().to_string();
    assert!(error.contains("schedule.args.checksum") && error.contains("another schedule"), "{error}");
}
