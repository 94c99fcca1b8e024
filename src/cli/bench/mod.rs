//! `rewarm bench`: one file per thing that is measured.
mod checkpoint;
mod data;
mod kernels;
mod output;
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
