//! `rewarm schedule refine`: a schedule from the gradient norms of a run.
use crate::console::{note, print};
use crate::files::write_new;
use crate::schedule::{Optimizer, Refined};
use crate::{Error, Result};
use serde::Deserialize;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Arguments of `rewarm schedule refine`.
#[derive(Debug, clap::Args)]
pub struct RefineArgs {
    /// metrics.jsonl of a complete run, best one with linear decay
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Whose norms: l1 for Adam, l2 for SGD
    #[arg(long, value_enum, default_value_t = Optimizer::Adam)]
    optimizer: Optimizer,
    /// Width of the median filter in shares of the run
    #[arg(long, default_value_t = 0.1)]
    tau: f64,
    /// The new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What a line of the log says of a step; lines of evaluations say neither.
#[derive(Deserialize)]
struct Norms {
    grad_norm: Option<f64>,
    grad_norm_l1: Option<f64>,
    loss: Option<f64>,
    eval: Option<String>,
}

/// Runs the command.
pub fn run(args: &RefineArgs) -> Result<()> {
    if args.out.exists() {
        return Err(Error::refused(format!(
            "{} exists; choose another file or delete it",
            args.out.display()
        )));
    }
    let norms = read(&args.log, args.optimizer)?;
    let refined = Refined::new(&norms, args.optimizer, args.tau)?;
    write_new(&args.out, refined.to_json().as_bytes())?;
    let top = refined.rates.iter().position(|rate| *rate == 1.0).unwrap_or(0);
    note(&format!(
        "{} steps, the peak at {:.1} % of them; to use it:",
        refined.rates.len(),
        100.0 * top as f64 / refined.rates.len() as f64
    ));
    let file = toml::Value::String(args.out.display().to_string());
    print(&format!(
        "[schedule]\nstyle = \"refined:file\"\n[schedule.args]\nfile = {file}\nchecksum = \"{}\"\nlr = 1e-3  # the peak: choose it",
        refined.checksum
    ))
}

/// The norms of all steps, in the order of the log.
fn read(path: &Path, optimizer: Optimizer) -> Result<Vec<f64>> {
    let file = std::fs::File::open(path).map_err(Error::input("open", path))?;
    let mut norms = Vec::new();
    for (line, number) in BufReader::new(file).lines().zip(1..) {
        let line = line.map_err(Error::io("read", path))?;
        let bad = |why: String| Error::refused(format!("{} line {number}: {why}", path.display()));
        let step: Norms = serde_json::from_str(&line)
            .map_err(|e| bad(format!("{e}; expected the log of a run, one JSON object per line")))?;
        if step.eval.is_some() || step.loss.is_none() {
            continue;
        }
        let (norm, key) = match optimizer {
            Optimizer::Adam => (step.grad_norm_l1, "grad_norm_l1"),
            Optimizer::Sgd => (step.grad_norm, "grad_norm"),
        };
        // A norm that is not finite is written as null, and its update was skipped.
        let skipped = step.grad_norm.is_none();
        if norm.is_none() && !skipped {
            return Err(bad(format!(
                "no {key}; a rewarm from before it was logged has written this, run it again"
            )));
        }
        norms.push(norm.unwrap_or(f64::NAN));
    }
    Ok(norms)
}
