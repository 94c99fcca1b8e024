//! `rewarm bench checkpoint`.
use super::output::Output;
use crate::Result;
use crate::bench::{Checkpoints, Machine};
use crate::cli::common::with_threads;
use crate::cli::work::WorkArgs;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CheckpointBench {
    #[command(flatten)]
    work: WorkArgs,
    /// A folder on the disk that is measured; what is written there is removed
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Checkpoints
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &CheckpointBench) -> Result<()> {
    let mut out = args.output.open()?;
    let (workload, threads) = args.work.workload()?;
    let machine = Machine::detect(workload.device);
    let checkpoints = Checkpoints { workload, dir: args.dir.clone(), repeats: args.repeats as usize };
    with_threads(threads, || {
        for record in checkpoints.run(&machine)? {
            let d = |key: &str| record.derived[key].as_f64();
            let stall = match (d("stall_s"), d("step_s")) {
                (Some(stall), Some(step)) => {
                    format!(", delays a step of {:.1} ms by {:.1} ms", step * 1e3, stall * 1e3)
                }
                _ => String::new(),
            };
            let host = d("host_bytes").map_or(String::new(), |b| format!(" through {:.1} MB", b / 1e6));
            let line = format!(
                "{:<16} {:>9.1} ms, {:.2} GB/s of {:.1} MB{host}{stall}",
                record.name,
                record.summary.median * 1e3,
                d("gb_per_s").unwrap_or(f64::NAN),
                d("bytes").unwrap_or(f64::NAN) / 1e6
            );
            out.put(&record, &line)?;
        }
        out.finish()
    })
}
