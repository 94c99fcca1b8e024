//! Weights to a Hugging Face directory that transformers opens as it is.
use super::dtype::Dtype;
use super::hf_config::{JSON_MAX, config_json};
use super::huggingface::{INDEX, SINGLE};
use super::output::write_file;
use super::safetensors::{TensorSource, file_bytes, write_tensors};
use super::storage::{Disk, Storage, read_small, remove_tree};
use crate::model::{ModelConfig, ParamTable};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Largest weight file by default, in bytes: transformers' own bound in version 4.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// Files of a tokenizer and of generation that go with the weights.
pub const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "generation_config.json",
];

/// Writes `config.json`, the weights and the tokenizer's files into the new directory `dir`: all of it or,
/// on an error, nothing.
///
/// A tied model is written without its output matrix, as transformers does. `base_config` is the
/// `config.json` of an imported model, whose unknown entries are kept. Tokenizer files that
/// `tokenizer_files_from` has are copied. Weight files hold at most `max_shard_bytes` of data each, unless
/// one tensor alone has more.
///
/// # Errors
/// Refused when `dir` exists. Failed when a weight is not finite in `dtype`, and on I/O.
#[expect(clippy::too_many_arguments, reason = "each is one choice of the user's")]
pub fn export(
    dir: &Path,
    config: &ModelConfig,
    table: &ParamTable,
    w: &[f32],
    dtype: Dtype,
    base_config: Option<&Value>,
    tokenizer_files_from: Option<&Path>,
    max_shard_bytes: u64,
) -> Result<()> {
    let json = pretty(&config_json(config, dtype, base_config));
    let mut files = vec![("config.json".to_string(), json)];
    if let Some(from) = tokenizer_files_from {
        files.extend(read_tokenizer_files(from)?);
    }
    let tensors: Vec<TensorSource> = table
        .params
        .iter()
        .map(|p| TensorSource { name: p.name.clone(), shape: &p.shape, place: p.place, flat: w })
        .collect();
    export_to(&Disk, dir, &tensors, dtype, &files, max_shard_bytes)
}

/// The tokenizer's files that `from` has, with their contents.
pub fn read_tokenizer_files(from: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in TOKENIZER_FILES {
        let path = from.join(name);
        match read_small(&Disk, &path, JSON_MAX as usize) {
            Ok(bytes) => files.push((name.to_string(), bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::input("read", &path)(e)),
        }
    }
    Ok(files)
}

/// [`export`] with its inputs in memory, on any storage.
pub fn export_to(
    storage: &dyn Storage,
    dir: &Path,
    tensors: &[TensorSource],
    dtype: Dtype,
    files: &[(String, Vec<u8>)],
    max_shard_bytes: u64,
) -> Result<()> {
    let (parent, name) = split(dir)?;
    let entries = storage.list(&parent).map_err(Error::input("list", &parent))?;
    if entries.iter().any(|e| e.name == name) {
        return Err(Error::refused(format!(
            "{} exists, and an export replaces nothing; choose another directory or delete it",
            dir.display()
        )));
    }
    let need = file_bytes(tensors, dtype, &metadata());
    let need = need + need / 50;
    match storage.free_bytes(&parent).map_err(Error::io("ask for the free space of", &parent))? {
        Some(free) if free < need => {
            let text = format!("it needs {need} bytes and the disk has {free}; free some space");
            return Err(Error::io("export to", dir)(io::Error::new(ErrorKind::StorageFull, text)));
        }
        _ => {}
    }
    let tmp = parent.join(format!("{name}.tmp-{}", std::process::id()));
    let done = storage
        .create_dir(&tmp)
        .map_err(Error::input("create", &tmp))
        .and_then(|()| write_all(storage, &tmp, tensors, dtype, files, max_shard_bytes))
        .and_then(|()| storage.sync_dir(&tmp).map_err(Error::io("sync", &tmp)))
        .and_then(|()| storage.rename(&tmp, dir).map_err(Error::io("rename to", dir)));
    if let Err(error) = done {
        // Best effort: the name says what a leftover is.
        let _ = remove_tree(storage, &tmp);
        return Err(error);
    }
    storage.sync_dir(&parent).map_err(Error::io("sync", &parent))
}

/// The directory that will hold `dir`, and its name there.
fn split(dir: &Path) -> Result<(PathBuf, String)> {
    let name = dir.file_name().and_then(|n| n.to_str());
    let name = name.ok_or_else(|| {
        Error::refused(format!("cannot export to {:?}: it does not end in a name; give a new directory", dir))
    })?;
    let parent = dir.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    Ok((parent.into(), name.into()))
}

fn metadata() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("format", "pt")])
}

fn pretty(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value is always JSON");
    (text + "\n").into_bytes()
}

fn write_all(
    storage: &dyn Storage,
    tmp: &Path,
    tensors: &[TensorSource],
    dtype: Dtype,
    files: &[(String, Vec<u8>)],
    max_shard_bytes: u64,
) -> Result<()> {
    for (name, bytes) in files {
        write_file(storage, &tmp.join(name), bytes)?;
    }
    let shards = shards(tensors, dtype, max_shard_bytes);
    if shards.len() <= 1 {
        return write_tensors(storage, &tmp.join(SINGLE), tensors, dtype, &metadata()).map(|_| ());
    }
    let mut map = BTreeMap::new();
    let mut total = 0;
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        let (_, records) = write_tensors(storage, &tmp.join(&name), shard, dtype, &metadata())?;
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

/// Consecutive tensors, as many as fit; a tensor is never split.
fn shards<'a, 'b>(
    tensors: &'b [TensorSource<'a>],
    dtype: Dtype,
    max_shard_bytes: u64,
) -> Vec<&'b [TensorSource<'a>]> {
    let bytes = |t: &TensorSource| (t.place.rows * t.place.cols * dtype.bytes()) as u64;
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
