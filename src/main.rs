//! The `rewarm` command: parse, run, exit code.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match rewarm::cli::run(rewarm::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            rewarm::console::note(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
