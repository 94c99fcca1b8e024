//! Saving a step. Everything is written into `tmp-<step>-<pid>` and made durable; the
//! rename to `step-<step>` followed by the sync of the run directory is the commit. A save that fails leaves
//! the run directory as it was, and the run may go on. Values that are not finite are met while they are written, which
//! ends the save: no `step-*` ever has one.
use super::blocks::BLOCK_BYTES;
use super::dtype::Dtype;
use super::manifest::{FORMAT, Manifest, RunState};
use super::names::{EMA, FILES, MANIFEST, MODEL, OPTIMIZER, is_plain_name, step_name, tmp_name};
use super::output::{FileRecord, write_file};
use super::rotate::{Keep, rotate, set_aside};
use super::safetensors::{TensorSource, file_bytes, write_tensors};
use super::{hf_config, load};
use crate::files::storage::{Storage, read_small, remove_tree};
use crate::model::{ModelConfig, ParamTable};
use crate::ops::{Part, Sink, State};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What is saved beside the values of tensors, borrowed from the run.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    /// Sizes of the model.
    pub config: &'a ModelConfig,
    /// Layout of the flat buffers.
    pub table: &'a ParamTable,
    /// The rest of the run's state.
    pub state: &'a RunState,
    /// `config.json` of the model this run began from, whose unknown keys are kept.
    pub base_config: Option<&'a Value>,
    /// Further files, such as the tokenizer's, by plain file name.
    pub extra_files: &'a [(String, Vec<u8>)],
}

/// A step that is durable.
#[derive(Debug)]
pub struct Saved {
    /// The step directory.
    pub dir: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
    /// What went wrong after the commit, while old checkpoints were deleted. The step is safe.
    pub warning: Option<Error>,
}

/// One save at a time in a process: a second one would delete what the first still needs.
static SAVING: Mutex<()> = Mutex::new(());

/// Saves a step into `run_dir`, which exists and is locked by this process, and deletes old steps but for those to
/// `keep`, and never so many that fewer than two are left that verify. `values` has weights, both moments and, where
/// one is kept, the moving average of the weights.
///
/// # Errors
/// Failed when a value is not finite, or when the file system has no room or fails; nothing is left behind
/// unless deleting fails too, and [`super::clean`] deletes that at the next start. Refused when another,
/// valid checkpoint of this step is there.
pub fn save(
    storage: &dyn Storage,
    run_dir: &Path,
    snapshot: &Snapshot,
    values: &mut dyn State,
    keep: impl Into<Keep>,
) -> Result<Saved> {
    let _one_at_a_time = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
    let small = small_files(snapshot)?;
    let large = tensor_files(snapshot.table, values.state_len(Part::Average) > 0);
    check_room(storage, run_dir, &large, &small)?;
    let step = snapshot.state.step;
    let tmp = run_dir.join(tmp_name(step));
    let dir = run_dir.join(step_name(step));
    let written = write_step(storage, &tmp, snapshot, (&large, values), &small).and_then(|manifest| {
        let bytes = manifest.bytes();
        commit(storage, run_dir, &tmp, &dir, &manifest).map(|()| bytes)
    });
    match written {
        Ok(bytes) => {
            let warning = rotate(storage, run_dir, step, keep.into()).err();
            Ok(Saved { dir, bytes, warning })
        }
        Err(error) => {
            // Best effort: what the failing disk does not let go is deleted at the next start.
            let _ = remove_tree(storage, &tmp);
            Err(error)
        }
    }
}

/// `config.json` and the caller's files.
fn small_files(snapshot: &Snapshot) -> Result<BTreeMap<String, Vec<u8>>> {
    let config = hf_config::config_json(snapshot.config, Dtype::F32, snapshot.base_config);
    let text = serde_json::to_string_pretty(&config).expect("a JSON value is always JSON") + "\n";
    let mut files = BTreeMap::from([("config.json".to_string(), text.into_bytes())]);
    for (name, bytes) in snapshot.extra_files {
        let taken = [MODEL, OPTIMIZER, EMA, MANIFEST].contains(&name.as_str()) || files.contains_key(name);
        if taken || !is_plain_name(name) {
            return Err(Error::refused(format!(
                "a checkpoint cannot hold an extra file named {name:?}; it must be a plain name that is not taken"
            )));
        }
        files.insert(name.clone(), bytes.clone());
    }
    Ok(files)
}

/// The files of tensors by name.
fn tensor_files(table: &ParamTable, has_average: bool) -> Vec<(&'static str, Vec<TensorSource<'_>>)> {
    let tensors = |(part, prefix): &(Part, &str)| {
        let (part, prefix) = (*part, prefix.to_string());
        (table.params.iter()).map(move |param| TensorSource {
            name: prefix.clone() + &param.name,
            param,
            part,
        })
    };
    let files = FILES.into_iter().filter(|(name, _)| has_average || *name != EMA);
    files.map(|(name, parts)| (name, parts.iter().flat_map(tensors).collect())).collect()
}

/// transformers opens only files that say so.
fn metadata() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("format", "pt")])
}

/// Asks for 1.1 times the size first: a full disk is better found before it is full.
fn check_room(
    storage: &dyn Storage,
    run_dir: &Path,
    files: &[(&str, Vec<TensorSource>)],
    small: &BTreeMap<String, Vec<u8>>,
) -> Result<()> {
    let large: u64 = files.iter().map(|(_, t)| file_bytes(t, Dtype::F32, &metadata())).sum();
    // The manifest takes about 350 bytes per tensor, 50 of them for a block; it matters for small models only.
    let tensors = files.iter().map(|(_, tensors)| tensors.len() as u64).sum::<u64>();
    let manifest = 400 * tensors + 50 * (large / BLOCK_BYTES);
    let size = large + manifest + small.values().map(|f| f.len() as u64).sum::<u64>();
    let need = size + size / 10;
    match storage.free_bytes(run_dir).map_err(Error::io("ask for the free space of", run_dir))? {
        Some(free) if free < need => {
            let text = format!(
                "it needs {need} bytes and the disk has {free}; free some space, nothing was written"
            );
            Err(Error::io("save a checkpoint in", run_dir)(io::Error::new(ErrorKind::StorageFull, text)))
        }
        _ => Ok(()),
    }
}

/// Writes every file of the step into `tmp` and makes all of it durable.
fn write_step(
    storage: &dyn Storage,
    tmp: &Path,
    snapshot: &Snapshot,
    (large, values): (&[(&str, Vec<TensorSource>)], &mut dyn State),
    small: &BTreeMap<String, Vec<u8>>,
) -> Result<Manifest> {
    storage.create_dir(tmp).map_err(Error::io("create", tmp))?;
    let mut files: BTreeMap<String, FileRecord> = BTreeMap::new();
    let mut records = BTreeMap::new();
    let mut read =
        |tensor: &TensorSource, sink: Sink<'_>| values.read_state(tensor.part, tensor.param.place, sink);
    for (name, tensors) in large {
        let (file, tensors) =
            write_tensors(storage, &tmp.join(name), tensors, &mut read, Dtype::F32, &metadata())?;
        files.insert((*name).into(), file);
        records.extend(tensors);
    }
    for (name, bytes) in small {
        files.insert(name.clone(), write_file(storage, &tmp.join(name), bytes)?);
    }
    let manifest = Manifest {
        format: FORMAT,
        block_bytes: BLOCK_BYTES,
        model: snapshot.config.clone(),
        state: snapshot.state.clone(),
        files,
        tensors: records,
    };
    write_file(storage, &tmp.join(MANIFEST), manifest.to_text().as_bytes())?;
    storage.sync_dir(tmp).map_err(Error::io("sync", tmp))?;
    Ok(manifest)
}

/// Gives the finished directory its name, durably.
fn commit(storage: &dyn Storage, run_dir: &Path, tmp: &Path, dir: &Path, manifest: &Manifest) -> Result<()> {
    let step = manifest.state.step;
    let names = storage.list(run_dir).map_err(Error::io("list", run_dir))?;
    if names.iter().any(|e| e.name == step_name(step)) {
        match load::verify(storage, dir) {
            // A resumed run reached the step again and got the same: it is saved already.
            Ok(there) if is_same(storage, dir, &there, manifest) => {
                return remove_tree(storage, tmp).map_err(Error::io("delete", tmp));
            }
            Ok(_) => {
                return Err(Error::refused(format!(
                    "{} is a valid checkpoint of another state of step {step}; move it away if this run is to \
                     replace it, or use another run directory",
                    dir.display()
                )));
            }
            Err(_) => set_aside(storage, run_dir, &step_name(step))?,
        }
    }
    storage.rename(tmp, dir).map_err(Error::io("rename to", dir))?;
    if let Err(error) = storage.sync_dir(run_dir) {
        // Not known to be durable, so not saved. Renamed back first: no `step-*` is ever half deleted.
        if storage.rename(dir, tmp).is_ok() {
            let _ = remove_tree(storage, tmp);
        }
        return Err(Error::io("sync", run_dir)(error));
    }
    Ok(())
}

/// Whether `dir`, whose manifest is `there`, holds the step of `manifest`: that very text, and with it the hashes of all
/// files, or one in an earlier format, which has other hashes of the same files.
fn is_same(storage: &dyn Storage, dir: &Path, there: &Manifest, manifest: &Manifest) -> bool {
    let text = manifest.to_text();
    if there.format == FORMAT {
        return read_small(storage, &dir.join(MANIFEST), text.len())
            .is_ok_and(|there| there == text.as_bytes());
    }
    // Through text, as the other was: a number printed and read again may differ from itself in the last place.
    let manifest = Manifest::from_text(text.as_bytes()).expect("what was written can be read");
    there.model == manifest.model
        && there.state == manifest.state
        && there.files.keys().eq(manifest.files.keys())
        && load::check_files(storage, dir, &manifest).is_ok()
}
