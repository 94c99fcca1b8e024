//! `rewarm demo`: the paper's experiment in five minutes on two cores, without a download.
use super::common::with_threads;
use crate::demo::{Options, run as run_demo};
use crate::stop::{self, Idle};
use crate::{Result, console};
use std::path::PathBuf;

/// Arguments of `rewarm demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Where data, runs and report.html go; must not exist, or be empty
    #[arg(long, value_name = "DIR", default_value = "demo")]
    dir: PathBuf,
    /// Everything small: seconds, and too short for good text
    #[arg(long)]
    quick: bool,
    /// Folder of text to pre-train on [default: prose in the sources of rewarm's dependencies]
    #[arg(long, value_name = "DIR", requires = "downstream")]
    upstream: Option<PathBuf>,
    /// Folder of text to continue on [default: code in the sources of rewarm's dependencies]
    #[arg(long, value_name = "DIR", requires = "upstream")]
    downstream: Option<PathBuf>,
    /// Seed of initialisation and data order
    #[arg(long, default_value_t = 1234)]
    seed: u64,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the command.
pub fn run(args: &DemoArgs) -> Result<()> {
    let folders = args.upstream.clone().zip(args.downstream.clone());
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let options = Options { dir: args.dir.clone(), quick: args.quick, folders, seed: args.seed, command };
    let message = "the demo starts in an empty directory: remove what is there to start again";
    stop::listen(Idle { code: Some(3), message }, None)?;
    let demo = with_threads(args.threads, || run_demo(&options))?;
    console::print(&demo.summary())
}
