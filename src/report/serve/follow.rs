//! A log that grows while it is read: of each look only what was appended since is read, and a log that was cut or replaced, as
//! by a resume, is read anew.
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::checkpoint::LOG;
use crate::report::RunLog;
use crate::report::log::wrong_line;

/// Bytes of the end of what was read that must still be there for it to go on.
const TAIL: usize = 512;

/// The log of a run as far as it was read.
#[derive(Debug, Default)]
pub struct FollowedLog {
    path: PathBuf,
    log: RunLog,
    /// The file at the last look; none before the first, and where there was none.
    file: Option<Known>,
    /// How far it was read: bytes, and lines, whole ones only.
    bytes: u64,
    lines: usize,
    /// The end of what was read, [`TAIL`] bytes of it at most.
    tail: Vec<u8>,
    trouble: Option<String>,
}

/// What says that a file is the same and has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    id: (u64, u64),
    len: u64,
    modified: (i64, i64),
}

impl FollowedLog {
    /// Of a run directory. Nothing is read yet.
    pub fn new(run_dir: &Path) -> Self {
        Self { path: run_dir.join(LOG), ..Self::default() }
    }

    /// The log up to the last whole line, or to a line that is wrong.
    pub fn log(&self) -> &RunLog {
        &self.log
    }

    /// Why it goes no further than that, for a person.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Reads what is new; whether there was any, or another trouble. What was read of a log that is gone stays.
    pub fn look(&mut self) -> bool {
        self.read().unwrap_or_else(|e| {
            let trouble = Some(format!("cannot read {}: {e}", self.path.display()));
            self.file = None;
            std::mem::replace(&mut self.trouble, trouble.clone()) != trouble
        })
    }

    fn read(&mut self) -> io::Result<bool> {
        let there = fs::metadata(&self.path)?;
        if self.file == Some(Known::of(&there)) {
            return Ok(false);
        }
        if !there.is_file() {
            return Err(io::Error::other("it is no file")); // opening a pipe might wait without end
        }
        let mut file = File::open(&self.path)?;
        let known = Known::of(&file.metadata()?);
        if !self.goes_on(&mut file, known)? {
            let path = std::mem::take(&mut self.path);
            *self = Self { path, ..Self::default() };
        }
        file.seek(SeekFrom::Start(self.bytes))?;
        self.trouble = None;
        self.take(BufReader::new(file.take(known.len - self.bytes)))?;
        self.file = Some(known);
        Ok(true)
    }

    /// Whether what was read is still the beginning of the file.
    fn goes_on(&self, file: &mut File, known: Known) -> io::Result<bool> {
        if self.file.is_none_or(|before| before.id != known.id) || known.len < self.bytes {
            return Ok(false);
        }
        let mut tail = vec![0; self.tail.len()];
        file.seek(SeekFrom::Start(self.bytes - self.tail.len() as u64))?;
        file.read_exact(&mut tail)?;
        Ok(tail == self.tail)
    }

    /// Takes whole lines, up to the end or to one that is wrong.
    fn take(&mut self, mut text: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            text.read_until(b'\n', &mut line)?;
            let Some(whole) = line.strip_suffix(b"\n") else { return Ok(()) };
            if self.log.take(whole).is_none() {
                self.trouble = Some(wrong_line(&self.path, self.lines + 1));
                return Ok(());
            }
            self.lines += 1;
            self.bytes += line.len() as u64;
            self.tail.extend(&line);
            self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        }
    }
}

impl Known {
    fn of(file: &Metadata) -> Self {
        let id = (file.dev(), file.ino());
        Self { id, len: file.len(), modified: (file.mtime(), file.mtime_nsec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn step(step: u64, loss: f64) -> String {
        let tokens = step * 64;
        format!("{{\"step\":{step},\"tokens\":{tokens},\"loss\":{loss:?},\"lr\":0.1,\"tokens_per_s\":1.0}}\n")
    }

    /// Whether the look found something, and the losses then.
    fn losses(log: &mut FollowedLog) -> (bool, Vec<f64>) {
        (log.look(), log.log().steps.iter().map(|step| step.loss).collect())
    }

    #[test]
    fn what_is_appended_is_read_once_and_a_torn_line_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let mut log = FollowedLog::new(dir.path());
        assert!(log.look() && !log.look() && log.trouble().is_some_and(|t| t.contains("No such file")));
        fs::write(&path, step(1, 5.0) + &step(2, 4.0)).unwrap();
        assert_eq!(losses(&mut log), (true, vec![5.0, 4.0]));
        assert_eq!(losses(&mut log), (false, vec![5.0, 4.0]));
        assert_eq!(log.trouble(), None);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let next = step(3, 3.0);
        let (torn, rest) = next.split_at(20);
        file.write_all(torn.as_bytes()).unwrap();
        log.look();
        assert_eq!((log.log().steps.len(), log.trouble()), (2, None));
        file.write_all(rest.as_bytes()).unwrap();
        assert_eq!(losses(&mut log), (true, vec![5.0, 4.0, 3.0]));
        // What was read is not read again: a first line that changes behind the reader's back, far before its tail, is not seen.
        (4..40).for_each(|i| file.write_all(step(i, 2.0).as_bytes()).unwrap());
        log.look();
        let text = fs::read_to_string(&path).unwrap().replacen("5.0", "9.0", 1) + &step(40, 1.0);
        fs::write(&path, text).unwrap();
        let (_, seen) = losses(&mut log);
        assert_eq!((seen.len(), seen[0], seen[39]), (40, 5.0, 1.0));
    }

    #[test]
    fn a_log_that_was_cut_or_replaced_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let mut log = FollowedLog::new(dir.path());
        fs::write(&path, step(1, 5.0) + &step(2, 4.0) + &step(3, 3.0)).unwrap();
        log.look();
        fs::write(&path, step(1, 5.0)).unwrap();
        assert_eq!(losses(&mut log), (true, vec![5.0]));
        // Longer than before, in another file or in the same one.
        let other = dir.path().join("other");
        fs::write(&other, step(1, 6.0) + &step(2, 6.5)).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(losses(&mut log), (true, vec![6.0, 6.5]));
        fs::write(&path, step(1, 7.0) + &step(2, 7.5) + &step(3, 7.25)).unwrap();
        assert_eq!(losses(&mut log), (true, vec![7.0, 7.5, 7.25]));
        // Gone: what was read stays, and another one is read from its beginning.
        fs::remove_file(&path).unwrap();
        assert_eq!(losses(&mut log), (true, vec![7.0, 7.5, 7.25]));
        assert!(!log.look() && log.trouble().is_some());
        fs::write(&path, step(1, 8.0)).unwrap();
        assert_eq!((losses(&mut log), log.trouble()), ((true, vec![8.0]), None));
    }

    #[test]
    fn a_wrong_line_is_named_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let mut log = FollowedLog::new(dir.path());
        let wrong = |end: &str| step(1, 5.0) + "{\"step\":\n" + &step(2, 4.0) + end;
        for end in ["", &step(3, 3.0)] {
            fs::write(&path, wrong(end)).unwrap();
            assert_eq!(losses(&mut log), (true, vec![5.0]));
            assert!(log.trouble().is_some_and(|trouble| trouble.contains("line 2 is not JSON")));
            assert!(!log.look());
        }
        fs::write(&path, step(1, 5.0) + &step(2, 4.0)).unwrap();
        assert_eq!((losses(&mut log), log.trouble()), ((true, vec![5.0, 4.0]), None));
        fs::write(&path, b"\xff\n").unwrap();
        assert!(log.look() && log.trouble().is_some_and(|trouble| trouble.contains("line 1")));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(log.look() && log.trouble().is_some_and(|trouble| trouble.contains("no file")));
    }
}
