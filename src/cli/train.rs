//! `rewarm train` and `rewarm resume`: two commands, because starting a phase and continuing one are never the
//! same wish.
use super::common::with_threads;
use crate::config::{Config, TimeSpan, resume_help};
use crate::console::{note, print};
use crate::device::{self, DeviceName};
use crate::stop::{self, Deadline, Idle, shell_word};
use crate::train::{Allow, Session, Summary, lock_run};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;

const STOPPING: &str = "SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, --stop-after and a file STOP in the run \
    directory end the run: an evaluation or a step under way is dropped, the last finished step saved, exit code 3. `rewarm \
    resume` goes on with equal bits. A second signal ends at once (SIGXCPU, which is repeated every second, does not). Under \
    nohup SIGHUP is ignored. STOP is deleted when it was heard; one that is there at the start is refused.";

/// Arguments of `rewarm train`.
#[derive(Debug, clap::Args)]
#[command(after_help = STOPPING)]
pub struct TrainArgs {
    /// Run configuration (TOML)
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key of the configuration, as in --set schedule.lr=1e-3
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Take a key out of the file, before others are set
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Where to compute: cpu, cuda:N, emulated, auto; the same as --set device=...
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Save and leave when so much time has passed since the start: 3h50m, 90s, 1d2h
    #[arg(long, value_name = "TIME")]
    stop_after: Option<TimeSpan>,
}

/// Arguments of `rewarm resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = STOPPING)]
pub struct ResumeArgs {
    /// Directory of the run
    run_dir: PathBuf,
    #[arg(long, value_name = "KEY=VALUE", help = resume_help())]
    set: Vec<String>,
    /// Go on with another device: its rounding is not that of the first
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Choose the algorithms of matrix products anew, as after a new driver: their rounding may differ
    #[arg(long)]
    retune: bool,
    /// Go on under another plan of rates, decays, betas, sources and their shares, what is left out of them, and length, or
    /// between f32 and mixed in the other precision, from --set or the edited config.toml
    #[arg(long = "override")]
    replan: bool,
    /// Go back to the checkpoint of this step: later ones, and the lines of the log behind it, get names that begin with
    /// rewound-
    #[arg(long, value_name = "STEP")]
    rewind: Option<u64>,
    /// Save and leave when so much time has passed since the start: 3h50m, 90s, 1d2h
    #[arg(long, value_name = "TIME")]
    stop_after: Option<TimeSpan>,
}

/// Runs `rewarm train`.
pub fn train(args: &TrainArgs) -> Result<()> {
    let started = Instant::now();
    let sets = with_device(&args.set, args.device);
    let config = configuration(args.config.as_deref(), &args.unset, &sets)?;
    listen(started, args.stop_after, "no step was taken: the same `rewarm train` begins again")?;
    with_threads(config.threads, move || drive(started, || Session::start(config)))
}

/// Runs `rewarm resume`.
pub fn resume(args: &ResumeArgs) -> Result<()> {
    let started = Instant::now();
    let set = with_device(&args.set, args.device.map(device::resolve));
    listen(started, args.stop_after, "no step was taken and nothing is lost: `rewarm resume` goes on")?;
    let lock = lock_run(&args.run_dir)?;
    let threads = Session::threads_of(&lock, &set)?;
    let allow = Allow { retune: args.retune, replan: args.replan, rewind: args.rewind };
    with_threads(threads, || drive(started, || Session::resume(lock, &set, allow)))
}

/// `message` is for a stop before there is anything to save.
pub(super) fn listen(started: Instant, after: Option<TimeSpan>, message: &'static str) -> Result<()> {
    let deadline = after.map(|after| Deadline { at: started + after.0, given: after.to_string() });
    stop::listen(Idle { code: Some(3), message }, deadline)
}

/// The configuration that a new run was given.
fn configuration(path: Option<&Path>, unset: &[String], set: &[String]) -> Result<Config> {
    match path {
        Some(dir) if dir.is_dir() => Err(Error::refused(format!(
            "{} is a directory; name a configuration (TOML), or continue a run with `rewarm resume {}`",
            dir.display(),
            shell_word(dir)
        ))),
        None if set.is_empty() => Err(Error::refused(format!(
            "no configuration was named; write one, such as run.toml{}, and start it with `rewarm train FILE`. The least \
             that it holds:\n\n{LEAST}",
            lying_here()
        ))),
        _ => Config::load_without(path, unset, set),
    }
}

/// A configuration with nothing but what must be said.
const LEAST: &str = r#"run_dir = "runs/first"
[model]
preset = "pythia-70m"                # or a trained model: [start] from = "DIRECTORY" instead
[data]
train = ["data/text"]                # as `rewarm data tokenize` writes them
[schedule]
lr = 1e-3
[train]
tokens = "10M"
"#;

/// Files in the current directory that are configurations of runs.
fn lying_here() -> String {
    let entries = std::fs::read_dir(".").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("run_dir"))
    };
    let toml = entries.filter(|path| path.extension().is_some_and(|e| e == "toml"));
    let mut found: Vec<String> =
        toml.filter(is_ours).map(|path| shell_word(path.strip_prefix(".").unwrap_or(&path))).collect();
    found.sort();
    if found.is_empty() { String::new() } else { format!(" (here lie {})", found.join(", ")) }
}

/// The overrides, and `--device` as one of them.
pub(super) fn with_device(set: &[String], device: Option<DeviceName>) -> Vec<String> {
    set.iter().cloned().chain(device.map(|d| format!("device={d}"))).collect()
}

pub(super) fn drive(started: Instant, open: impl FnOnce() -> Result<Session>) -> Result<()> {
    let session = open()?;
    note(session.describe().trim_end());
    note(&format!("ready after {:.3} s", started.elapsed().as_secs_f64()));
    if session.is_finished() {
        return print(&format!(
            "{} is finished: all {} steps are done and saved; to train on, start a new phase with `rewarm train` \
             and start.from",
            session.run_dir().display(),
            session.steps()
        ));
    }
    let Summary { step, loss, evaluations, checkpoint } = session.run()?;
    let loss = loss.map_or(String::new(), |l| format!(", last loss {l:.4}"));
    let mut lines = format!("done: {step} steps{loss}, {}\n", checkpoint.display());
    for e in &evaluations {
        lines += &format!("{}: loss {:.4}, perplexity {:.2}\n", e.eval, e.loss, e.perplexity);
    }
    let compared = evaluations.iter().filter_map(|e| Some(format!("{} {}", e.eval, e.since?)));
    let compared: Vec<String> = compared.collect();
    if !compared.is_empty() {
        lines += &format!("since step 0: {}\n", compared.join("; "));
    }
    print(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_enough() {
        let config = Config::from_toml_str(LEAST, &[]).unwrap();
        assert_eq!(config.checkpoint, Default::default());
    }
}
