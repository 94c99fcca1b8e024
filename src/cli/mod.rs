//! The command line: one file per sub-command.
mod average;
mod bench;
mod branch;
mod common;
mod completions;
mod config;
pub mod data;
mod demo;
mod doctor;
mod edit;
mod eval;
mod export;
mod generate;
mod import;
mod man;
mod new;
mod plan;
mod profile;
mod refine;
mod report;
mod schedule;
mod selftest;
mod study;
mod tip;
mod tokenizer;
mod train;
mod work;

use crate::Result;
use clap::{CommandFactory, Parser, Subcommand};
pub use tip::add_tip;

/// Continual pre-training of GPT-NeoX (Pythia) language models.
///
/// Exit codes: 0 done, 1 refused (bad input or configuration; nothing was changed), 2 failed (I/O, memory),
/// 3 stopped on request (what was done is saved), 4 not reproducible.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The papers in five minutes: pre-train, then continue at a constant rate, re-warmed, and with replay
    Demo(demo::DemoArgs),
    /// A configuration to begin with: recipes of papers
    New(new::NewArgs),
    /// Start a new phase: from scratch, or from a trained model
    Train(train::TrainArgs),
    /// Go on from a checkpoint under another plan, in a run of its own
    Branch(branch::BranchArgs),
    /// Continue a run exactly where its newest checkpoint left off
    Resume(train::ResumeArgs),
    /// Many runs from one file, and a table of what became of them
    Study(study::StudyArgs),
    /// The curves of runs on one page, or as CSV
    Report(report::ReportArgs),
    /// Loss, perplexity and bits per byte on named sets
    Eval(eval::EvalArgs),
    /// Continue a text
    Generate(generate::GenerateArgs),
    /// Write a Hugging Face directory
    Export(export::ExportArgs),
    /// A checkpoint of GPT-NeoX, moments included, as one of rewarm
    Import(import::ImportArgs),
    /// One checkpoint out of several: what a decay of the rate does, done afterwards
    Average(average::AverageArgs),
    /// A model changed without training: shrunk and perturbed, with more blocks, another vocabulary, a longer context
    Edit(edit::EditArgs),
    /// Make, look at and check token shards
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Keys of a run configuration: defaults, meanings, and what a resume may do with each
    Config(config::ConfigArgs),
    /// Learning rates of a run
    Schedule(schedule::ScheduleArgs),
    /// Parameters, FLOPs, memory and time of a run, before it is started
    Plan(plan::PlanArgs),
    /// Measure: training steps, operations, data, checkpoints
    Bench(bench::BenchArgs),
    /// Where the time of a training step goes: every operation timed, a table, a trace and a report
    Profile(profile::ProfileArgs),
    /// What this machine offers
    Doctor(doctor::DoctorArgs),
    /// Whether a GPU computes what it should: every kernel against naive arithmetic, one step against the processor
    Selftest(selftest::SelftestArgs),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Write manual pages, one per command
    Man(man::ManArgs),
}

/// Runs a command.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::New(args) => new::run(&args),
        Command::Train(args) => train::train(&args),
        Command::Branch(args) => branch::run(&args),
        Command::Resume(args) => train::resume(&args),
        Command::Study(args) => study::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Average(args) => average::run(&args),
        Command::Edit(args) => edit::run(&args),
        Command::Data(command) => data::run(command),
        Command::Config(args) => config::run(&args),
        Command::Schedule(args) => schedule::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}
