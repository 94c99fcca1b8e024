//! Weights to a Hugging Face directory that transformers opens as it is.
use super::companions::{Companions, NamedFile};
use super::dtype::Dtype;
use super::hf_config::{config_json, pretty};
use super::output::write_file;
use super::safetensors::{TensorSource, file_bytes, write_tensors};
use super::tensors::{Tensors, lend_tensor};
use super::weight_files::{INDEX, SINGLE};
use crate::files::storage::{Disk, Storage, remove_tree};
use crate::model::{ModelConfig, Param, ParamTable};
use crate::ops::{Part, Sink};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Largest weight file by default, in bytes: transformers' own bound in version 4.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// What a directory is made of, beside its weights.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// Sizes of the model.
    pub config: &'a ModelConfig,
    /// Where its tensors lie in the flat buffers.
    pub table: &'a ParamTable,
    /// Format of the weights.
    pub dtype: Dtype,
    /// `config.json` of an imported model, whose unknown entries are kept.
    pub base_config: Option<&'a Value>,
    /// The directory whose [`Companions`] come along.
    pub companions_from: Option<&'a Path>,
    /// Bytes of data that a weight file holds at most, unless one tensor alone has more.
    pub max_shard_bytes: u64,
}

/// Writes `config.json`, the weights, tensor by tensor, and what lies beside them into the new directory `dir`, whose
/// parents need not exist: all of it or, on an error, nothing.
///
/// A tied model is written without its output matrix, as transformers does.
///
/// # Errors
/// Refused when `dir` exists. Failed when a weight is not finite in the format, and on I/O.
pub fn export<'a>(dir: &Path, export: &Export<'a>, weights: &Tensors) -> Result<()> {
    let storage = &Disk;
    let Export { config, table, dtype, base_config, companions_from, .. } = *export;
    let mut files = vec![("config.json".to_string(), pretty(&config_json(config, dtype, base_config)))];
    if let Some(from) = companions_from {
        files.extend(Companions::read(from)?.into_files(config)?);
    }
    let source = |param: &'a Param| TensorSource { name: param.name.clone(), param, part: Part::Weights };
    let tensors: Vec<TensorSource> = table.params.iter().map(source).collect();
    let Target { name, parent, ground, missing } = Target::find(storage, dir)?;
    let need = file_bytes(&tensors, dtype, &metadata());
    let need = need + need / 50;
    match storage.free_bytes(&ground).map_err(Error::io("ask for the free space of", &ground))? {
        Some(free) if free < need => {
            let text = format!("it needs {need} bytes and the disk has {free}; free some space");
            return Err(Error::io("export to", dir)(io::Error::new(ErrorKind::StorageFull, text)));
        }
        _ => {}
    }
    let tmp = parent.join(format!("{name}.tmp-{}", std::process::id()));
    let mut made = Vec::new();
    let done = create_dirs(storage, &missing, &mut made)
        .and_then(|()| storage.create_dir(&tmp).map_err(Error::input("create", &tmp)))
        .and_then(|()| write_all(storage, &tmp, &files, (&tensors, weights), export))
        .and_then(|()| storage.sync_dir(&tmp).map_err(Error::io("sync", &tmp)))
        .and_then(|()| storage.rename(&tmp, dir).map_err(Error::io("rename to", dir)));
    if let Err(error) = done {
        // Best effort: the name says what a leftover is. A parent that somebody else uses by now is not empty.
        let _ = remove_tree(storage, &tmp);
        made.iter().rev().for_each(|dir| drop(storage.remove_dir(dir)));
        return Err(error);
    }
    storage.sync_dir(&parent).map_err(Error::io("sync", &parent))
}

/// Refuses a directory that [`export`] would refuse, before there is anything to write.
pub fn check_new(dir: &Path) -> Result<()> {
    Target::find(&Disk, dir).map(|_| ())
}

/// Where a new directory goes.
struct Target {
    /// Its name in the file.
    name: String,
    /// The directory that will hold it.
    parent: PathBuf,
    /// The nearest directory above it that exists.
    ground: PathBuf,
    /// Those from there to the parent, outermost first.
    missing: Vec<PathBuf>,
}

impl Target {
    fn find(storage: &dyn Storage, dir: &Path) -> Result<Self> {
        let (parent, name) = split(dir)?;
        let (ground, missing) = missing_dirs(storage, &parent)?;
        let entries = storage.list(&ground).map_err(Error::input("list", &ground))?;
        if missing.is_empty() && entries.iter().any(|e| e.name == name) {
            return Err(Error::refused(format!(
                "{} exists, and an export replaces nothing; choose another directory or delete it",
                dir.display()
            )));
        }
        Ok(Self { name, parent, ground, missing })
    }
}

/// The nearest directory above or at `dir` that exists, and those down to `dir` that do not, outermost first.
fn missing_dirs(storage: &dyn Storage, dir: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let mut missing = Vec::new();
    let mut at = dir.to_path_buf();
    loop {
        match storage.list(&at) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::input("list", &at)(e)),
            Ok(_) => return Ok((at, missing)),
        }
        missing.insert(0, at.clone());
        at = above(&at);
    }
}

/// Creates directories, outermost first, durably; `made` has those that were not made by somebody else meanwhile.
fn create_dirs(storage: &dyn Storage, dirs: &[PathBuf], made: &mut Vec<PathBuf>) -> Result<()> {
    for dir in dirs {
        match storage.create_dir(dir) {
            Ok(()) => made.push(dir.clone()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::input("create", dir)(e)),
        }
        let parent = above(dir);
        storage.sync_dir(&parent).map_err(Error::io("sync", &parent))?;
    }
    Ok(())
}

/// The directory that `path` lies in.
fn above(path: &Path) -> PathBuf {
    path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new(".")).into()
}

/// The directory that will hold `dir`, and its name there.
fn split(dir: &Path) -> Result<(PathBuf, String)> {
    let name = dir.file_name().and_then(|n| n.to_str());
    let name = name.ok_or_else(|| {
        Error::refused(format!("cannot export to {:?}: it does not end in a name; give a new directory", dir))
    })?;
    Ok((above(dir), name.into()))
}

fn metadata() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("format", "pt")])
}

fn write_all(
    storage: &dyn Storage,
    tmp: &Path,
    files: &[NamedFile],
    (tensors, weights): (&[TensorSource], &Tensors),
    &Export { dtype, max_shard_bytes, .. }: &Export,
) -> Result<()> {
    write_files(storage, tmp, files)?;
    let mut read = |tensor: &TensorSource, sink: Sink<'_>| lend_tensor(weights, tensor.param, sink);
    let shards = shards(tensors, dtype, max_shard_bytes);
    if shards.len() <= 1 {
        let single = tmp.join(SINGLE);
        return write_tensors(storage, &single, tensors, &mut read, dtype, &metadata()).map(|_| ());
    }
    let mut map = BTreeMap::new();
    let mut total = 0;
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        let (_, records) = write_tensors(storage, &tmp.join(&name), shard, &mut read, dtype, &metadata())?;
        total += records.values().map(|r| r.bytes).sum::<u64>();
        map.extend(records.into_keys().map(|tensor| (tensor, name.clone())));
    }
    let parameters = total / dtype.bytes() as u64;
    let index = json!({
        "metadata": { "total_parameters": parameters, "total_size": total },
        "weight_map": map,
    });
    write_file(storage, &tmp.join(INDEX), &pretty(&index)).map(|_| ())
}

/// Small files, those with a folder in their names in folders that are made for them.
fn write_files(storage: &dyn Storage, tmp: &Path, files: &[NamedFile]) -> Result<()> {
    let mut made = BTreeSet::new();
    for (name, bytes) in files {
        let path = tmp.join(name);
        let folder = above(&path);
        if folder != tmp && made.insert(folder.clone()) {
            storage.create_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        write_file(storage, &path, bytes)?;
    }
    made.iter().try_for_each(|dir| storage.sync_dir(dir).map_err(Error::io("sync", dir)))
}

/// Consecutive tensors, as many as fit; a tensor is never split.
fn shards<'a, 'b>(
    tensors: &'b [TensorSource<'a>],
    dtype: Dtype,
    max_shard_bytes: u64,
) -> Vec<&'b [TensorSource<'a>]> {
    let bytes = |t: &TensorSource| (t.param.place.elements() * dtype.bytes()) as u64;
    let mut shards = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (i, tensor) in tensors.iter().enumerate() {
        if i > start && size + bytes(tensor) > max_shard_bytes {
            shards.push(&tensors[start..i]);
            (start, size) = (i, 0);
        }
        size += bytes(tensor);
    }
    shards.push(&tensors[start..]);
    shards
}
