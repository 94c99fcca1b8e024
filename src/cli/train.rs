//! `rewarm train` and `rewarm resume`: two commands, because starting a phase and continuing one are never the
//! same wish.
use super::with_threads;
use crate::config::Config;
use crate::console::{note, print};
use crate::device::{self, DeviceName};
use crate::train::{Allow, Session, Summary};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Arguments of `rewarm train`.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// Run configuration (TOML)
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key of the configuration, as in --set schedule.lr=1e-3
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where to compute: cpu, cuda:N, emulated, auto; the same as --set device=...
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
}

/// Arguments of `rewarm resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// Directory of the run
    run_dir: PathBuf,
    /// Override a key that cannot change a result: threads, eval.*, checkpoint.*, data paths, train.recompute,
    /// batch.micro on a cpu; with --override also schedule.*, optim.weight_decay*, optim.beta*, train.steps and
    /// train.tokens
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on with another device: its rounding is not that of the first
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Choose the algorithms of matrix products anew, as after a new driver: their rounding may differ
    #[arg(long)]
    retune: bool,
    /// Go on under another plan of rates, decays, betas and length, from --set or the edited config.toml
    #[arg(long = "override")]
    replan: bool,
}

/// Runs `rewarm train`.
pub fn train(args: &TrainArgs) -> Result<()> {
    let started = Instant::now();
    let config = Config::load(args.config.as_deref(), &with_device(&args.set, args.device))?;
    with_threads(config.threads, move || drive(started, || Session::start(config)))
}

/// Runs `rewarm resume`.
pub fn resume(args: &ResumeArgs) -> Result<()> {
    let started = Instant::now();
    let set = with_device(&args.set, args.device.map(device::resolve));
    let threads = Session::threads_of(&args.run_dir, &set)?;
    let allow = Allow { retune: args.retune, replan: args.replan };
    with_threads(threads, || drive(started, || Session::resume(&args.run_dir, &set, allow)))
}

/// The overrides, and `--device` as one of them.
fn with_device(set: &[String], device: Option<DeviceName>) -> Vec<String> {
    set.iter().cloned().chain(device.map(|d| format!("device={d}"))).collect()
}

fn drive(started: Instant, open: impl FnOnce() -> Result<Session>) -> Result<()> {
    let stop = stop_on_signals()?;
    let session = open()?;
    note(session.describe().trim_end());
    note(&format!("ready after {:.3} s", started.elapsed().as_secs_f64()));
    let (total, step) = session.progress();
    if step == total {
        return print(&format!(
            "{} is finished: all {total} steps are done and saved; to train on, start a new phase with `rewarm train` \
             and start.from",
            session.run_dir().display()
        ));
    }
    let Summary { step, loss, evaluations, checkpoint } = session.run(&stop)?;
    let loss = loss.map_or(String::new(), |l| format!(", last loss {l:.4}"));
    let mut lines = format!("done: {step} steps{loss}, {}\n", checkpoint.display());
    for e in evaluations {
        lines += &format!("{}: loss {:.4}, perplexity {:.2}\n", e.eval, e.loss, e.perplexity);
    }
    print(&lines)
}

/// A flag that SIGINT and SIGTERM set; a second signal ends the process at once.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let failed = |e| Error::failed(format!("cannot handle signal {signal}: {e}"));
        // The order matters: the first signal must find the flag unset here and set below.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .map_err(failed)?;
        signal_hook::flag::register(signal, stop.clone()).map_err(failed)?;
    }
    Ok(stop)
}
