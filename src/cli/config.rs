//! `rewarm config`: the keys of a run configuration.
use crate::Result;
use crate::config;
use crate::console::print;

/// Arguments of `rewarm config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Only keys with this in their names, such as optim or data.mixture
    word: Option<String>,
}

/// Runs `rewarm config`.
pub fn run(args: &ConfigArgs) -> Result<()> {
    print(config::listing(args.word.as_deref())?.trim_end())
}
