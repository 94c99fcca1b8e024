//! What a user may name as data: a shard, a prefix or a folder, with an optional `raw-u16:` in front.
use std::path::{Path, PathBuf};

use super::folder::{Below, below, by_name};
use super::map::Opening;
use super::megatron::with_suffix;
use super::shard::{Format, index_path, prefix_of};
use super::{foreign, llmc, npy};
use crate::{Error, Result};

/// One shard to open: the file of tokens and its layout.
pub(crate) type ShardFile = (PathBuf, Format);

/// The shards that `spec` names, those of folders and what lies below them sorted by path.
///
/// `raw-u16:PATH` and `raw-u32:PATH` name headerless files (a folder: its `.bin` and `.npy` files). Otherwise a
/// `.idx`, a `.bin` or their common prefix is Megatron's when the `.idx` exists, and llm.c's or NumPy's when that magic
/// is there. What of a folder is left out is said on stderr.
pub(crate) fn resolve(spec: &str) -> Result<Vec<ShardFile>> {
    for (mark, format) in [("raw-u16:", Format::RawU16), ("raw-u32:", Format::RawU32)] {
        if let Some(path) = spec.strip_prefix(mark) {
            return raw(Path::new(path), format);
        }
    }
    let path = Path::new(spec);
    if path.is_dir() { folder(path) } else { detect(path).map(|source| vec![source]) }
}

fn raw(path: &Path, format: Format) -> Result<Vec<ShardFile>> {
    if !path.is_dir() {
        return Ok(vec![(path.to_path_buf(), format)]);
    }
    let Below { files, left_out } = below(path, &["bin", "npy"])?;
    left_out.tell(path);
    non_empty(path, files.into_iter().map(|p| (p, format)).collect(), ".bin or .npy files")
}

/// Shards of Megatron and llm.c; where there are none, those of NumPy, whose files also lie beside the others as caches.
fn folder(path: &Path) -> Result<Vec<ShardFile>> {
    let Below { files, mut left_out } = below(path, &["bin", "idx", "npy"])?;
    let mut sources = Vec::new();
    for file in &files {
        if has_extension(file, "idx") {
            sources.push((with_suffix(&prefix_of(file), ".bin"), Format::Megatron));
        } else if has_extension(file, "bin")
            && files.binary_search_by(|f| by_name(f, &index_path(file))).is_err()
        {
            match detect(file) {
                Ok(source) => sources.push(source),
                // A folder below may be another program's; what may be a shard without its .idx is refused there, too.
                Err(e) => match foreign::kind_of(&Opening::new(file)?)? {
                    Some((kind, _)) if file.parent() != Some(path) => left_out.add(kind, file),
                    _ => return Err(e),
                },
            }
        }
    }
    let arrays = files.iter().filter(|file| has_extension(file, "npy"));
    if sources.is_empty() {
        sources.extend(arrays.map(|file| (file.clone(), Format::Npy)));
    } else {
        arrays.for_each(|file| left_out.add(".npy files beside shards of another kind", file));
    }
    left_out.tell(path);
    non_empty(path, sources, "token shards (.bin with .idx, llm.c .bin, or .npy)")
}

fn non_empty(path: &Path, sources: Vec<ShardFile>, expected: &str) -> Result<Vec<ShardFile>> {
    if sources.is_empty() {
        return Err(Error::refused(format!(
            "{} holds no {expected}; name a shard, or make one with `rewarm data tokenize`",
            path.display()
        )));
    }
    Ok(sources)
}

fn detect(path: &Path) -> Result<ShardFile> {
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
    let file = Opening::new(&named)?;
    if file.bytes >= 4 && llmc::is_magic(i32::from_le_bytes(file.array(0)?)) {
        return Ok((named, Format::LlmC));
    }
    if npy::is_npy(&file)? {
        return Ok((named, Format::Npy));
    }
    let name = named.display();
    Err(Error::refused(match foreign::kind_of(&file)? {
        Some((kind, instead)) => format!("{name} is {kind}, expected a token shard; {instead}"),
        None => format!(
            "{name}: cannot tell its format: there is no {} beside it and it does not start with llm.c's magic {} or {}, \
             or NumPy's; restore the .idx, or write raw-u16:{name} (or raw-u32:) if it is tokens without a header",
            idx.display(),
            llmc::MAGIC_U16,
            llmc::MAGIC_U32,
        ),
    }))
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

// Comparing bytes is several times faster than comparing components.
fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}
