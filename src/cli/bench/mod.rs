//! `rewarm bench`: one file per thing that is measured.
mod train;

use crate::Result;
use clap::{Args, Subcommand};

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
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<()> {
    match &args.command {
        BenchCommand::Train(args) => train::run(args),
    }
}
