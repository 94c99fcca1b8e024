//! `rewarm profile`.
use super::common::{print_json, with_threads};
use super::work::{WorkArgs, check_writable};
use crate::bench::{Ceilings, Machine, Record};
use crate::files::write_whole;
use crate::profile::{self, Profile, Table};
use crate::{Error, Result, console};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

/// Arguments of `rewarm profile`.
#[derive(Debug, clap::Args)]
pub struct ProfileArgs {
    #[command(flatten)]
    work: WorkArgs,
    /// Steps to profile, b excluded; those before warm up, and a plain step before each tells what profiling costs
    #[arg(long, value_name = "A:B", default_value = "3:8")]
    steps: Steps,
    /// Write a trace that Perfetto and chrome://tracing open
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write a report with a timeline and the roofline
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug)]
struct Steps(Range<usize>);

impl FromStr for Steps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let range = text.split_once(':').and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
        let refused =
            || Error::refused(format!("{text:?} is no range of steps: give A:B with A < B, such as 3:8"));
        range.filter(|r: &Range<usize>| !r.is_empty()).map(Self).ok_or_else(refused)
    }
}

/// Runs the command.
pub fn run(args: &ProfileArgs) -> Result<()> {
    [&args.trace, &args.html].into_iter().flatten().try_for_each(|path| check_writable(path))?;
    let (workload, threads) = args.work.workload()?;
    with_threads(threads, || {
        let profile = profile::run(&workload, args.steps.0.clone())?;
        let table = Table::new(&profile, Ceilings::measure(workload.device, workload.precision)?);
        let settings = workload.settings();
        let machine = Machine::detect(workload.device);
        if let Some(path) = &args.trace {
            write_whole(path, profile::trace(&profile, &settings).to_string().as_bytes())?;
        }
        if let Some(path) = &args.html {
            write_whole(path, profile::page(&profile, &table, &machine, &settings).as_bytes())?;
        }
        if args.json {
            return print_json(&record(&profile, &table, &machine, &workload.model, settings));
        }
        console::print(&table.to_string())
    })
}

fn record(profile: &Profile, table: &Table, machine: &Machine, model: &str, settings: Value) -> Record {
    let samples = profile.steps.iter().map(|s| s.seconds).collect();
    let derived = json!(table);
    Record::new("profile", machine, format!("profile {model}"), settings, samples, |_| derived)
}
