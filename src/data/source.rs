//! What a user may name as data: a shard, a prefix or a folder, with an optional `raw-u16:` in front.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::llmc;
use super::megatron::with_suffix;
use super::shard::{Format, index_path, prefix_of};
use crate::{Error, Result};

/// One shard to open: the file of tokens and its layout.
pub(crate) type Source = (PathBuf, Format);

/// The shards that `spec` names, folders sorted by name.
///
/// `raw-u16:PATH` and `raw-u32:PATH` name headerless files (a folder: its `.bin` and `.npy` files). Otherwise a
/// `.idx`, a `.bin` or their common prefix is Megatron's when the `.idx` exists, and llm.c's when its magic is there.
pub(crate) fn resolve(spec: &str) -> Result<Vec<Source>> {
    for (mark, format) in [("raw-u16:", Format::RawU16), ("raw-u32:", Format::RawU32)] {
        if let Some(path) = spec.strip_prefix(mark) {
            return raw(Path::new(path), format);
        }
    }
    let path = Path::new(spec);
    if path.is_dir() { folder(path) } else { detect(path).map(|source| vec![source]) }
}

fn raw(path: &Path, format: Format) -> Result<Vec<Source>> {
    if !path.is_dir() {
        return Ok(vec![(path.to_path_buf(), format)]);
    }
    let files = sorted(path)?.into_iter().filter(|p| has_extension(p, "bin") || has_extension(p, "npy"));
    non_empty(path, files.map(|p| (p, format)).collect(), ".bin or .npy files")
}

fn folder(path: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let files = sorted(path)?;
    for file in &files {
        if has_extension(file, "idx") {
            sources.push((with_suffix(&prefix_of(file), ".bin"), Format::Megatron));
        } else if has_extension(file, "bin")
            && files.binary_search_by(|f| by_name(f, &index_path(file))).is_err()
        {
            sources.push(detect(file)?);
        }
    }
    non_empty(path, sources, "token shards (.bin with .idx, or llm.c .bin)")
}

fn non_empty(path: &Path, sources: Vec<Source>, expected: &str) -> Result<Vec<Source>> {
    if sources.is_empty() {
        return Err(Error::refused(format!(
            "{} holds no {expected}; name a shard, or make one with `rewarm data tokenize`",
            path.display()
        )));
    }
    Ok(sources)
}

fn detect(path: &Path) -> Result<Source> {
    let prefix = prefix_of(path);
    let (bin, idx) = (with_suffix(&prefix, ".bin"), with_suffix(&prefix, ".idx"));
    // A file that is neither .bin nor .idx may still be a shard by its magic.
    let named = if path.is_file() && !has_extension(path, "idx") { path.to_path_buf() } else { bin.clone() };
    if idx.exists() || has_extension(path, "idx") {
        if !bin.exists() {
            return Err(missing_bin(&idx, &bin));
        }
        return Ok((bin, Format::Megatron));
    }
    if !named.exists() {
        return Err(Error::refused(format!(
            "there is no {} (nor {} with {}); check the path, or make shards with `rewarm data tokenize`",
            path.display(),
            bin.display(),
            idx.display()
        )));
    }
    let mut head = Vec::new();
    let file = File::open(&named).map_err(Error::input("open", &named))?;
    file.take(4).read_to_end(&mut head).map_err(Error::input("read", &named))?;
    match <[u8; 4]>::try_from(head.as_slice()) {
        Ok(word) if llmc::is_magic(i32::from_le_bytes(word)) => Ok((named, Format::LlmC)),
        _ => Err(Error::refused(format!(
            "{}: cannot tell its format: there is no {} beside it and it does not start with llm.c's magic {} or {}; \
             restore the .idx, or write raw-u16:{} (or raw-u32:) if it is tokens without a header",
            named.display(),
            idx.display(),
            llmc::MAGIC_U16,
            llmc::MAGIC_U32,
            named.display()
        ))),
    }
}

fn missing_bin(idx: &Path, bin: &Path) -> Error {
    let parts = with_suffix(&prefix_of(bin), "-00000-of-00020.bin");
    let hint = if parts.exists() {
        "it lies there in parts: join them with Pythia's unshard_memmap.py"
    } else {
        "copy it there"
    };
    Error::refused(format!(
        "{} is an index, but there is no {} beside it; {hint}",
        idx.display(),
        bin.display()
    ))
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::input("list", folder))?;
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(Error::input("list", folder))?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort_unstable_by(|a, b| by_name(a, b));
    Ok(paths)
}

// Paths of one folder: comparing bytes is the same and several times faster than comparing components.
fn by_name(a: &Path, b: &Path) -> std::cmp::Ordering {
    a.as_os_str().cmp(b.as_os_str())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}
