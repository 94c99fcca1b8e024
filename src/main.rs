//! The `rewarm` command: parse, run, exit code.
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    rewarm::console::show_log();
    let cli = match rewarm::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut answer) => {
            rewarm::cli::add_tip(&mut answer, std::env::args_os());
            let _ = answer.print(); // help, version, or what is wrong; nobody may be reading
            // clap would exit with 2, which here means that the machine failed.
            return ExitCode::from(u8::from(answer.use_stderr()));
        }
    };
    match rewarm::cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Being asked to stop is no error.
            let kind = if matches!(error, rewarm::Error::Stopped { .. }) { "" } else { "error: " };
            rewarm::console::note(&format!("{kind}{error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
