//! `rewarm schedule`: what rates a run will use, and what schedules there are.
use super::refine::{self, RefineArgs};
use crate::config::{Preview, RawConfig};
use crate::console::{note, print};
use crate::files::write_whole;
use crate::report::{Series, braille, rate_chart, schedule_series};
use crate::schedule::{catalogue, show};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// What is said of a schedule that looks at the loss: its own rates are known as it goes.
const BASE_RATE: &str =
    "base rate: the run multiplies it with a factor that starts at 1 and follows the loss";
/// Lines and characters of a plot in a terminal.
const PLOT: (usize, usize) = (12, 72);

/// Arguments of `rewarm schedule`.
#[derive(Debug, clap::Args)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print every named schedule, shape and warmup, with its curve
    List(ListArgs),
    /// Make a schedule from the gradient norms of a run
    Refine(RefineArgs),
    /// Print the learning rate at selected steps, with a plot
    Show(ShowArgs),
    /// Draw schedules over each other, in the terminal or as an SVG or PNG file
    Plot(PlotArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print docs/schedules.md: formulas, arguments and sources too
    #[arg(long)]
    markdown: bool,
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

#[derive(Debug, clap::Args)]
struct PlotArgs {
    /// Schedules by name (`rewarm schedule list`), each with its own defaults instead of the configuration's schedule
    names: Vec<String>,
    /// Run configurations (TOML), one curve each
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Override a key of every configuration, as in --set schedule.lr=1e-3
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Length of the run in steps, instead of [train]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// What the horizontal axis counts
    #[arg(long, value_enum, default_value = "steps")]
    x: Axis,
    /// Write a file, .svg or .png, instead of drawing in the terminal
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum, strum::AsRefStr)]
#[strum(serialize_all = "lowercase")]
enum Axis {
    Steps,
    Tokens,
}

/// Runs the command.
pub fn run(args: &ScheduleArgs) -> Result<()> {
    match &args.command {
        Command::List(args) => {
            print(&if args.markdown { catalogue::markdown() } else { catalogue::listing() }?)
        }
        Command::Show(args) => show(args),
        Command::Refine(args) => refine::run(args),
        Command::Plot(args) => plot(args),
    }
}

fn show(args: &ShowArgs) -> Result<()> {
    let raw = RawConfig::load(args.config.as_deref(), &args.set)?;
    let Preview { schedule, quantities, seq_len } = raw.preview(args.steps)?;
    if schedule.feedback.is_some() {
        note(BASE_RATE);
    }
    if quantities.batch.grows() {
        note("the batch grows: the plot counts steps of its final size, which is what the schedule counts");
    }
    let points = show::points(&schedule, &quantities, args.every, seq_len);
    print(&if args.json {
        format!("{:#}", show::json(&schedule, &quantities, &points))
    } else if args.csv {
        show::csv(&points)
    } else {
        let curve = [schedule_series("", 0, &schedule, 1.0)];
        format!("{}\n{}", show::table(&points), draw(&curve, Axis::Steps))
    })
}

fn plot(args: &PlotArgs) -> Result<()> {
    let (curves, any_base_rate) = curves(args)?;
    let Some(path) = &args.output else {
        if any_base_rate {
            note(BASE_RATE);
        }
        return print(&draw(&curves, args.x));
    };
    let mut chart = rate_chart(args.x.as_ref(), curves);
    if any_base_rate {
        chart.title = format!("Learning rate ({BASE_RATE})");
    }
    let file = match path.extension().and_then(OsStr::to_str) {
        Some("svg") => chart.to_svg()?.into_bytes(),
        Some("png") => chart.to_png()?,
        _ => {
            return Err(Error::refused(format!(
                "--output {}: give a name that ends in .svg or .png",
                path.display()
            )));
        }
    };
    write_whole(path, &file)?;
    note(&format!("wrote {}", path.display()));
    Ok(())
}

/// A curve for every name in every configuration; without names, for every configuration. And whether any of them is
/// a base rate only.
fn curves(args: &PlotArgs) -> Result<(Vec<Series>, bool)> {
    let files: Vec<Option<&Path>> = match args.config.as_slice() {
        [] => vec![None],
        files => files.iter().map(|file| Some(file.as_path())).collect(),
    };
    let (mut curves, mut any_base_rate) = (Vec::new(), false);
    for file in &files {
        let base = RawConfig::load(*file, &args.set)?;
        let path = file.map(|file| file.display().to_string());
        let mut raws = Vec::new();
        for name in &args.names {
            let mut raw = base.clone();
            if raw.schedule.name.as_deref() != Some(name) {
                raw.schedule.args.clear();
                (raw.schedule.name, raw.schedule.phases) = (Some(name.clone()), None);
            }
            let label = path.as_ref().filter(|_| files.len() > 1).map(|path| format!("{path}: {name}"));
            raws.push((label.unwrap_or(name.clone()), raw));
        }
        if raws.is_empty() {
            let name = base.schedule.name.clone().unwrap_or("learning rate".into());
            raws.push((path.unwrap_or(name), base));
        }
        for (label, raw) in raws {
            let schedule = raw.preview_schedule(args.steps)?;
            let is_base_rate = schedule.feedback.is_some();
            any_base_rate |= is_base_rate;
            let label = if is_base_rate { format!("{label} (base rate)") } else { label };
            let per_step = match (args.x, raw.preview_tokens_per_step()) {
                (Axis::Steps, _) => 1.0,
                (Axis::Tokens, Some(tokens)) => tokens as f64,
                (Axis::Tokens, None) => {
                    return Err(Error::refused(
                        "--x tokens: the tokens of a step are unknown; give data.seq_len and batch.sequences",
                    ));
                }
            };
            curves.push(schedule_series(&label, curves.len(), &schedule, per_step));
        }
    }
    Ok((curves, any_base_rate))
}

/// In colours where a person sees them and wants them (<https://no-color.org>).
fn draw(curves: &[Series], x: Axis) -> String {
    let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    braille(curves, PLOT.1, PLOT.0, x.as_ref(), color)
}
