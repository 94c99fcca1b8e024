//! Finding and loading a checkpoint: newest first, and nothing is believed that its
//! hashes do not prove.
use super::manifest::Manifest;
use super::names::{EMA, LOG, MANIFEST, MODEL, OPTIMIZER, step_name, step_of};
use super::output::hex;
use super::safetensors::{TensorFile, scatter};
use super::storage::{Storage, read_exact_at};
use crate::model::ParamTable;
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Bytes hashed at a time.
const HASH_PIECE: usize = 1 << 20;

/// The newest checkpoint that verified.
#[derive(Debug)]
pub struct Found {
    /// Its directory.
    pub dir: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// Newer ones that did not verify, to be shown to the user.
    pub rejected: Vec<Rejected>,
}

/// A checkpoint that is not used.
#[derive(Debug)]
pub struct Rejected {
    /// Its directory.
    pub dir: PathBuf,
    /// Why.
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
    // Lengths first: they cost nothing and name the commonest damage.
    for (name, record) in &manifest.files {
        let source = storage.open(&step_dir.join(name)).map_err(|e| format!("cannot open {name}: {e}"))?;
        if source.bytes() != record.bytes {
            let (have, want) = (source.bytes(), record.bytes);
            return Err(format!("{name} has {have} bytes, and the manifest says {want}"));
        }
    }
    let failed = manifest.files.par_iter().find_map_first(|(name, record)| {
        match hash_file(storage, &step_dir.join(name)) {
            Ok(hash) if hash == record.xxh3_128 => None,
            Ok(hash) => Some(format!("{name} has hash {hash}, and the manifest says {}", record.xxh3_128)),
            Err(e) => Some(format!("cannot read {name}: {e}")),
        }
    });
    failed.map_or(Ok(manifest), Err)
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

fn hash_file(storage: &dyn Storage, path: &Path) -> std::io::Result<String> {
    let source = storage.open(path)?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; HASH_PIECE.min(source.bytes().try_into().unwrap_or(HASH_PIECE))];
    let mut at = 0;
    while at < source.bytes() {
        let length = (buffer.len() as u64).min(source.bytes() - at) as usize;
        read_exact_at(&*source, &mut buffer[..length], at)?;
        hash.update(&buffer[..length]);
        at += length as u64;
    }
    Ok(hex(hash.digest128()))
}

/// Where a checkpoint goes: flat buffers of the caller, at least `table.total` long. Elements between the
/// tensors are left alone.
pub struct Buffers<'a> {
    /// Weights.
    pub w: &'a mut [f32],
    /// First and second moments; `None` to start a new phase with the weights only.
    pub moments: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// Loads a step directory into `into`. With `verify`, every byte read is hashed on the way and compared with
/// the manifest; without, that was done before, by [`find_newest`] or [`verify`].
///
/// # Errors
/// Refused when anything does not fit `table` or the manifest. The buffers then hold anything.
pub fn load(
    storage: &dyn Storage,
    step_dir: &Path,
    verify: bool,
    table: &ParamTable,
    into: Buffers,
) -> Result<Manifest> {
    let bad = |why: String| {
        Error::refused(format!(
            "{} is not a valid checkpoint: {why}; choose another step, or restore it from a copy",
            step_dir.display()
        ))
    };
    let manifest = read_manifest(storage, step_dir).map_err(bad)?;
    let Buffers { w, moments } = into;
    let model = || load_file(storage, step_dir, MODEL, verify, &manifest, table, &mut [("", &mut *w)]);
    let optimizer = || match moments {
        None => Ok(()),
        Some((m, v)) => {
            load_file(storage, step_dir, OPTIMIZER, verify, &manifest, table, &mut [("m.", m), ("v.", v)])
        }
    };
    let (model, optimizer) = rayon::join(model, optimizer);
    model.and(optimizer)?;
    Ok(manifest)
}

/// Loads the moving average of the weights of a step directory; `verify` as for [`load`].
///
/// # Errors
/// Refused when there is none, or it does not fit `table`.
pub fn load_ema(
    storage: &dyn Storage,
    step_dir: &Path,
    verify: bool,
    table: &ParamTable,
    into: &mut [f32],
) -> Result<()> {
    let bad = |why: String| Error::refused(format!("{}: {why}", step_dir.display()));
    let manifest = read_manifest(storage, step_dir).map_err(bad)?;
    if !manifest.files.contains_key(EMA) {
        return Err(bad("it has no moving average of the weights; runs with train.ema save one".into()));
    }
    load_file(storage, step_dir, EMA, verify, &manifest, table, &mut [("ema.", into)])
}

/// Streams one file into the buffers of its prefixes.
fn load_file(
    storage: &dyn Storage,
    step_dir: &Path,
    name: &str,
    verify: bool,
    manifest: &Manifest,
    table: &ParamTable,
    targets: &mut [(&str, &mut [f32])],
) -> Result<()> {
    let path = step_dir.join(name);
    let file = TensorFile::open(storage, &path)?;
    check_tensors(&file, table, targets)?;
    let mut whole = file.head_hash();
    for tensor in file.names() {
        let (prefix, flat) = targets
            .iter_mut()
            .find(|(prefix, _)| tensor.strip_prefix(*prefix).is_some_and(|n| table.find(n).is_some()))
            .expect("check_tensors found a place for every tensor");
        let param = table.find(&tensor[prefix.len()..]).expect("found in the line above");
        let mut hash = Xxh3::new();
        file.read(&tensor, |first, values, bytes| {
            if verify {
                whole.update(bytes);
                hash.update(bytes);
            }
            scatter(param.place, first, values, flat);
            Ok(())
        })?;
        let said = manifest.tensors.get(&tensor).map(|t| t.xxh3_128.as_str());
        let (path, hash) = (path.display(), hex(hash.digest128()));
        if verify && said != Some(&hash) {
            return Err(Error::refused(format!(
                "{path}: {tensor} has hash {hash}, and the manifest says {}; it is damaged, choose another step",
                said.unwrap_or("nothing")
            )));
        }
    }
    if verify && manifest.files.get(name).map(|f| f.xxh3_128.as_str()) != Some(&hex(whole.digest128())) {
        let path = path.display();
        return Err(Error::refused(format!(
            "{path}: the header differs from the manifest; it is damaged, choose another step"
        )));
    }
    Ok(())
}

/// Every tensor of the table is there once per prefix with its shape, and there are no others.
fn check_tensors(file: &TensorFile, table: &ParamTable, targets: &[(&str, &mut [f32])]) -> Result<()> {
    let path = file.path().display();
    for (prefix, flat) in targets {
        assert!(flat.len() >= table.total, "a flat buffer holds {} of {} elements", flat.len(), table.total);
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
    let expected = table.params.len() * targets.len();
    let names = file.names();
    if names.len() != expected {
        let extra = names.iter().find(|n| {
            !targets.iter().any(|(p, _)| n.strip_prefix(p).is_some_and(|n| table.find(n).is_some()))
        });
        return Err(Error::refused(format!(
            "{path} has {} tensors, and the model has {expected}; {} is not among them",
            names.len(),
            extra.map_or("one", |n| n.as_str())
        )));
    }
    Ok(())
}
