//! Where measurements go: to the terminal, as JSON, to a file.
use crate::bench::Record;
use crate::cli::common::print_json;
use crate::cli::work::check_writable;
use crate::files::write_whole;
use crate::{Result, console};
use clap::Args;
use std::path::PathBuf;

/// Where measurements go.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print one JSON object per measurement
    #[arg(long)]
    json: bool,
    /// Write those to a file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Output {
    /// Refuses a file that cannot be written.
    pub(super) fn open(&self) -> Result<Printer<'_>> {
        self.out.as_deref().map(check_writable).transpose()?;
        Ok(Printer { to: self, lines: String::new() })
    }
}

/// Prints measurements as they come, and keeps them for the file.
pub(super) struct Printer<'a> {
    to: &'a Output,
    lines: String,
}

impl Printer<'_> {
    /// For a person, above the measurements.
    pub(super) fn head(&self, text: &str) -> Result<()> {
        if self.to.json { Ok(()) } else { console::print(text) }
    }

    /// For a person, beside them.
    pub(super) fn remark(&self, text: &str) {
        console::note(text);
    }

    pub(super) fn put(&mut self, record: &Record, line: &str) -> Result<()> {
        self.lines += &serde_json::to_string(record).expect("plain fields with string keys");
        self.lines.push('\n');
        if self.to.json { print_json(record) } else { console::print(line) }
    }

    pub(super) fn finish(self) -> Result<()> {
        match &self.to.out {
            Some(path) => write_whole(path, self.lines.as_bytes()),
            None => Ok(()),
        }
    }
}
