//! `rewarm bench`: one file per thing that is measured.
mod checkpoint;
mod data;
mod kernels;
mod train;

use super::print_json;
use super::work::check_writable;
use crate::bench::Record;
use crate::files::write_whole;
use crate::{Result, console};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `rewarm bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Training steps: tokens per second, and how far from the limit
    Train(train::TrainBench),
    /// Every operation of a step by itself, at the shapes of a model
    Kernels(kernels::KernelBench),
    /// Reading samples from token shards, cached and cold
    Data(data::DataBench),
    /// Saving and loading, and what a save costs training
    Checkpoint(checkpoint::CheckpointBench),
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<()> {
    match &args.command {
        BenchCommand::Train(args) => train::run(args),
        BenchCommand::Kernels(args) => kernels::run(args),
        BenchCommand::Data(args) => data::run(args),
        BenchCommand::Checkpoint(args) => checkpoint::run(args),
    }
}

/// Where measurements go.
#[derive(Debug, Args)]
struct Output {
    /// Print one JSON object per measurement
    #[arg(long)]
    json: bool,
    /// Write those to a file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Output {
    /// Refuses a file that cannot be written.
    fn open(&self) -> Result<Printer<'_>> {
        self.out.as_deref().map(check_writable).transpose()?;
        Ok(Printer { to: self, lines: String::new() })
    }
}

/// Prints measurements as they come, and keeps them for the file.
struct Printer<'a> {
    to: &'a Output,
    lines: String,
}

impl Printer<'_> {
    /// For a person, above the measurements.
    fn head(&self, text: &str) -> Result<()> {
        if self.to.json { Ok(()) } else { console::print(text) }
    }

    /// For a person, beside them.
    fn remark(&self, text: &str) {
        console::note(text);
    }

    fn put(&mut self, record: &Record, line: &str) -> Result<()> {
        self.lines += &serde_json::to_string(record).expect("plain fields with string keys");
        self.lines.push('\n');
        if self.to.json { print_json(record) } else { console::print(line) }
    }

    fn finish(self) -> Result<()> {
        match &self.to.out {
            Some(path) => write_whole(path, self.lines.as_bytes()),
            None => Ok(()),
        }
    }
}
