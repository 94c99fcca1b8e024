//! The demo's own text: the sources of crates that rewarm itself is built from, at the versions of `Cargo.lock`, in
//! the folder where cargo keeps them. Whoever built the program has them, and everybody has the same bytes.
use super::rust_text::{split_rust, without_code_blocks};
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

const LOCK: &str = include_str!("../../Cargo.lock");

/// Crates taken, those of them that are locked in several versions in the newest. All are compiled on every
/// platform, written by hand for the most part, and no crate is here twice under two names.
const CRATES: &str = "ahash aho-corasick allocator-api2 anstream anstyle base64 bit-vec bitflags bytemuck clap \
    clap_builder clap_derive compact_str console crossbeam-deque crossbeam-epoch crossbeam-utils daachorse darling \
    darling_core dary_heap derive_builder derive_builder_core dyn-stack either fancy-regex foldhash getrandom half \
    hashbrown indexmap indicatif itertools libm log memchr memmap2 minimal-lexical nom num-complex num-traits \
    once_cell plotters portable-atomic proc-macro2 pulp quote rand_core rayon rayon-core regex regex-automata \
    regex-syntax reborrow safetensors serde serde_core serde_derive serde_json signal-hook smallvec syn thiserror \
    tokenizers toml toml_edit toml_parser toml_writer unicode-segmentation walkdir winnow xxhash-rust zerocopy";

/// Larger files are tables and generated code.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The documents found.
#[derive(Debug, Default)]
pub struct Sources {
    /// Markdown files and the doc comments of Rust files.
    pub prose: Vec<String>,
    /// Rust files without their comments.
    pub code: Vec<String>,
    /// Crates that were there.
    pub found: usize,
    /// `name-version` of crates that were not.
    pub missing: Vec<String>,
}

/// Reads the crates. Refused when none is there.
pub fn read_sources() -> Result<Sources> {
    let folders = registry_folders();
    let wanted = locked_crates()?;
    let mut sources = Sources::default();
    let mut files = Vec::new();
    for name in wanted {
        match folders.iter().map(|f| f.join(&name)).find(|f| f.is_dir()) {
            Some(folder) => {
                sources.found += 1;
                files.extend(text_files(&folder)?);
            }
            None => sources.missing.push(name),
        }
    }
    if sources.found == 0 {
        return Err(Error::refused(format!(
            "the demo reads the sources of rewarm's dependencies, and cargo's folder has none of them ({}); run `cargo \
             fetch --locked` in rewarm's source, or name two folders of text with --upstream DIR --downstream DIR",
            folders.first().map_or("$CARGO_HOME/registry/src".into(), |f| f.display().to_string())
        )));
    }
    let texts = files.par_iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    for (prose, code) in texts {
        sources.prose.push(prose);
        sources.code.push(code);
    }
    Ok(sources)
}

/// `name-version` of [`CRATES`], sorted.
fn locked_crates() -> Result<Vec<String>> {
    let broken = || Error::failed("the Cargo.lock in this build cannot be read; build it again");
    let lock: toml::Table = LOCK.parse().map_err(|_| broken())?;
    let packages = lock.get("package").and_then(toml::Value::as_array).ok_or_else(broken)?;
    let text = |package: &toml::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let mut found: Vec<(String, Vec<u64>, String)> = Vec::new();
    for package in packages {
        let (Some(name), Some(version)) = (text(package, "name"), text(package, "version")) else { continue };
        if CRATES.split_whitespace().any(|wanted| wanted == name) {
            let numbers = version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect();
            found.push((name, numbers, version));
        }
    }
    found.sort();
    found.reverse();
    found.dedup_by(|later, kept| later.0 == kept.0);
    found.reverse();
    Ok(found.into_iter().map(|(name, _, version)| format!("{name}-{version}")).collect())
}

/// Where cargo unpacks what it downloads: a folder per registry.
fn registry_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let Some(root) = home.map(|home| home.join("registry").join("src")) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(&root) else { return vec![root] };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn text_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::failed(format!("cannot list {}: {e}", folder.display())))?;
        let kind = entry.path().extension().is_some_and(|e| e == "rs" || e == "md");
        let small = entry.metadata().is_ok_and(|m| m.len() <= FILE_BYTES_MAX);
        if kind && small && entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Prose and code of a file; a file that is not UTF-8 has neither.
fn read(path: &Path) -> Result<(String, String)> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(Default::default()) };
    if path.extension().is_some_and(|e| e == "md") {
        return Ok((without_code_blocks(&text.replace("\r\n", "\n")), String::new()));
    }
    let split = split_rust(&text);
    Ok((split.prose, split.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_is_locked_and_taken_once() {
        let locked = locked_crates().unwrap();
        assert_eq!(locked.len(), CRATES.split_whitespace().count(), "{locked:?}");
        assert!(locked.is_sorted());
        assert_eq!(locked.iter().filter(|name| name.starts_with("syn-")).count(), 1);
    }

    #[test]
    fn where_one_crate_lies_all_do() {
        if let Ok(sources) = read_sources() {
            assert_eq!(sources.missing, Vec::<String>::new());
        }
    }
}
