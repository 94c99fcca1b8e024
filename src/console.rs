//! What a person or a pipe reads. A reader that left (`| head`, a closed terminal) must never end a run, which
//! the standard macros would do by a panic.
use crate::{Error, Result};
use std::io::{ErrorKind, Write};

/// What the library says to whoever runs it ([`log`]) as lines on stderr: how the program listens. Without this nothing is
/// printed, and another program may listen in its own way.
pub fn show_log() {
    // An error where somebody listens already, which is as well.
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

struct Lines;

impl log::Log for Lines {
    /// Ours alone: other crates have their own ideas of what is worth a line.
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &log::Record) {
        match record.level() {
            _ if !self.enabled(record.metadata()) => {}
            log::Level::Warn => note(&format!("warning: {}", record.args())),
            _ => note(&record.args().to_string()),
        }
    }

    fn flush(&self) {}
}

/// A line on stderr; where nobody listens it is dropped.
pub fn note(line: &str) {
    // One write, so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Text on stdout, followed by a line end where it has none. A reader that has seen enough is no error.
pub fn print(text: &str) -> Result<()> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut out = std::io::stdout().lock();
    match out.write_all(format!("{text}{end}").as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", "the standard output")(e)),
        _ => Ok(()),
    }
}
