//! `rewarm study`: many runs from one file, and a table of what became of them.
use super::common::{print_pretty, with_threads};
use super::plan::{measured, predicted};
use super::train::listen;
use crate::config::TimeSpan;
use crate::console::{note, print};
use crate::device::{self, DeviceName};
use crate::model::Precision;
use crate::perf::processor::Rates;
use crate::study::{Doing, Findings, Study, StudyPlan, keep, work};
use crate::train::readable;
use crate::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

const FILE: &str = "A study is a file:\n\n\
    dir = \"studies/rates\"                  # where its runs live\n\
    [base]                                 # a run configuration without run_dir\n\
    [grid]                                 # a run for every combination\n\
    \"schedule.lr\" = [3e-4, 3e-3]\n\
    \"data.seed\" = [1, 2, 3]                # keys that end with seed repeat runs\n\
    [[ancestor]]                           # trained once: start.from = \"ancestor:first\"\n\
    name = \"first\"\n\
    set = { \"data.train\" = [\"data/old\"] }\n\
    [[cell]]                               # besides the grid\n\
    name = \"scratch\"\n\
    unset = [\"start\"]\n\n\
    The same command goes on with a study that was stopped or killed, and on several machines that share dir they do it together.";

/// Arguments of `rewarm study`.
#[derive(Debug, clap::Args)]
#[command(after_help = FILE)]
pub struct StudyArgs {
    /// The study (TOML)
    file: PathBuf,
    /// Only list its runs
    #[arg(long, conflicts_with = "retry")]
    dry_run: bool,
    /// Try runs again that failed
    #[arg(long)]
    retry: bool,
    /// Leave when so much time has passed since the start: 3h50m, 90s, 1d2h
    #[arg(long, value_name = "TIME")]
    stop_after: Option<TimeSpan>,
    /// Print JSON, as in DIR/study.json
    #[arg(long)]
    json: bool,
}

/// A run that would be trained.
#[derive(Serialize)]
struct Listed {
    name: String,
    run_dir: PathBuf,
    steps: u64,
    tokens: u64,
    /// Of its steps alone; none where no speed is known of the device.
    predicted_s: Option<f64>,
}

/// Runs the command.
pub fn run(args: &StudyArgs) -> Result<()> {
    let plan =
        StudyPlan::new(&Study::load(&args.file)?).map_err(|e| e.within(&args.file.display().to_string()))?;
    if args.dry_run {
        return list(&plan, args.json);
    }
    listen(Instant::now(), args.stop_after, "what was done is kept: the same `rewarm study` goes on")?;
    // All cores where a run asks for all.
    let asked = || plan.runs().map(|run| run.config.threads);
    let threads = if asked().any(|threads| threads == 0) { 0 } else { asked().max().unwrap_or(0) };
    let findings = with_threads(threads, || {
        work(&plan, args.retry, &mut |i, all, run, what| {
            let what = match what {
                Doing::Begins => "",
                Doing::GoesOn => ", from its newest checkpoint",
                Doing::Elsewhere => ": another process is at it",
            };
            note(&format!("[{i} of {all}] {}{what}", run.name));
        })
    })?;
    if let Some(page) = keep(&plan, &findings)? {
        note(&page.display().to_string());
    }
    if args.json {
        print_pretty(&findings)?
    } else {
        print(&findings.to_string())?
    }
    ended(&findings)
}

/// An error where something is missing in the table.
fn ended(findings: &Findings) -> Result<()> {
    let (failed, open) = (findings.failed().count(), findings.open());
    if open > 0 {
        note(&format!(
            "{open} runs are not done yet: other processes are at them; the same command says when they are"
        ));
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Error::failed(format!(
        "{failed} runs failed, as the table says; `rewarm study --retry` tries them again"
    )))
}

/// Every run, its length, and how long it is predicted to take here.
fn list(plan: &StudyPlan, json: bool) -> Result<()> {
    let mut rates: Vec<((Precision, usize), Rates)> = Vec::new();
    let mut listed = Vec::new();
    for run in plan.runs() {
        let (config, sizes) = (&run.config, plan.model_of(run)?);
        let (device, key) = (device::resolve(config.device), (config.precision, config.threads));
        if device == DeviceName::Cpu && rates.iter().all(|(of, _)| *of != key) {
            rates.push((key, with_threads(config.threads, || measured(config.precision))?));
        }
        let known =
            rates.iter().find(|(of, _)| *of == key && device == DeviceName::Cpu).map(|(_, rates)| *rates);
        let tokens_per_s = predicted(config, &sizes, device, known)?;
        let time = config.seq_len(&sizes)?;
        let tokens = config.total_tokens(time);
        listed.push(Listed {
            name: run.name.clone(),
            run_dir: config.run_dir.clone(),
            steps: config.total_steps(time),
            tokens,
            predicted_s: tokens_per_s.map(|rate| tokens as f64 / rate),
        });
    }
    if json {
        return print_pretty(&listed);
    }
    let width = listed.iter().map(|run| run.name.chars().count()).max().unwrap_or(0);
    let shown = |seconds: Option<f64>| seconds.map_or("not known".into(), readable);
    let line = |run: &Listed| {
        let Listed { name, steps, tokens, predicted_s, .. } = run;
        format!("{name:width$}  {steps:>8} steps  {tokens:>14} tokens  {}\n", shown(*predicted_s))
    };
    let lines: String = listed.iter().map(line).collect();
    let tokens: u64 = listed.iter().map(|run| run.tokens).sum();
    let seconds: Option<f64> = listed.iter().map(|run| run.predicted_s).sum();
    print(&format!(
        "{lines}{} runs, {tokens} tokens, predicted time without evaluations and checkpoints: {}\n",
        listed.len(),
        shown(seconds)
    ))
}
