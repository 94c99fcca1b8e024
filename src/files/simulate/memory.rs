//! A file system in memory, with an optional bound on its size.
use super::SMALL_PIECE;
use crate::files::storage::{DirEntry, ReadAt, Sink, Storage};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files and directories by path. Directories have no contents.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
    capacity: Option<u64>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<PathBuf, Option<Arc<Vec<u8>>>>,
    used: u64,
    peak: u64,
}

impl Memory {
    /// An empty disk with the directory `root`, whose parents are not modelled.
    pub fn new(root: &Path) -> Self {
        let memory = Self::default();
        memory.state().nodes.insert(root.into(), None);
        memory
    }

    /// A disk that is full after `bytes` bytes.
    pub fn with_capacity(root: &Path, bytes: u64) -> Self {
        Self { capacity: Some(bytes), ..Self::new(root) }
    }

    /// Puts a file there, or replaces it, whatever the capacity.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        state.used += bytes.len() as u64;
        let old = state.nodes.insert(path.into(), Some(Arc::new(bytes)));
        state.used -= old.flatten().map_or(0, |b| b.len() as u64);
        state.peak = state.peak.max(state.used);
    }

    /// Puts a directory there.
    pub fn put_dir(&self, path: &Path) {
        self.state().nodes.insert(path.into(), None);
    }

    /// The contents of a file.
    pub fn get(&self, path: &Path) -> Option<Vec<u8>> {
        self.state().nodes.get(path)?.as_ref().map(|b| b.to_vec())
    }

    /// Every path with its contents; directories have none.
    pub fn tree(&self) -> BTreeMap<PathBuf, Option<Arc<Vec<u8>>>> {
        self.state().nodes.clone()
    }

    /// Most bytes that were ever held at once.
    pub fn peak_bytes(&self) -> u64 {
        self.state().peak
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panicking test must not hide its reason behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, path: &Path, node: Option<Arc<Vec<u8>>>) -> io::Result<()> {
        let mut state = self.state();
        let parent = path.parent().and_then(|p| state.nodes.get(p));
        match (parent, state.nodes.contains_key(path)) {
            (Some(None), false) => {
                state.nodes.insert(path.into(), node);
                Ok(())
            }
            (Some(None), true) => Err(ErrorKind::AlreadyExists.into()),
            (Some(Some(_)), _) => Err(ErrorKind::NotADirectory.into()),
            (None, _) => Err(ErrorKind::NotFound.into()),
        }
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let room = self.capacity.map_or(u64::MAX, |c| c.saturating_sub(state.used));
        let n = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if n == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        match state.nodes.get_mut(path) {
            Some(Some(file)) => Arc::make_mut(file).extend_from_slice(&bytes[..n]),
            _ => return Err(ErrorKind::NotFound.into()),
        }
        state.used += n as u64;
        state.peak = state.peak.max(state.used);
        Ok(n)
    }
}

impl Storage for Memory {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.insert(dir, None)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink + '_>> {
        self.insert(path, Some(Arc::default()))?;
        Ok(Box::new(MemorySink { memory: self, path: path.into() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt + '_>> {
        match self.state().nodes.get(path) {
            Some(Some(bytes)) => Ok(Box::new(MemorySource(bytes.clone()))),
            Some(None) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.nodes.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        if state.nodes.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let moved: Vec<PathBuf> = state.nodes.keys().filter(|p| p.starts_with(from)).cloned().collect();
        for path in moved {
            let below = path.strip_prefix(from).expect("filtered by this prefix").to_path_buf();
            let node = state.nodes.remove(&path).expect("it was listed under this lock");
            let target = if below == Path::new("") { to.into() } else { to.join(below) };
            state.nodes.insert(target, node);
        }
        Ok(())
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.get(from).ok_or(ErrorKind::NotFound)?;
        match self.remove_file(to) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => self.put(to, file),
        }
        self.remove_file(from)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.list(dir).map(|_| ())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.nodes.get(path).cloned() {
            Some(Some(bytes)) => {
                state.nodes.remove(path);
                state.used -= bytes.len() as u64;
                Ok(())
            }
            Some(None) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.state().nodes.remove(dir);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        match state.nodes.get(dir) {
            Some(None) => {}
            Some(Some(_)) => return Err(ErrorKind::NotADirectory.into()),
            None => return Err(ErrorKind::NotFound.into()),
        }
        let children = state.nodes.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(children
            .filter_map(|(path, node)| {
                Some(DirEntry { name: path.file_name()?.to_str()?.into(), is_dir: node.is_none() })
            })
            .collect())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<Option<u64>> {
        Ok(self.capacity.map(|c| c.saturating_sub(self.state().used)))
    }

    fn write_piece(&self) -> usize {
        SMALL_PIECE
    }
}

struct MemorySink<'a> {
    memory: &'a Memory,
    path: PathBuf,
}

impl Sink for MemorySink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.memory.append(&self.path, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(path == self.path)
    }
}

struct MemorySource(Arc<Vec<u8>>);

impl ReadAt for MemorySource {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}
