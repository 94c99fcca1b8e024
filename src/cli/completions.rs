//! `rewarm completions`: what a shell needs to complete the command.
use crate::Result;
use crate::console::print;
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

/// Prints the completions of `rewarm`.
pub fn run(args: &CompletionsArgs, mut rewarm: clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut rewarm, "rewarm", &mut script);
    print(&String::from_utf8_lossy(&script))
}
