//! `rewarm data`: make, look at and check token shards, and what a run reads of them.
mod inspect;
mod mix;
mod seen;
mod tokenize;
mod tokenized;
mod verify;

use crate::Result;
use clap::Subcommand;

/// Sub-commands of `rewarm data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Turn text into a Megatron shard (.bin and .idx).
    Tokenize(tokenize::TokenizeArgs),
    /// Show format, sizes, document lengths and the first tokens.
    Inspect(inspect::InspectArgs),
    /// Read everything and list every fault.
    Verify(verify::VerifyArgs),
    /// Name the documents that a step of a run reads, or the steps that read a document.
    Where(seen::WhereArgs),
    /// Count what every source of a run has given at some of its steps, without training.
    Mix(mix::MixArgs),
}

/// Runs the sub-command; results go to stdout, progress to stderr.
pub fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Tokenize(args) => tokenize::run(args),
        DataCommand::Inspect(args) => inspect::run(&args),
        DataCommand::Verify(args) => verify::run(&args),
        DataCommand::Where(args) => seen::run(&args),
        DataCommand::Mix(args) => mix::run(&args),
    }
}
