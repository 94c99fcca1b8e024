//! `rewarm schedule`: what rates a run will use.
use super::refine::{self, RefineArgs};
use crate::Result;
use crate::config::RawConfig;
use crate::console::print;
use crate::schedule::show;
use std::path::PathBuf;

/// Arguments of `rewarm schedule`.
#[derive(Debug, clap::Args)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a schedule from the gradient norms of a run
    Refine(RefineArgs),
    /// Print the learning rate at selected steps, with a plot
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Run configuration (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a key of the configuration, as in --set schedule.lr=1e-3
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Length of the run in steps, instead of [train]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Steps between rows (default: about 20 rows)
    #[arg(long, value_name = "K")]
    every: Option<u64>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV
    #[arg(long)]
    csv: bool,
}

/// Runs the command.
pub fn run(args: &ScheduleArgs) -> Result<()> {
    let args = match &args.command {
        Command::Show(args) => args,
        Command::Refine(args) => return refine::run(args),
    };
    let raw = RawConfig::load(args.config.as_deref(), &args.set)?;
    let schedule = raw.preview_schedule(args.steps)?;
    let points = show::points(&schedule, args.every);
    print(&if args.json {
        format!("{:#}", show::json(&schedule, &points))
    } else if args.csv {
        show::csv(&points)
    } else {
        format!("{}\n{}", show::table(&points), show::plot(&schedule, 72, 10))
    })
}
