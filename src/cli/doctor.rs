//! `rewarm doctor`: what this machine offers.
use crate::Result;
use crate::config::machine::Machine;
use crate::console::print;

/// Arguments of `rewarm doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let machine = Machine::detect();
    print(&if args.json {
        serde_json::to_string_pretty(&machine).expect("plain fields with string keys")
    } else {
        machine.to_string()
    })
}
