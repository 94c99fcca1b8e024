//! `rewarm demo`: the papers' experiment in five minutes on two cores, without a download.
use super::common::{one_of, with_threads};
use crate::demo::{Options, run as run_demo};
use crate::model::Precision;
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
    /// What is kept in which format, on the processor: f32 (everything), mixed (bf16 activations), bf16 (weights and moments
    /// in bf16, too)
    #[arg(long, value_name = "WHAT", value_parser = one_of::<Precision>(), default_value_t = Precision::F32)]
    precision: Precision,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the command.
pub fn run(args: &DemoArgs) -> Result<()> {
    let folders = args.upstream.clone().zip(args.downstream.clone());
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let (dir, quick, seed, precision) = (args.dir.clone(), args.quick, args.seed, args.precision);
    let options = Options { dir, quick, folders, seed, precision, command };
    let message = "`rewarm study DIR/study.toml` goes on with its runs, once that file is there; a new demo starts in an empty directory";
    stop::listen(Idle { code: Some(3), message }, None)?;
    let demo = with_threads(args.threads, || run_demo(&options))?;
    console::print(&demo.summary())
}
