//! Finding and loading a checkpoint: newest first, and nothing is believed that its
//! hashes do not prove.
use super::blocks::hash_bytes;
use super::manifest::Manifest;
use super::names::{EMA, FILES, LOG, MANIFEST, MODEL, OPTIMIZER, step_name, step_of};
use super::safetensors::TensorFile;
use super::tensors::{Tensors, load_tensors};
use crate::files::storage::Storage;
use crate::model::ParamTable;
use crate::ops::{Part, State};
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// The newest checkpoint that verified.
#[derive(Debug)]
pub struct Found {
    /// The step directory.
    pub dir: PathBuf,
    /// Its manifest, whose lengths and hashes hold.
    pub manifest: Manifest,
    /// Newer ones that did not verify, to be shown to the user.
    pub rejected: Vec<Rejected>,
}

/// A checkpoint that is not used.
#[derive(Debug)]
pub struct Rejected {
    /// The step directory.
    pub dir: PathBuf,
    /// Why it cannot be loaded.
    pub reason: String,
}

/// Every `step-*` directory of a run, newest first.
pub fn list_steps(storage: &dyn Storage, run_dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = storage.list(run_dir).map_err(Error::input("list", run_dir))?;
    let mut steps: Vec<(u64, PathBuf)> = entries
        .into_iter()
        .filter(|e| e.is_dir)
        .filter_map(|e| Some((step_of(&e.name)?, run_dir.join(e.name))))
        .collect();
    steps.sort_by_key(|&(step, _)| std::cmp::Reverse(step));
    Ok(steps)
}

/// The newest checkpoint of `run_dir` whose manifest, lengths and hashes all hold.
///
/// # Errors
/// Refused when there is none: a mistyped path and a run whose checkpoints are all damaged must never look
/// like a run at step 0.
pub fn find_newest(storage: &dyn Storage, run_dir: &Path) -> Result<Found> {
    let mut rejected = Vec::new();
    for (_, dir) in list_steps(storage, run_dir)? {
        match verify(storage, &dir) {
            Ok(manifest) => return Ok(Found { dir, manifest, rejected }),
            Err(reason) => rejected.push(Rejected { dir, reason }),
        }
    }
    let logged = storage.open(&run_dir.join(LOG)).is_ok();
    let run = run_dir.display();
    Err(Error::refused(if !rejected.is_empty() {
        let list: Vec<String> =
            rejected.iter().map(|r| format!("\n  {}: {}", r.dir.display(), r.reason)).collect();
        format!("{run} has no valid checkpoint; each was rejected; restore one from a copy:{}", list.concat())
    } else if logged {
        format!(
            "{run} has a log but no checkpoint: the run ended before its first save, or its steps were deleted; \
             `rewarm train` with its configuration starts it again"
        )
    } else {
        format!(
            "{run} has no checkpoint (no step-* directory) and no log; is the path right? (`rewarm train` starts a run)"
        )
    }))
}

/// Checks everything a checkpoint says about itself. The error is the reason only.
pub fn verify(storage: &dyn Storage, step_dir: &Path) -> Result<Manifest, String> {
    let manifest = read_manifest(storage, step_dir)?;
    check_files(storage, step_dir, &manifest).map(|()| manifest)
}

/// Whether the files of a directory are those of a manifest, byte for byte. The error is the reason only.
pub(super) fn check_files(storage: &dyn Storage, step_dir: &Path, manifest: &Manifest) -> Result<(), String> {
    // Lengths first: they cost nothing and name the commonest damage.
    for (name, record) in &manifest.files {
        let source = storage.open(&step_dir.join(name)).map_err(|e| format!("cannot open {name}: {e}"))?;
        if source.bytes() != record.bytes {
            let (have, want) = (source.bytes(), record.bytes);
            return Err(format!("{name} has {have} bytes, and the manifest says {want}"));
        }
    }
    let claims = claims(manifest)?;
    let failed = claims.par_iter().find_map_first(|claim| claim.check(storage, step_dir).err());
    failed.map_or(Ok(()), Err)
}

/// That bytes of a file have a hash.
struct Claim<'a> {
    file: &'a str,
    /// What they are, for messages.
    what: String,
    start: u64,
    bytes: u64,
    hash: &'a str,
}

impl Claim<'_> {
    fn check(&self, storage: &dyn Storage, step_dir: &Path) -> Result<(), String> {
        let Self { file, what, start, bytes, hash } = self;
        let source = storage.open(&step_dir.join(file)).map_err(|e| format!("cannot open {file}: {e}"))?;
        match hash_bytes(&*source, *start, *bytes) {
            Ok(found) if found == *hash => Ok(()),
            Ok(found) => Err(format!("{file}{what} has hash {found}, and the manifest says {hash}")),
            Err(e) => Err(format!("cannot read {file}: {e}")),
        }
    }
}

/// What a manifest claims of every byte of every file. Refused where it says nothing of some.
fn claims(manifest: &Manifest) -> Result<Vec<Claim<'_>>, String> {
    let mut claims = Vec::new();
    for (file, record) in &manifest.files {
        let (start, what) = match record.head_bytes {
            None => (record.bytes, String::new()),
            Some(head) => (head, ": its header".into()),
        };
        claims.push(Claim { file, what, start: 0, bytes: start, hash: &record.xxh3_128 });
        let mut at = start;
        let tensors = manifest.tensors.iter().filter(|(_, t)| record.head_bytes.is_some() && t.file == *file);
        for (name, tensor) in tensors {
            let end = at.saturating_add(tensor.bytes);
            for (number, hash) in tensor.blocks.iter().enumerate() {
                let what = format!(": block {number} of {name}");
                let bytes = manifest.block_bytes.min(end - at);
                claims.push(Claim { file, what, start: at, bytes, hash });
                at += bytes;
            }
        }
        if at != record.bytes {
            return Err(format!("{MANIFEST} describes {at} bytes of {file}, which has {}", record.bytes));
        }
    }
    Ok(claims)
}

/// Reads the manifest and checks that it belongs to its directory's name and lists what a step must have.
fn read_manifest(storage: &dyn Storage, step_dir: &Path) -> Result<Manifest, String> {
    let manifest = Manifest::read(storage, step_dir)?;
    let name = step_dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // A directory copied under a name of one's own is fine; one under another step's name is a mistake.
    if name.starts_with("step-") && name != step_name(manifest.state.step) {
        return Err(format!("{MANIFEST} is of step {}, not of this directory", manifest.state.step));
    }
    match [MODEL, OPTIMIZER].into_iter().find(|f| !manifest.files.contains_key(*f)) {
        Some(file) => Err(format!("{MANIFEST} does not list {file}")),
        None => Ok(manifest),
    }
}

/// Loads a step directory, which was verified, into the weights of `into` and, where asked for, its moments. Elements
/// between the tensors are left alone.
///
/// # Errors
/// Refused when anything does not fit `table`. `into` then holds anything.
pub fn load(
    storage: &dyn Storage,
    step_dir: &Path,
    table: &ParamTable,
    into: &mut dyn State,
    moments: bool,
) -> Result<Manifest> {
    let manifest = read_manifest(storage, step_dir).map_err(|why| {
        Error::refused(format!(
            "{} is not a valid checkpoint: {why}; choose another step, or restore it from a copy",
            step_dir.display()
        ))
    })?;
    let parts = [Part::Weights, Part::First, Part::Second];
    for part in &parts[..if moments { 3 } else { 1 }] {
        load_tensors(&open_tensors(storage, step_dir, table, *part)?, table, into, *part)?;
    }
    Ok(manifest)
}

/// Opens a part of a step directory, which was verified, to be read tensor by tensor.
///
/// # Errors
/// Refused when there is none, as of the moving average that not every run keeps, or it does not fit `table`.
pub fn open_tensors<'a>(
    storage: &'a dyn Storage,
    step_dir: &Path,
    table: &ParamTable,
    part: Part,
) -> Result<Box<Tensors<'a>>> {
    let held = FILES.into_iter().find_map(|(name, parts)| {
        parts.iter().find(|(held, _)| *held == part).map(|(_, prefix)| (name, parts, *prefix))
    });
    let (name, parts, prefix) = held.expect("every part has a file");
    if part == Part::Average {
        let bad = |why: String| Error::refused(format!("{}: {why}", step_dir.display()));
        if !read_manifest(storage, step_dir).map_err(bad)?.files.contains_key(EMA) {
            return Err(bad("it has no moving average of the weights; runs with train.ema save one".into()));
        }
    }
    let file = TensorFile::open(storage, &step_dir.join(name))?;
    check_tensors(&file, table, parts)?;
    Ok(Box::new(move |param, first, values| file.fill(&format!("{prefix}{}", param.name), first, values)))
}

/// Every tensor of the table is there once per prefix with its shape, and there are no others.
fn check_tensors(file: &TensorFile, table: &ParamTable, parts: &[(Part, &str)]) -> Result<()> {
    let path = file.path().display();
    for (_, prefix) in parts {
        for param in &table.params {
            let name = format!("{prefix}{}", param.name);
            let found = file.info(&name).map(|i| (&i.shape, i.dtype));
            match found {
                Some((shape, safetensors::Dtype::F32)) if *shape == param.shape => {}
                Some((shape, dtype)) => {
                    return Err(Error::refused(format!(
                        "{path}: {name} is {dtype:?} {shape:?}, and the model has F32 {:?}; \
                         it is the checkpoint of another model",
                        param.shape
                    )));
                }
                None => {
                    return Err(Error::refused(format!(
                        "{path}: {name} is missing; it is the checkpoint of another model"
                    )));
                }
            }
        }
    }
    let expected = table.params.len() * parts.len();
    let names = file.names();
    if names.len() != expected {
        let extra = names
            .iter()
            .find(|n| !parts.iter().any(|(_, p)| n.strip_prefix(p).is_some_and(|n| table.find(n).is_some())));
        return Err(Error::refused(format!(
            "{path} has {} tensors, and the model has {expected}; {} is not among them",
            names.len(),
            extra.map_or("one", |n| n.as_str())
        )));
    }
    Ok(())
}
