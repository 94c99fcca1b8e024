//! `rewarm bench data`.
use super::output::Output;
use crate::bench::{Machine, Reading};
use crate::cli::common::with_threads;
use crate::device::DeviceName;
use crate::{Error, Result};
use clap::Args;

#[derive(Debug, Args)]
pub struct DataBench {
    /// Token shards
    #[arg(value_name = "SHARDS", required = true)]
    shards: Vec<String>,
    /// Tokens of a sequence
    #[arg(long, value_name = "T", default_value_t = 2048)]
    seq_len: usize,
    /// Sequences of a batch
    #[arg(long, value_name = "B", default_value_t = 32)]
    sequences: usize,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &DataBench) -> Result<()> {
    let mut out = args.output.open()?;
    let DataBench { seq_len, sequences, .. } = *args;
    if sequences == 0 || seq_len == 0 {
        return Err(Error::refused("--seq-len and --sequences must be at least 1"));
    }
    let reading = Reading { shards: args.shards.clone(), seq_len, sequences };
    with_threads(args.threads, || {
        let records = reading.run(&Machine::detect(DeviceName::Cpu))?;
        for record in &records {
            let rate = record.derived["tokens_per_s"].as_f64().unwrap_or(f64::NAN);
            let line = format!(
                "{:<16} {:>9.1} million tokens/s, {:.3} ms a batch of {sequences} x {seq_len}",
                record.name,
                rate / 1e6,
                record.summary.median * 1e3
            );
            out.put(record, &line)?;
        }
        if records.len() == 1 {
            out.remark("data cold: not measured, nothing was fetched from storage (the files lie in memory)");
        }
        out.finish()
    })
}
