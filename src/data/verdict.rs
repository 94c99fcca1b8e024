//! What `data verify` found wrong with an index that is too large to be looked at whole whenever it is opened. It lies in
//! the user's cache under the shard's fingerprint; where the cache cannot be written, only `data verify` itself says it.
use std::path::{Path, PathBuf};

use crate::files::{cache_dir, write_whole};

fn file_of(fingerprint: u128, cache: &Path) -> PathBuf {
    cache.join(format!("index-{fingerprint:032x}.txt"))
}

/// Remembers the number of faults and the first of them, or that there are none.
pub(crate) fn keep(fingerprint: u128, faults: u64, first: Option<&String>) {
    let Some(cache) = cache_dir() else { return };
    let path = file_of(fingerprint, &cache);
    match first {
        Some(first) if std::fs::create_dir_all(&cache).is_ok() => {
            let _ = write_whole(&path, format!("{faults} faults, the first: {first}\n").as_bytes());
        }
        _ => {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// What was found when the shard was last verified.
pub(crate) fn recall(fingerprint: u128) -> Option<String> {
    let text = std::fs::read_to_string(file_of(fingerprint, &cache_dir()?)).ok()?;
    Some(format!("`rewarm data verify` found {}", text.trim_end()))
}
