//! `rewarm completions`: what a shell needs to complete the command.
use super::Cli;
use crate::Result;
use crate::console::print;
use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `rewarm completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For bash: rewarm completions bash > ~/.local/share/bash-completion/completions/rewarm"
)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rewarm", &mut script);
    print(&String::from_utf8_lossy(&script))
}
