//! A storage whose n-th call goes wrong (redb's countdown, SQLite's n-th call).
use crate::files::storage::{DirEntry, ReadAt, Sink, Storage};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails; a write has written half by then. Later calls work.
    Error(ErrorKind),
    /// It and every later call fail, as after `kill -9`: the cleaning up fails too.
    Death,
    /// A read or write does one byte only; other calls work.
    Short,
    /// A read or write is interrupted by a signal; other calls work.
    Interrupt,
}

/// Counts the calls to another storage and makes one of them fail.
pub struct Faulty<'a> {
    inner: &'a dyn Storage,
    calls: AtomicU64,
    at: u64,
    fault: Fault,
}

impl<'a> Faulty<'a> {
    /// The call number `at`, counted from 0, meets `fault`.
    pub fn new(inner: &'a dyn Storage, at: u64, fault: Fault) -> Self {
        Self { inner, calls: AtomicU64::new(0), at, fault }
    }

    /// A storage that counts its calls and fails none.
    pub fn counting(inner: &'a dyn Storage) -> Self {
        Self::new(inner, u64::MAX, Fault::Death)
    }

    /// Number of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts one call; the fault it meets, if any.
    fn count(&self) -> Option<Fault> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        (n == self.at || (n > self.at && self.fault == Fault::Death)).then_some(self.fault)
    }

    /// For calls that are done or not done.
    fn whole<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.count() {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Death) => Err(io::Error::other("the process is dead")),
            Some(Fault::Short | Fault::Interrupt) | None => call(),
        }
    }

    /// For calls that may do a part: `call` is given how many of `length` bytes to do.
    fn partial(&self, length: usize, call: impl FnOnce(usize) -> io::Result<usize>) -> io::Result<usize> {
        let calls_before = self.calls();
        match self.count() {
            None => call(length),
            Some(Fault::Short) => call(length.min(1)),
            Some(Fault::Interrupt) => Err(ErrorKind::Interrupted.into()),
            Some(Fault::Error(kind)) => call(length / 2).and(Err(kind.into())),
            Some(Fault::Death) if calls_before == self.at => {
                call(length / 2).and(Err(io::Error::other("the process died")))
            }
            Some(Fault::Death) => Err(io::Error::other("the process is dead")),
        }
    }
}

impl Storage for Faulty<'_> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole(|| self.inner.create_dir(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink + '_>> {
        let inner = self.whole(|| self.inner.create(path))?;
        Ok(Box::new(FaultySink { faulty: self, inner }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt + '_>> {
        let inner = self.whole(|| self.inner.open(path))?;
        Ok(Box::new(FaultySource { faulty: self, inner }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(|| self.inner.rename(from, to))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(|| self.inner.replace(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole(|| self.inner.sync_dir(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.whole(|| self.inner.remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole(|| self.inner.remove_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.whole(|| self.inner.list(dir))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.whole(|| self.inner.free_bytes(dir))
    }

    fn write_piece(&self) -> usize {
        super::SMALL_PIECE
    }
}

struct FaultySink<'a> {
    faulty: &'a Faulty<'a>,
    inner: Box<dyn Sink + 'a>,
}

impl Sink for FaultySink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.faulty.partial(bytes.len(), |n| self.inner.write(&bytes[..n]))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.faulty.whole(|| self.inner.sync())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.faulty.whole(|| self.inner.is_at(path))
    }
}

struct FaultySource<'a> {
    faulty: &'a Faulty<'a>,
    inner: Box<dyn ReadAt + 'a>,
}

impl ReadAt for FaultySource<'_> {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faulty.partial(buffer.len(), |n| self.inner.read_at(&mut buffer[..n], offset))
    }
}
