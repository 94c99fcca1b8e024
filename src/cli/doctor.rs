//! `rewarm doctor`: what this machine offers.
use crate::Result;
use crate::console::print;
use crate::doctor::Report;

/// Arguments of `rewarm doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let report = Report::detect();
    print(&if args.json {
        serde_json::to_string_pretty(&report).expect("plain fields with string keys")
    } else {
        report.to_string()
    })
}
