//! Being asked to stop: by a signal, by the clock or by a file. There is one request per process, as signals are its own.
//!
//! While nothing is at hand that a restart would not find again, the process ends where it is, wherever that is: inside of
//! a library, too. Its drafts and locks go with it ([`crate::files`]). What [`hold`]s back asks
//! [`check`] between its parts instead, and finishes what it must. The tasks of the cpu backend ask [`requested`], too:
//! from a request on it computes nothing, and reading a result of it is an error.
use crate::console::note;
use crate::files::take_away_temporary;
use crate::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What people and batch systems send before they kill: terminals and hangups, Slurm's and LSF's `--signal`, SGE's
/// notice, the soft limit of processor time.
const SIGNALS: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU];
/// How often the thread that waits for a request looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Signals this soon after the first are its echo: wrappers and terminals send one twice.
const ECHO: Duration = Duration::from_millis(50);
/// How often the file is looked for.
const FILE_EVERY: Duration = Duration::from_millis(500);

static REQUESTED: AtomicBool = AtomicBool::new(false);
static STATE: Mutex<State> = Mutex::new(State { idle: None, held: 0, reason: None, file: None });

struct State {
    /// What ends the process while nothing is held.
    idle: Option<Idle>,
    /// How many hold requests back.
    held: usize,
    reason: Option<Reason>,
    file: Option<PathBuf>,
}

/// How a process ends that has nothing to save.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Its exit code; none: 128 and the signal's number, as shells have it.
    pub code: Option<u8>,
    /// What became of what it was doing, for a person.
    pub message: &'static str,
}

/// When to stop by the clock.
pub struct Deadline {
    /// The moment at which it was asked.
    pub at: Instant,
    /// As it was given, a span of time.
    pub given: String,
}

/// Who asked.
#[derive(Clone, Debug)]
enum Reason {
    Signal(i32),
    Clock(String),
    File(PathBuf),
}

/// While it lives, a request waits for [`check`].
pub struct Held(());

/// Listens from here on, once in a process: to signals, and to the clock. SIGHUP stays
/// ignored where it is, under `nohup`. The second signal ends the process at once, whatever it does.
pub fn listen(idle: Idle, deadline: Option<Deadline>) -> Result<()> {
    let heard: Vec<i32> =
        SIGNALS.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP)).collect();
    let armed = Arc::new(AtomicBool::new(false));
    let failed = |e: std::io::Error| Error::failed(format!("cannot handle signals: {e}"));
    // The kernel repeats SIGXCPU every second: it is never a second one.
    for signal in heard.iter().filter(|signal| **signal != SIGXCPU) {
        flag::register_conditional_shutdown(*signal, 128 + signal, armed.clone()).map_err(failed)?;
    }
    let signals = Signals::new(&heard).map_err(failed)?;
    state().idle = Some(idle);
    let watch = std::thread::Builder::new().name("stop".into());
    watch.spawn(move || wait(signals, deadline, &armed)).map(drop).map_err(failed)
}

/// From now on the appearance of this file is a request, too.
pub fn listen_to_file(path: PathBuf) {
    state().file = Some(path);
}

/// Holds requests back, until the result is dropped.
pub fn hold() -> Held {
    state().held += 1;
    Held(())
}

impl Drop for Held {
    fn drop(&mut self) {
        state().held -= 1;
    }
}

/// Whether what is being computed is no longer wanted. Once it is true it stays so.
#[inline]
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// [`Error::Stopped`] once a stop was requested.
pub fn check() -> Result<()> {
    if !requested() {
        return Ok(());
    }
    let state = state();
    let (reason, idle) = (state.reason.as_ref(), state.idle.as_ref());
    let (reason, idle) = reason.zip(idle).expect("both are there before the flag is set");
    Err(Error::Stopped { code: reason.code(idle), message: format!("stopped by {reason}; {}", idle.message) })
}

/// Who asked to stop, for a person.
pub fn reason() -> String {
    state().reason.as_ref().map_or("nobody".into(), Reason::to_string)
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: a structure of C without a value that is not allowed.
    let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only fills in the present one, which outlives it.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut found) };
    asked == 0 && found.sa_sigaction == libc::SIG_IGN
}

/// The thread that waits. A signal `armed`s the end at once by the next.
fn wait(mut signals: Signals, deadline: Option<Deadline>, armed: &AtomicBool) {
    let mut looked = Instant::now();
    let mut first = None;
    loop {
        if let Some(signal) = signals.pending().next() {
            first.get_or_insert_with(Instant::now);
            request(|| Some(Reason::Signal(signal)), armed);
        }
        if first.is_some_and(|at| at.elapsed() >= ECHO) {
            armed.store(true, Ordering::SeqCst);
        }
        request(
            || deadline.as_ref().filter(|d| Instant::now() >= d.at).map(|d| Reason::Clock(d.given.clone())),
            armed,
        );
        if looked.elapsed() >= FILE_EVERY {
            looked = Instant::now();
            let file = state().file.clone();
            request(|| file.filter(|path| path.exists()).map(Reason::File), armed);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The first request counts.
fn request(reason: impl FnOnce() -> Option<Reason>, armed: &AtomicBool) {
    if requested() {
        return;
    }
    let Some(reason) = reason() else { return };
    let mut state = state();
    if state.held == 0 {
        let idle = state.idle.expect("set before this thread began");
        armed.store(true, Ordering::SeqCst); // should nobody read the message
        take_away_temporary();
        note(&format!("stopped by {reason}; {}", idle.message));
        low_level::exit(reason.code(&idle).into());
    }
    state.reason = Some(reason);
    REQUESTED.store(true, Ordering::Relaxed);
}

impl Reason {
    fn code(&self, idle: &Idle) -> u8 {
        let by_signal = match self {
            Self::Signal(signal) => 128 + *signal as u8, // all are below 32
            Self::Clock(_) | Self::File(_) => 3,
        };
        idle.code.unwrap_or(by_signal)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(low_level::signal_name(*signal).unwrap_or("a signal")),
            Self::Clock(limit) => write!(f, "--stop-after {limit}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// A path as one word of a command for a shell.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c) || !c.is_ascii();
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        for (path, word) in [("runs/a-1", "runs/a-1"), ("my runs/a", "'my runs/a'"), ("it's", r"'it'\''s'")] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
