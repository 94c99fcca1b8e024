//! The files that a user names, and those in folders.
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::format::{extension, unpacked_name};
use super::open::Place;
use super::options::{InputFile, InputOptions};
use super::own::{folder_of_ours, is_hub_part, of_ours};
use super::tally::Tally;
use crate::{Error, Result};

/// Device and number of a file: the same by whatever name.
type Id = (u64, u64);

pub(super) struct Finder<'a> {
    options: &'a InputOptions,
    pub(super) files: Vec<InputFile>,
    pub(super) left_out: Tally,
    /// What was named, in order.
    pub(super) sources: Vec<PathBuf>,
    /// What was named, by what name.
    named: HashMap<Id, PathBuf>,
    /// All files that are taken.
    taken: HashSet<Id>,
    /// Folders that were looked into.
    entered: HashSet<Id>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(options: &'a InputOptions) -> Self {
        Self {
            options,
            files: Vec::new(),
            left_out: Tally::default(),
            sources: Vec::new(),
            named: HashMap::new(),
            taken: HashSet::new(),
            entered: HashSet::new(),
        }
    }

    /// What the user names: `-` is the standard input.
    pub(super) fn name(&mut self, path: &Path) -> Result<()> {
        let stdin = path == Path::new("-");
        let real = if stdin { Path::new("/dev/stdin") } else { path };
        let metadata = std::fs::metadata(real).map_err(Error::input("open", path))?;
        let id = (metadata.dev(), metadata.ino());
        if let Some(before) = self.named.insert(id, path.to_path_buf()) {
            return Err(Error::refused(format!(
                "{} is named twice, the first time as {}; name each file and folder once",
                path.display(),
                before.display()
            )));
        }
        self.sources.push(path.to_path_buf());
        if metadata.is_dir() {
            return self.folder(path);
        }
        if let Some(what) = of_ours(path) {
            return Err(Error::refused(format!(
                "{} is no text: it belongs to the {what} that `rewarm data tokenize` writes; leave it out",
                path.display()
            )));
        }
        if !self.taken.insert(id) {
            self.left_out.add(TWICE, path.display());
            return Ok(());
        }
        let place = match () {
            () if stdin => Place::Stdin,
            () if metadata.is_file() => Place::File(path.to_path_buf()),
            () => Place::Stream(path.to_path_buf()),
        };
        self.files.push(InputFile {
            place,
            bytes: metadata.is_file().then_some(metadata.len()),
            named: true,
            source: self.sources.len() - 1,
        });
        Ok(())
    }

    /// All files below, sorted by name in each folder; links are followed.
    fn folder(&mut self, folder: &Path) -> Result<()> {
        let mut walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {
                    if !self.enters(&entry)? {
                        walk.skip_current_dir();
                    }
                }
                Ok(entry) => self.file(&entry),
                Err(e) => self.trouble(folder, &e)?,
            }
        }
        Ok(())
    }

    fn enters(&mut self, entry: &DirEntry) -> Result<bool> {
        let (path, metadata) = (entry.path(), entry.metadata());
        let metadata = metadata.map_err(|e| cannot_list(path, &e))?;
        let why = match () {
            // What was named is looked into, whatever it is called.
            () if entry.depth() == 0 => None,
            () if is_hidden(entry.file_name()) => Some(HIDDEN),
            () if is_hub_part(path) => Some("parts of a hub's cache, whose files are taken by their names"),
            () => folder_of_ours(path),
        };
        let why = why.or((!self.entered.insert(id_of(&metadata))).then_some(TWICE));
        if let Some(why) = why {
            self.left_out.add(why, path.display());
        }
        Ok(why.is_none())
    }

    fn file(&mut self, entry: &DirEntry) {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else {
            return self.left_out.add(UNREADABLE, path.display());
        };
        let why = match () {
            () if is_hidden(entry.file_name()) => Some(HIDDEN),
            () if !self.is_wanted(path) => Some("with another extension"),
            () if !metadata.is_file() => Some("neither files nor folders"),
            () => of_ours(path),
        };
        let why = why.or((!self.taken.insert(id_of(&metadata))).then_some(TWICE));
        if let Some(why) = why {
            return self.left_out.add(why, path.display());
        }
        let bytes = Some(metadata.len());
        let source = self.sources.len() - 1;
        self.files.push(InputFile { place: Place::File(path.to_path_buf()), bytes, named: false, source });
    }

    /// By `--extension`: of the name, with and without that of the packing.
    fn is_wanted(&self, path: &Path) -> bool {
        let (inner, packing) = unpacked_name(path);
        let extensions = [extension(path), packing.and_then(|_| extension(inner))];
        let is = |wanted: &String| extensions.iter().flatten().any(|e| e.eq_ignore_ascii_case(wanted));
        self.options.extensions.is_empty() || self.options.extensions.iter().any(is)
    }

    /// Something in a folder that leads nowhere.
    fn trouble(&mut self, folder: &Path, e: &walkdir::Error) -> Result<()> {
        let path = e.path().unwrap_or(folder);
        if e.depth() == 0 {
            return Err(cannot_list(folder, e));
        }
        let in_circles =
            |e: &std::io::Error| e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        let what = match e.io_error().map(std::io::Error::kind) {
            _ if path.file_name().is_some_and(is_hidden) => HIDDEN,
            None => "links that lead back to a folder they are in",
            Some(ErrorKind::NotFound) if path.is_symlink() => "links that lead nowhere",
            Some(_) if e.io_error().is_some_and(in_circles) => "links that lead to each other",
            // Deleted while the folder was listed.
            Some(ErrorKind::NotFound | ErrorKind::PermissionDenied) => UNREADABLE,
            Some(_) => return Err(cannot_list(path, e)),
        };
        self.left_out.add(what, path.display());
        Ok(())
    }
}

const HIDDEN: &str = "hidden";
const TWICE: &str = "that were taken by another name";
const UNREADABLE: &str = "that cannot be read";

fn id_of(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn cannot_list(path: &Path, e: &walkdir::Error) -> Error {
    Error::refused(format!("cannot list {}: {e}", path.display()))
}
