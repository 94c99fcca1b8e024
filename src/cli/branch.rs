//! `rewarm branch`: a new phase that goes on from a checkpoint under another plan.
use super::common::with_threads;
use super::train::{drive, listen, with_device};
use crate::Result;
use crate::config::TimeSpan;
use crate::device::{self, DeviceName};
use crate::train::{Session, branch_config, open_branch_point};
use std::path::PathBuf;
use std::time::Instant;

const AFTER: &str = "The configuration is the checkpoint's; weights, moments and the position in the data come from it, and \
    there is no warmup unless one is asked for. As in `rewarm train`, [train] and [schedule] are those of the new run, whose \
    steps are counted from 0: the decay of a stable run is\n\n  rewarm branch runs/stable/step-4000 runs/decayed --set \
    train.steps=400 \\\n    --set 'schedule={lr=\"previous\", phases=[{shape=\"linear\", to=\"10%\"}]}'";

/// Arguments of `rewarm branch`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct BranchArgs {
    /// A run (its newest step), or a step of it, as in runs/a/step-400
    #[arg(value_name = "RUN[/step-N]")]
    from: PathBuf,
    /// Directory of the new run
    #[arg(value_name = "DIR")]
    run_dir: PathBuf,
    /// Set a key of the configuration, as in --set train.steps=400 or --set data.mixture[1].fraction=0.1
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Take a key out of the checkpoint's configuration, before others are set
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Where to compute: cpu, cuda:N, emulated, auto; the same as --set device=...
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Save and leave when so much time has passed since the start: 3h50m, 90s, 1d2h
    #[arg(long, value_name = "TIME")]
    stop_after: Option<TimeSpan>,
}

/// Runs the command.
pub fn run(args: &BranchArgs) -> Result<()> {
    let started = Instant::now();
    listen(started, args.stop_after, "no step was taken: the same `rewarm branch` begins again")?;
    let source = open_branch_point(&args.from)?;
    let sets = with_device(&args.set, args.device);
    let config = branch_config(&source, &args.run_dir, &args.unset, &sets)?;
    with_threads(config.threads, move || {
        drive(started, || Session::start_from(config, Some(source), device::open))
    })
}
