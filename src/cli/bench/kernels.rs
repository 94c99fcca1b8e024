//! `rewarm bench kernels`.
use super::output::Output;
use crate::Result;
use crate::backend::most_chunk_rows;
use crate::bench::{Kernels, Record};
use crate::cli::common::with_threads;
use crate::cli::work::ModelArgs;
use clap::Args;

#[derive(Debug, Args)]
pub struct KernelBench {
    #[command(flatten)]
    model: ModelArgs,
    /// Operations whose names begin so
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &KernelBench) -> Result<()> {
    let mut out = args.output.open()?;
    let (w, threads) = args.model.workload()?;
    let kernels = Kernels {
        shape: w.shape(),
        model: w.model,
        sizes: w.sizes,
        device: w.device,
        precision: w.precision,
        chunk_rows: w.chunk_rows.unwrap_or(most_chunk_rows(w.device)),
        only: args.only.clone(),
    };
    with_threads(threads, || {
        out.head(&format!(
            "{:<26}{:>11}{:>10}{:>10}{:>10}{:>11}{:>10}{:>11}{:>10}",
            "operation", "µs", "MB", "GFLOP", "GB/s", "GFLOP/s", "of copy", "of matmul", "roofline"
        ))?;
        kernels.run(&mut |record| out.put(record, &line(record)))?;
        out.finish()
    })
}

fn line(record: &Record) -> String {
    let d = |key: &str| record.derived[key].as_f64().unwrap_or(f64::NAN);
    let name = record.name.trim_start_matches("kernel ");
    let by = record.settings["implementation"].as_str().unwrap_or("rewarm");
    format!(
        "{:<26}{:>11.1}{:>10.3}{:>10.4}{:>10.1}{:>11.1}{:>9.1}%{:>10.1}%{:>9.1}%",
        if by == "rewarm" { name.to_owned() } else { format!("  by {by}") },
        record.summary.median * 1e6,
        d("bytes") / 1e6,
        d("flops") / 1e9,
        d("gb_per_s"),
        d("gflop_per_s"),
        d("share_of_copy") * 1e2,
        d("share_of_matmul") * 1e2,
        d("share_of_roofline") * 1e2
    )
}
