//! Loss of power. [`Crash`] records every call; [`Crash::images`] gives every disk that a loss of power
//! between two calls may leave:
//!
//! - contents written since the last sync of a file may be absent, short, zero-filled or torn;
//! - entries of each directory reach the disk in order, but any number of the last ones may be missing,
//!   back to the last sync of that directory; directories do not wait for each other.
//!
//! This is weaker than ext4 promises, on purpose: what survives it survives any journal.
use super::{Memory, SMALL_PIECE};
use crate::files::storage::{DirEntry, ReadAt, Sink, Storage};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A disk in memory that records every call.
pub struct Crash {
    root: PathBuf,
    now: Memory,
    log: Mutex<Vec<Op>>,
    /// A planted bug, which the enumeration must find.
    ignore_file_syncs: bool,
    ignore_dir_syncs: bool,
}

#[derive(Clone, Debug)]
enum Op {
    CreateDir(PathBuf),
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    SyncDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Mark(u64),
}

impl Crash {
    /// An empty disk with the durable directory `root`.
    pub fn new(root: &Path) -> Self {
        let (now, log) = (Memory::new(root), Mutex::default());
        Self { root: root.into(), now, log, ignore_file_syncs: false, ignore_dir_syncs: false }
    }

    /// The same, on which syncs of files, or of directories, do nothing: the protocol without them.
    pub fn ignoring(root: &Path, file_syncs: bool, dir_syncs: bool) -> Self {
        Self { ignore_file_syncs: file_syncs, ignore_dir_syncs: dir_syncs, ..Self::new(root) }
    }

    /// Records that a step was reported as saved at this point.
    pub fn mark(&self, step: u64) {
        self.log().push(Op::Mark(step));
    }

    /// Number of calls recorded so far.
    pub fn calls(&self) -> usize {
        self.log().len()
    }

    /// Calls `judge` with each different image of each crash point, and the last marked step before it.
    /// Gives the number of images.
    pub fn images(&self, mut judge: impl FnMut(&Memory, Option<u64>)) -> u64 {
        let mut world = World::new();
        let mut seen = HashSet::new();
        let mut marked = None;
        let mut count = 0;
        let log = self.log().clone();
        for op in &log {
            if let Op::Mark(step) = op {
                marked = Some(*step);
            }
            world.apply(op, &self.root, self.ignore_file_syncs, self.ignore_dir_syncs);
            world.images(&mut |files| {
                let mut hasher = DefaultHasher::new();
                (files, marked).hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    count += 1;
                    judge(&image(&self.root, files), marked);
                }
            });
        }
        count
    }

    fn log(&self) -> MutexGuard<'_, Vec<Op>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Paths below the root; directories have no contents.
type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

fn image(root: &Path, files: &Files) -> Memory {
    let memory = Memory::new(root);
    for (path, contents) in files {
        match contents {
            Some(bytes) => memory.put(&root.join(path), bytes.clone()),
            None => memory.put_dir(&root.join(path)),
        }
    }
    memory
}

/// A change of one directory.
#[derive(Clone)]
enum Change {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

enum Node {
    /// Contents on the disk, and contents with what is still in memory.
    File { durable: Vec<u8>, current: Vec<u8> },
    /// Entries on the disk, and changes still in memory, in order.
    Dir { durable: BTreeMap<String, usize>, pending: Vec<Change> },
}

/// The disk and the page cache; node 0 is the root.
struct World {
    nodes: Vec<Node>,
}

impl World {
    fn new() -> Self {
        Self { nodes: vec![Node::Dir { durable: BTreeMap::new(), pending: Vec::new() }] }
    }

    fn apply(&mut self, op: &Op, root: &Path, ignore_file_syncs: bool, ignore_dir_syncs: bool) {
        let below =
            |path: &Path| path.strip_prefix(root).expect("all paths are below the root").to_path_buf();
        match op {
            Op::CreateDir(path) => {
                let dir = Node::Dir { durable: BTreeMap::new(), pending: Vec::new() };
                self.link(&below(path), dir);
            }
            Op::Create(path) => {
                self.link(&below(path), Node::File { durable: Vec::new(), current: Vec::new() })
            }
            Op::Write(path, bytes) => {
                let id = self.find(&below(path));
                if let Node::File { current, .. } = &mut self.nodes[id] {
                    current.extend_from_slice(bytes);
                }
            }
            Op::Sync(path) if !ignore_file_syncs => {
                let id = self.find(&below(path));
                if let Node::File { durable, current } = &mut self.nodes[id] {
                    durable.clone_from(current);
                }
            }
            Op::SyncDir(path) if !ignore_dir_syncs => {
                let id = self.find(&below(path));
                let now = self.entries(id, usize::MAX);
                self.nodes[id] = Node::Dir { durable: now, pending: Vec::new() };
            }
            Op::Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "renames between directories are not modelled");
                self.change(&below(from), Change::Rename(name(from), name(to)));
            }
            Op::Remove(path) => self.change(&below(path), Change::Unlink(name(path))),
            Op::Sync(_) | Op::SyncDir(_) | Op::Mark(_) => {}
        }
    }

    fn link(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.change(path, Change::Link(name(path), id));
    }

    fn change(&mut self, path: &Path, change: Change) {
        let parent = self.find(path.parent().expect("the root is never changed"));
        if let Node::Dir { pending, .. } = &mut self.nodes[parent] {
            pending.push(change);
        }
    }

    /// The node of a path as the running system sees it.
    fn find(&self, path: &Path) -> usize {
        path.iter().fold(0, |dir, name| self.entries(dir, usize::MAX)[&*name.to_string_lossy()])
    }

    /// A directory after the first `changes` of its pending changes.
    fn entries(&self, dir: usize, changes: usize) -> BTreeMap<String, usize> {
        let Node::Dir { durable, pending } = &self.nodes[dir] else {
            unreachable!("only asked of directories")
        };
        let mut entries = durable.clone();
        for change in pending.iter().take(changes) {
            match change {
                Change::Link(name, id) => {
                    entries.insert(name.clone(), *id);
                }
                Change::Unlink(name) => {
                    entries.remove(name);
                }
                Change::Rename(from, to) => {
                    let id = entries.remove(from).expect("changes apply in order");
                    entries.insert(to.clone(), id);
                }
            }
        }
        entries
    }

    /// Calls `found` with every image of this moment.
    fn images(&self, found: &mut impl FnMut(&Files)) {
        self.expand(vec![(PathBuf::new(), 0)], &mut Files::new(), found);
    }

    /// Depth-first over the choices: `todo` are nodes still to be placed into `files`.
    fn expand(&self, mut todo: Vec<(PathBuf, usize)>, files: &mut Files, found: &mut impl FnMut(&Files)) {
        let Some((path, id)) = todo.pop() else { return found(files) };
        match &self.nodes[id] {
            Node::File { durable, current } => {
                for contents in variants(durable, current) {
                    files.insert(path.clone(), Some(contents));
                    self.expand(todo.clone(), files, found);
                }
            }
            Node::Dir { pending, .. } => {
                if id != 0 {
                    files.insert(path.clone(), None);
                }
                for changes in 0..=pending.len() {
                    let mut todo = todo.clone();
                    let entries = self.entries(id, changes);
                    todo.extend(entries.into_iter().map(|(name, id)| (path.join(name), id)));
                    self.expand(todo, files, found);
                }
            }
        }
        files.remove(&path);
    }
}

/// What may be on the disk of a file that was `durable` and then appended to.
fn variants(durable: &[u8], current: &[u8]) -> Vec<Vec<u8>> {
    let (new, end) = (durable.len(), current.len());
    if new == end {
        return vec![current.to_vec()];
    }
    let middle = new + (end - new) / 2;
    let zeroed = |from: usize, to: usize| {
        let mut bytes = current.to_vec();
        bytes[from..to].fill(0);
        bytes
    };
    let mut all = vec![
        durable.to_vec(),
        current[..middle].to_vec(),
        current[..end - 1].to_vec(),
        zeroed(new, end),
        zeroed(middle, end),
        zeroed(new, middle),
        current.to_vec(),
    ];
    all.dedup();
    all
}

fn name(path: &Path) -> String {
    path.file_name().expect("all paths name something").to_string_lossy().into_owned()
}

impl Crash {
    /// Records a call that worked.
    fn record<T>(&self, op: Op, done: io::Result<T>) -> io::Result<T> {
        if done.is_ok() {
            self.log().push(op);
        }
        done
    }
}

impl Storage for Crash {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.record(Op::CreateDir(dir.into()), self.now.create_dir(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink + '_>> {
        let inner = self.record(Op::Create(path.into()), self.now.create(path))?;
        Ok(Box::new(CrashSink { crash: self, inner, path: path.into() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt + '_>> {
        self.now.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.record(Op::Rename(from.into(), to.into()), self.now.rename(from, to))
    }

    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.record(Op::Rename(from.into(), to.into()), self.now.replace(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.record(Op::SyncDir(dir.into()), self.now.sync_dir(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.record(Op::Remove(path.into()), self.now.remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.record(Op::Remove(dir.into()), self.now.remove_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.now.list(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.now.free_bytes(dir)
    }

    fn write_piece(&self) -> usize {
        SMALL_PIECE
    }
}

struct CrashSink<'a> {
    crash: &'a Crash,
    inner: Box<dyn Sink + 'a>,
    path: PathBuf,
}

impl Sink for CrashSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crash.record(Op::Write(self.path.clone(), bytes.to_vec()), self.inner.write(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.crash.record(Op::Sync(self.path.clone()), self.inner.sync())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_at(path)
    }
}
