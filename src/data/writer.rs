//! Writes Megatron `.bin` + `.idx`, whole or not at all, and beside them hashes of what was written and weights of the tokens.
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::claim::Claim;
use super::dtype::Dtype;
use super::hashes::{BLOCK_BYTES, BlockHasher, ContentHashes, hashes_path};
use super::megatron::{MAGIC, with_suffix};
use super::plane::{NotedWeights, PlaneKind, PlaneWriter, plane_path};
use crate::files::{Disk, Draft, folder_of, is_draft, sync_folder_of};
use crate::{Error, Result, stop};

/// Held while the files of a folder get their names.
const FOLDER_LOCK: &str = "tokenizer.json.lock";

/// A shard under construction: drafts until `finish`. Dropped unfinished or asked to stop, it leaves nothing behind; killed,
/// it leaves `<prefix>.bin.tmp-*` and `<prefix>.lock`, which the next writer of the same prefix takes away.
///
/// Memory: 4 bytes per document for the index and 8 per 32 KiB of tokens for the hashes, which go out at the end.
#[derive(Debug)]
pub struct ShardWriter {
    prefix: PathBuf,
    dtype: Dtype,
    bin: BufWriter<Draft<'static>>,
    hashes: BlockHasher,
    plane: Option<PlaneWriter>,
    /// Tokens of each document.
    sizes: Vec<i32>,
    tokens: u64,
    scratch: Vec<u8>,
    /// The last to go.
    claim: Claim,
}

/// A small file that goes beside a shard.
pub(crate) struct Beside {
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
    /// Whether it may be there already, and then must be the same.
    pub(crate) shared: bool,
}

impl ShardWriter {
    /// For ids below `vocab_size`: u16 below 65,500 as gpt-neox chooses, otherwise i32. Refused when the shard exists
    /// or another process is writing it.
    pub fn create(prefix: &Path, vocab_size: u32) -> Result<Self> {
        Self::create_weighed(prefix, vocab_size, None)
    }

    /// As `create`, with a plane of weights beside it where `plane` says which.
    pub(crate) fn create_weighed(prefix: &Path, vocab_size: u32, plane: Option<PlaneKind>) -> Result<Self> {
        check_name(prefix)?;
        refuse_existing(prefix)?;
        fs::create_dir_all(folder_of(prefix)).map_err(Error::input("create", folder_of(prefix)))?;
        let claim = Claim::take(&with_suffix(prefix, ".lock"), &format!("{}.bin", prefix.display()))?;
        // Again: the one that had the lock before may have made them.
        refuse_existing(prefix)?;
        if claim.is_held() {
            remove_leftovers(prefix);
        }
        let path = with_suffix(prefix, ".bin");
        let draft = Draft::create(&Disk, &path).map_err(Error::input("create", &path))?;
        Ok(Self {
            prefix: prefix.to_path_buf(),
            dtype: if vocab_size < 65_500 { Dtype::U16 } else { Dtype::I32 },
            bin: BufWriter::with_capacity(1 << 20, draft),
            hashes: BlockHasher::new(),
            plane: plane.map(|kind| PlaneWriter::create(prefix, kind)).transpose()?,
            sizes: Vec::new(),
            tokens: 0,
            scratch: Vec::new(),
            claim,
        })
    }

    /// The stored integer type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of documents written so far.
    pub fn documents(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// Number of tokens written so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Appends one document. Refused when it has 2^31 tokens or more, or an id does not fit the type.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        self.push_weighed(ids, &[])
    }

    /// As `push`, with the weight of each token; those are ignored where there is no plane.
    pub(crate) fn push_weighed(&mut self, ids: &[u32], weights: &[f32]) -> Result<()> {
        let size = i32::try_from(ids.len()).map_err(|_| {
            Error::refused(format!(
                "a document has {} tokens, the format allows 2147483647; split it",
                ids.len()
            ))
        })?;
        let limit = if self.dtype == Dtype::U16 { u32::from(u16::MAX) } else { i32::MAX as u32 };
        if let Some(id) = ids.iter().find(|id| **id > limit) {
            return Err(Error::refused(format!(
                "the id {id} does not fit {}; this tokenizer cannot be stored",
                self.dtype
            )));
        }
        self.scratch.clear();
        match self.dtype {
            Dtype::U16 => self.scratch.extend(ids.iter().flat_map(|id| (*id as u16).to_le_bytes())),
            _ => self.scratch.extend(ids.iter().flat_map(|id| id.to_le_bytes())),
        }
        self.hashes.update(&self.scratch);
        self.bin.write_all(&self.scratch).map_err(Error::io("write", with_suffix(&self.prefix, ".bin")))?;
        if let Some(plane) = &mut self.plane {
            plane.push(weights)?;
        }
        self.sizes.push(size);
        self.tokens += ids.len() as u64;
        Ok(())
    }

    /// Writes the index and gives both files their names. The `.idx` comes last: a shard exists when it does.
    pub fn finish(self) -> Result<()> {
        self.finish_with(|_, _| Ok(Vec::new()))
    }

    /// As `finish`, with the hashes and what `beside` makes of them and of the plane: all of it takes its place, or none.
    pub(crate) fn finish_with(
        self,
        beside: impl FnOnce(ContentHashes, Option<NotedWeights>) -> Result<Vec<Beside>>,
    ) -> Result<()> {
        let path = with_suffix(&self.prefix, ".bin");
        let (idx, index) = self.write_index(&with_suffix(&self.prefix, ".idx"))?;
        let Self { prefix, bin, hashes, plane, claim, .. } = self;
        let mut bin = bin.into_inner().map_err(|e| Error::io("write", &path)(e.into_error()))?;
        bin.sync().map_err(Error::io("sync", &path))?;
        let table = hashes.finish();
        let content = ContentHashes {
            block_bytes: BLOCK_BYTES as u64,
            blocks: format!("{:032x}", xxh3_128(&table)),
            index: format!("{index:032x}"),
        };
        let mut files = vec![Beside { path: hashes_path(&prefix), content: table, shared: false }];
        let (plane, noted) = plane.map(PlaneWriter::finish).transpose()?.unzip();
        files.extend(beside(content, noted)?);
        let draft = |file: &Beside| {
            Draft::of(&Disk, &file.path, &file.content).map_err(Error::io("write", &file.path))
        };
        let drafts = files.into_iter().map(|file| Ok((draft(&file)?, file)));
        let (shared, own): (Vec<_>, Vec<_>) =
            drafts.collect::<Result<Vec<_>>>()?.into_iter().partition(|(_, file)| file.shared);

        let _held = stop::hold(); // all of them or none
        // Names are given out by one process at a time, and only after everything was looked at again.
        let folder = Claim::wait(&folder_of(&prefix).join(FOLDER_LOCK))?;
        refuse_existing(&prefix)?;
        let mut placed = Placed(Vec::new());
        shared.into_iter().try_for_each(|(draft, file)| placed.share(draft, &file))?;
        placed.place(bin)?;
        plane.map_or(Ok(()), |plane| placed.place(plane))?;
        for (draft, file) in own {
            draft.replace().map_err(Error::io("rename to", &file.path))?;
        }
        placed.place(idx)?;
        placed.0.clear();
        drop((folder, claim));
        sync_folder_of(&prefix).map_err(Error::io("sync the folder of", &prefix))
    }

    /// The `.idx`, in which each document is one sequence, and its XXH3-128.
    fn write_index(&self, path: &Path) -> Result<(Draft<'static>, u128)> {
        let draft = Draft::create(&Disk, path).map_err(Error::io("create", path))?;
        let mut out = Hashed { out: BufWriter::with_capacity(1 << 20, draft), hash: Xxh3::new() };
        self.put_index(&mut out).map_err(Error::io("write", path))?;
        let mut draft = out.out.into_inner().map_err(|e| Error::io("write", path)(e.into_error()))?;
        draft.sync().map_err(Error::io("sync", path))?;
        Ok((draft, out.hash.digest128()))
    }

    fn put_index(&self, out: &mut impl Write) -> io::Result<()> {
        let documents = self.documents();
        let code = if self.dtype == Dtype::U16 { 8u8 } else { 4 };
        out.write_all(MAGIC)?;
        out.write_all(&1u64.to_le_bytes())?;
        out.write_all(&[code])?;
        out.write_all(&documents.to_le_bytes())?;
        out.write_all(&(documents + 1).to_le_bytes())?;
        self.sizes.iter().try_for_each(|size| out.write_all(&size.to_le_bytes()))?;
        let mut pointer = 0u64;
        for size in &self.sizes {
            out.write_all(&pointer.to_le_bytes())?;
            pointer += u64::from(size.unsigned_abs()) * self.dtype.bytes();
        }
        (0..=documents).try_for_each(|sequence| out.write_all(&sequence.to_le_bytes()))
    }
}

/// A writer that hashes what goes through it.
struct Hashed<W> {
    out: W,
    hash: Xxh3,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Files that have their names; dropped with them, it takes them away again.
struct Placed(Vec<PathBuf>);

impl Placed {
    fn place(&mut self, draft: Draft<'_>) -> Result<()> {
        let path = draft.target().to_path_buf();
        match draft.place() {
            Ok(()) => self.0.push(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(exists(&path)),
            Err(e) => return Err(Error::io("rename to", &path)(e)),
        }
        Ok(())
    }

    /// Where it is there already, it must have the same content.
    fn share(&mut self, draft: Draft<'_>, file: &Beside) -> Result<()> {
        match fs::read(&file.path) {
            Ok(there) if there == file.content => Ok(()),
            Ok(_) => Err(Error::refused(format!(
                "another process put another {} there meanwhile; write to another folder, or use that one",
                file.path.display()
            ))),
            Err(e) if e.kind() == ErrorKind::NotFound => self.place(draft),
            Err(e) => Err(Error::input("read", &file.path)(e)),
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| remove(path));
    }
}

/// The files of a prefix must not be those of the folder.
fn check_name(prefix: &Path) -> Result<()> {
    let name = prefix.file_name().filter(|_| !prefix.as_os_str().as_encoded_bytes().ends_with(b"/"));
    match name.map(|name| name.as_encoded_bytes()) {
        None => Err(Error::refused(format!(
            "{} does not end in a name; give a prefix such as {}",
            prefix.display(),
            prefix.join("data").display()
        ))),
        Some(b"tokenizer" | b"tokenizer.json") => Err(Error::refused(format!(
            "{} would put the shard's note in the place of tokenizer.json; choose another prefix",
            prefix.display()
        ))),
        Some(_) => Ok(()),
    }
}

fn refuse_existing(prefix: &Path) -> Result<()> {
    let [bin, idx] = [".bin", ".idx"].map(|suffix| with_suffix(prefix, suffix));
    let plane = plane_path(prefix);
    let there = |path: &Path| fs::symlink_metadata(path).is_ok();
    match (there(&bin), there(&idx)) {
        (false, false) if there(&plane) => Err(Error::refused(format!(
            "{} exists already: a plane of weights, of another shard than the one to be written; choose another output prefix or \
             remove it",
            plane.display()
        ))),
        (false, false) => Ok(()),
        (true, false) => Err(Error::refused(format!(
            "{} exists already, without its .idx: it is of another kind, or left by a process that was killed; choose              another output prefix or remove it",
            bin.display()
        ))),
        (true, true) => Err(exists(&bin)),
        (false, true) => Err(exists(&idx)),
    }
}

fn exists(path: &Path) -> Error {
    Error::refused(format!(
        "{} exists already and is not overwritten; choose another output prefix or remove it",
        path.display()
    ))
}

/// What killed writers of this prefix left; nobody else writes it now.
fn remove_leftovers(prefix: &Path) {
    let (Ok(entries), Some(name)) = (fs::read_dir(folder_of(prefix)), prefix.file_name()) else { return };
    let ours = |file: &OsStr| {
        let rest = file.as_encoded_bytes().strip_prefix(name.as_encoded_bytes())?;
        let rest = [".bin", ".idx", ".json", ".hashes", ".weights"]
            .iter()
            .find_map(|s| rest.strip_prefix(s.as_bytes()))?;
        // Those without numbers were written by older versions.
        Some(rest == b".tmp" || rest.starts_with(b".tmp-") && file.to_str().is_some_and(is_draft))
    };
    for entry in entries.flatten().filter(|e| ours(&e.file_name()) == Some(true)) {
        remove(&entry.path());
    }
}

/// Best effort on the way out of an error: a leftover is harmless.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}
