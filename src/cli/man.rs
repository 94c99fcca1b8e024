//! `rewarm man`: a manual page per command.
use crate::console::note;
use crate::files::write_whole;
use crate::{Error, Result};
use std::path::PathBuf;

/// Arguments of `rewarm man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "With DIR = ~/.local/share/man/man1, `man rewarm-train` finds its page.")]
pub struct ManArgs {
    /// Directory for rewarm.1, rewarm-train.1, ...; made where it is missing
    dir: PathBuf,
}

/// Writes the pages of `rewarm`.
pub fn run(args: &ManArgs, rewarm: clap::Command) -> Result<()> {
    let mut command = rewarm.disable_help_subcommand(true);
    command.build(); // gives sub-commands their whole names and what they inherit
    std::fs::create_dir_all(&args.dir).map_err(Error::input("create", &args.dir))?;
    let mut pages = Vec::new();
    collect(command, &mut pages)?;
    for (name, page) in &pages {
        write_whole(&args.dir.join(name), page)?;
    }
    note(&format!("wrote {} pages to {}", pages.len(), args.dir.display()));
    Ok(())
}

/// The pages of a command and of all below it, each with the name of its file.
fn collect(command: clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()).cloned() {
        collect(below, pages)?;
    }
    let man = clap_mangen::Man::new(command).source(concat!("rewarm ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page).map_err(|e| Error::failed(format!("cannot write a manual page: {e}")))?;
    pages.push((man.get_filename(), page));
    Ok(())
}
