//! What rewarm and model directories leave behind: found beside texts, it is none.
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::super::llmc;
use super::super::megatron::{MAGIC, with_suffix};
use super::super::plane::is_plane;

/// Files of a shard that is being written, or was when a process was killed: `<prefix>.bin.part`, `<prefix>.bin.tmp-12-0`.
const UNFINISHED: [&str; 7] =
    [".bin.part", ".bin.tmp", ".idx.tmp", ".hashes.tmp", ".weights.tmp", ".json.tmp", "tokenizer.json.tmp"];

/// What the file is, when `data tokenize` wrote it or it says how a text becomes tokens.
pub(super) fn of_ours(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let prefix = path.with_extension("");
    let is_shard = || head(&with_suffix(&prefix, ".idx")).starts_with(MAGIC);
    let is_note = |path: &Path| has(&head(path), "\"rewarm_tokenized\"");
    match path.extension().and_then(|e| e.to_str()) {
        _ if UNFINISHED.iter().any(|mark| name.contains(mark)) => Some("unfinished shards"),
        Some("idx") if is_shard() => Some("token shards"),
        Some("bin") if is_shard() || is_llmc(path) => Some("token shards"),
        Some("hashes") if is_shard() => Some("token shards"),
        Some("weights") if is_plane(&head(path)) => Some("token shards"),
        Some("jsonl") if is_dropped_of_shard(path) => Some("notes of token shards"),
        Some("json") if is_note(path) => Some("notes of token shards"),
        Some("json") if name == "tokenizer.json" && has(&head(path), "\"added_tokens\"") => {
            Some("tokenizers")
        }
        Some("lock") if name == "tokenizer.json.lock" || is_locked(&prefix) => Some("locks of token shards"),
        _ => None,
    }
}

/// `<prefix>.dropped.jsonl` beside a shard.
fn is_dropped_of_shard(path: &Path) -> bool {
    let prefix = path.to_str().and_then(|path| path.strip_suffix(".dropped.jsonl"));
    prefix.is_some_and(|prefix| head(&with_suffix(Path::new(prefix), ".idx")).starts_with(MAGIC))
}

/// What the folder is, when all of it is something else than text.
pub(super) fn folder_of_ours(folder: &Path) -> Option<&'static str> {
    let there = |name: &str| folder.join(name).exists();
    if there("config.toml") && there("metrics.jsonl") {
        return Some("runs");
    }
    let weights = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    (there("config.json") && weights.into_iter().any(there)).then_some("models")
}

/// Of the hub's cache: `snapshots` holds the names, as links into `blobs`; `refs` and `.no_exist` are notes.
pub(super) fn is_hub_part(path: &Path) -> bool {
    let part = path.file_name().is_some_and(|name| name == "blobs" || name == "refs");
    part && path.with_file_name("snapshots").is_dir() && path.with_file_name("blobs").is_dir()
}

/// The first bytes; none where it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(4096).read_to_end(&mut head);
    }
    head
}

fn has(head: &[u8], word: &str) -> bool {
    head.windows(word.len()).any(|at| at == word.as_bytes())
}

fn is_llmc(path: &Path) -> bool {
    let word = head(path).get(..4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    word.is_some_and(|word| llmc::is_magic(i32::from_le_bytes(word)))
}

/// Whether a shard of this prefix is there or is being written. Other programs have `.lock` files that are text.
fn is_locked(prefix: &Path) -> bool {
    let (Some(folder), Some(name)) = (prefix.parent(), prefix.file_name().and_then(|n| n.to_str())) else {
        return false;
    };
    let begins = |entry: std::fs::DirEntry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.strip_prefix(name).is_some_and(|rest| rest.starts_with(".bin")))
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(begins)))
}
