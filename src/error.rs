//! One error type. A message says what was found, what was expected and what to do;
//! the variant decides the exit code of the process.
use std::fmt;
use std::path::{Path, PathBuf};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can end a command early.
#[derive(Debug)]
pub enum Error {
    /// Bad input or configuration: nothing was changed. Exit code 1.
    Refused(String),
    /// The machine failed while working (I/O, device, memory). Exit code 2.
    Failed(String),
    /// An I/O failure with the action and the path it happened on. Exit code 2.
    Io {
        /// What was attempted, as in "cannot {action} {path}".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Stopped on request: no failure.
    Stopped {
        /// Exit code: 3 where what was done is saved or nothing was lost, else 128 and the signal's number.
        code: u8,
        /// Who asked, what is on disk, and how to go on.
        message: String,
    },
    /// The same computation gave different bits. Exit code 4.
    NotReproducible(String),
}

impl Error {
    /// Bad input or configuration.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// A failure of the machine.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// For `map_err` on output and on I/O in the middle of a run.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err` on opening or reading what the user named: the user's mistake, not the machine's.
    pub fn input(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Refused(format!("cannot {action} {}: {source}", path.display()))
    }

    /// The same, of a part of what was being done: its name comes first.
    pub fn within(self, part: &str) -> Self {
        match self {
            Self::Refused(m) => Self::Refused(format!("{part}: {m}")),
            Self::Failed(m) => Self::Failed(format!("{part}: {m}")),
            other => other,
        }
    }

    /// 1 refused, 2 failed, 3 stopped on request, 4 not reproducible.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Failed(_) | Self::Io { .. } => 2,
            Self::Stopped { code, .. } => *code,
            Self::NotReproducible(_) => 4,
        }
    }
}

/// What a file or a library says, as a part of a message, which is one line: other characters than those of text are
/// written as `\\n` and the like.
pub fn one_line(text: impl fmt::Display) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    text.to_string().trim_end().chars().map(plain).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(m)
            | Self::Failed(m)
            | Self::NotReproducible(m)
            | Self::Stopped { message: m, .. } => f.write_str(m),
            Self::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
