//! The demo's own text: the sources of crates that every build of rewarm fetches, in the folder where cargo keeps them, or
//! in `vendor`, where `cargo vendor` puts them. Whoever built the program has them, and everybody has the same bytes.
use super::rust_text::{split_rust, without_code_blocks};
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;
use xxhash_rust::xxh3::Xxh3;

/// The crates, by the names of their folders: written by hand for the most part, none here in two versions. A release
/// build fetches them all on every platform, which a test checks against `Cargo.lock`; with other versions the demo has
/// another text, and the README's figures are measured again.
const CRATES: &str = "ahash-0.8.12 aho-corasick-1.1.5 allocator-api2-0.2.21 anstream-1.0.0 anstyle-1.0.14 base64-0.13.1 bit-vec-0.8.0 \
    bitflags-2.13.2 bytemuck-1.25.2 clap-4.6.7 clap_builder-4.6.7 clap_derive-4.6.7 compact_str-0.9.1 console-0.16.6 \
    crossbeam-deque-0.8.8 crossbeam-epoch-0.9.21 crossbeam-utils-0.8.23 daachorse-3.0.3 darling-0.20.11 \
    darling_core-0.20.11 dary_heap-0.3.9 derive_builder-0.20.2 derive_builder_core-0.20.2 dyn-stack-0.13.2 \
    either-1.19.0 fancy-regex-0.17.0 foldhash-0.2.0 getrandom-0.3.4 half-2.7.1 hashbrown-0.17.1 indexmap-2.14.2 \
    indicatif-0.18.6 itertools-0.14.0 libm-0.2.16 log-0.4.35 memchr-2.8.3 memmap2-0.9.12 minimal-lexical-0.2.1 \
    nom-7.1.3 num-complex-0.4.6 num-traits-0.2.19 once_cell-1.21.4 plotters-0.3.7 portable-atomic-1.15.0 \
    proc-macro2-1.0.107 pulp-0.22.3 quote-1.0.47 rand_core-0.10.1 rayon-1.12.0 rayon-core-1.13.0 reborrow-0.5.5 \
    regex-1.13.1 regex-automata-0.4.18 regex-syntax-0.8.11 safetensors-0.8.0 serde-1.0.229 serde_core-1.0.229 \
    serde_derive-1.0.229 serde_json-1.0.154 signal-hook-0.4.6 smallvec-1.16.5 syn-3.0.9 thiserror-2.0.21 \
    tokenizers-0.23.2 toml-1.2.1+spec-1.1.0 toml_parser-1.1.5+spec-1.1.0 toml_writer-1.2.0+spec-1.1.0 \
    unicode-segmentation-1.13.3 walkdir-2.5.0 winnow-1.0.5 xxhash-rust-0.8.19 zerocopy-0.8.63";

/// XXH3-128 of all documents, in the order in which they are read.
const HASH: u128 = 0x0ca3_c93c_8a09_5d10_5947_7c62_6c39_50c5;

/// Where `cargo vendor` puts crates, in the folder of rewarm's source.
const VENDOR: &str = "vendor";

/// Larger files are tables and generated code.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The documents that were found, and where.
#[derive(Debug, Default)]
pub struct Sources {
    /// Markdown files and the doc comments of Rust files.
    pub prose: Vec<String>,
    /// Rust files without their comments.
    pub code: Vec<String>,
    /// Where they come from, for people.
    pub origin: String,
}

/// Reads the crates. Refused where one is missing: fewer crates are another text.
pub fn read_sources() -> Result<Sources> {
    let root = registry().ok_or_else(|| {
        Error::refused(
            "the demo reads what cargo has downloaded, and there is no home directory: set CARGO_HOME",
        )
    })?;
    read_crates(&root, Path::new(VENDOR))
}

fn read_crates(root: &Path, vendor: &Path) -> Result<Sources> {
    let mut files = Vec::new();
    let folders = find_crates(root, vendor)?;
    for folder in &folders {
        files.extend(text_files(folder)?);
    }
    let texts = files.par_iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
    let (mut sources, mut hash) = (Sources::default(), Xxh3::new());
    for (prose, code) in texts {
        hash.update(prose.as_bytes());
        hash.update(code.as_bytes());
        sources.prose.push(prose);
        sources.code.push(code);
    }
    let hash = hash.digest128();
    let changed = if hash == HASH {
        String::new()
    } else {
        format!("; NOT the text of the README's figures: a file was changed there (XXH3-128 {hash:032x})")
    };
    let place = folders.first().and_then(|folder| folder.parent()).unwrap_or(root);
    sources.origin = format!("{} crates in {}{changed}", folders.len(), place.display());
    Ok(sources)
}

/// Where cargo unpacks what it downloads.
fn registry() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = set.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?;
    Some(home.join("registry").join("src"))
}

/// The folders of [`CRATES`], in its order: `root` has a folder per registry, named by its address and a hash that differs
/// between versions of cargo; `vendor` may be there.
fn find_crates(root: &Path, vendor: &Path) -> Result<Vec<PathBuf>> {
    let mut registries: Vec<PathBuf> =
        std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    registries.sort();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in CRATES.split_whitespace() {
        // The last file that cargo writes when it unpacks a crate.
        let complete = |folder: &PathBuf| folder.join(".cargo-ok").is_file();
        let unpacked = registries.iter().map(|registry| registry.join(name)).find(complete);
        match unpacked.or_else(|| vendored(vendor, name)) {
            Some(folder) => found.push(folder),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    let named = missing.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    Err(Error::refused(format!(
        "the demo reads the sources of {} crates that rewarm is built from, and {} lacks {} of them ({named}{}); run `cargo \
         fetch --locked` in the folder of rewarm's source, which puts them there, or, where `cargo vendor` was used, start \
         the demo in the folder that holds {VENDOR}; or name two folders of text with --upstream DIR --downstream DIR",
        found.len() + missing.len(),
        root.display(),
        missing.len(),
        if missing.len() > 3 { ", …" } else { "" }
    )))
}

/// The folder of a crate in `vendor`, where it has its version in its name only beside another version of the crate.
fn vendored(vendor: &Path, name: &str) -> Option<PathBuf> {
    // No name here has a part that begins with a digit.
    let at =
        name.match_indices('-').find(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_digit()))?.0;
    let (bare, version) = (&name[..at], &name[at + 1..]);
    let is_it = |folder: &PathBuf| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let manifest: toml::Table = manifest.parse().unwrap_or_default();
        // What cargo looks at when it builds from there.
        let complete = folder.join(".cargo-checksum.json").is_file();
        complete && manifest.get("package").and_then(|p| p.get("version")?.as_str()) == Some(version)
    };
    [name, bare].iter().map(|folder| vendor.join(folder)).find(is_it)
}

fn text_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::refused(format!("cannot list {}: {e}", folder.display())))?;
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
    let bytes = std::fs::read(path).map_err(Error::input("read", path))?;
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
    use serde_json::Value;
    use std::collections::{BTreeSet, HashMap};
    use std::process::Command;

    /// What cargo says of rewarm without asking the network.
    fn cargo(command: &str) -> String {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let out = Command::new(env!("CARGO"))
            .args(command.split_whitespace())
            .args(["--offline", "--locked", "--manifest-path", manifest])
            .output()
            .unwrap();
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// `name-version` of what a build needs here: no dependency of tests, no feature that tests alone ask for.
    fn built_here() -> BTreeSet<String> {
        let tree = cargo("tree --edges normal,build --prefix none --format {p}");
        let folder = |line: &str| {
            let mut words = line.split_whitespace();
            Some(format!("{}-{}", words.next()?, words.next()?.strip_prefix('v')?))
        };
        tree.lines().filter_map(folder).collect()
    }

    /// `name-version` of what can be reached over dependencies that hold on every platform.
    fn needed_everywhere() -> BTreeSet<String> {
        let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap();
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let json = cargo(&format!("metadata --format-version 1 --filter-platform {host}"));
        let json: Value = serde_json::from_str(&json).unwrap();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let folders: HashMap<String, String> = list(&json["packages"])
            .iter()
            .map(|p| (text(&p["id"]), format!("{}-{}", text(&p["name"]), text(&p["version"]))))
            .collect();
        let edges: HashMap<String, Vec<Value>> =
            list(&json["resolve"]["nodes"]).iter().map(|n| (text(&n["id"]), list(&n["deps"]))).collect();
        let everywhere = |kind: &Value| kind["kind"] != "dev" && kind["target"].is_null();
        let mut ahead = vec![text(&json["resolve"]["root"])];
        let mut reached = BTreeSet::new();
        while let Some(id) = ahead.pop() {
            if reached.insert(folders[&id].clone()) {
                let needed = edges[&id].iter().filter(|dep| list(&dep["dep_kinds"]).iter().any(everywhere));
                ahead.extend(needed.map(|dep| text(&dep["pkg"])));
            }
        }
        reached
    }

    #[test]
    fn every_release_build_fetches_every_crate() {
        let names: Vec<&str> = CRATES.split_whitespace().collect();
        assert!(names.is_sorted() && names.len() == 72, "{names:?}");
        let (here, everywhere) = (built_here(), needed_everywhere());
        for name in names {
            assert!(here.contains(name), "{name}: a build does not fetch it; this may: {here:?}");
            assert!(everywhere.contains(name), "{name}: not every platform needs it");
        }
    }

    #[test]
    fn everybody_has_the_same_bytes() {
        let sources = read_sources().unwrap();
        assert!(!sources.origin.contains("NOT"), "{}", sources.origin);
    }

    /// A folder as cargo would leave it: each crate with a file of its own.
    fn registry_of(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let folder = dir.path().join("a.registry-0123").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("lib.rs"), format!("//! Of {name}.\nfn f() {{}}\n")).unwrap();
            std::fs::write(folder.join(".cargo-ok"), "{\"v\":1}").unwrap();
        }
        dir
    }

    #[test]
    fn what_is_missing_is_named_and_what_was_changed_is_told() {
        let names: Vec<&str> = CRATES.split_whitespace().collect();
        let none = Path::new("none");
        let error = read_crates(registry_of(&[]).path(), none).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("lacks 72 of them (ahash-0.8.12, ") && text.contains(", …)"), "{text}");
        assert_eq!(error.exit_code(), 1);
        let most = registry_of(&names[1..]);
        let text = read_crates(most.path(), none).unwrap_err().to_string();
        assert!(text.contains("lacks 1 of them (ahash-0.8.12);") && text.contains("cargo fetch"), "{text}");
        // Its unpacking was interrupted.
        let half = most.path().join("b.registry-4567").join(names[0]);
        std::fs::create_dir_all(&half).unwrap();
        assert!(read_crates(most.path(), none).is_err());
        // Another registry may have it.
        std::fs::write(half.join(".cargo-ok"), "").unwrap();
        let sources = read_crates(most.path(), none).unwrap();
        assert_eq!((sources.prose.len(), sources.code[0].as_str()), (71, "fn f() {}\n"));
        assert!(sources.origin.contains("72 crates in") && sources.origin.contains("a file was changed"));
    }

    /// As `cargo vendor` leaves crates: by their names, and by their versions too where there are two.
    #[test]
    fn vendored_crates_are_the_same_text() {
        let names: Vec<&str> = CRATES.split_whitespace().collect();
        let most = registry_of(&names[1..]);
        let vendor = tempfile::tempdir().unwrap();
        let put = |folder: &str, version: &str, text: &str| {
            let folder = vendor.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            let manifest = format!("[package]\nname = \"ahash\"\nversion = \"{version}\"\n");
            std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
            std::fs::write(folder.join(".cargo-checksum.json"), "{}").unwrap();
            std::fs::write(folder.join("lib.rs"), text).unwrap();
        };
        let first = || read_crates(most.path(), vendor.path()).map(|sources| sources.code[0].clone());
        put("ahash", "0.9.0", "fn newer() {}\n");
        let text = first().unwrap_err().to_string();
        assert!(text.contains("lacks 1 of them") && text.contains("holds vendor"), "{text}");
        put("ahash-0.8.12", "0.8.12", "fn beside() {}\n");
        assert_eq!(first().unwrap(), "fn beside() {}\n");
        std::fs::remove_dir_all(vendor.path().join("ahash-0.8.12")).unwrap();
        put("ahash", "0.8.12", "fn alone() {}\n");
        assert_eq!(first().unwrap(), "fn alone() {}\n");
        // What cargo has unpacked comes first.
        let all = registry_of(&names);
        assert_eq!(read_crates(all.path(), vendor.path()).unwrap().code[0], "fn f() {}\n");
    }
}
