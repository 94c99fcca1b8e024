//! The files below a folder that may be shards, through links, and what is left out on the way.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::{Error, Result};

/// What lies below a folder.
pub(crate) struct Below {
    /// Files of the wanted kinds, sorted by the bytes of their paths.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) left_out: LeftOut,
}

/// Why something is not read: how many there are, and the first of them.
#[derive(Default)]
pub(crate) struct LeftOut(BTreeMap<&'static str, (u64, PathBuf)>);

impl LeftOut {
    pub(crate) fn add(&mut self, why: &'static str, path: &Path) {
        self.0.entry(why).or_insert_with(|| (0, path.to_path_buf())).0 += 1;
    }

    /// A line on stderr for each reason.
    pub(crate) fn tell(&self, folder: &Path) {
        for (why, (count, first)) in &self.0 {
            let more = if *count > 1 { " and others" } else { "" };
            log::info!("{}: left out: {count} × {why} ({}{more})", folder.display(), first.display());
        }
    }
}

/// Files with one of these extensions. Links are followed; hidden folders are another program's.
pub(crate) fn below(folder: &Path, extensions: &[&str]) -> Result<Below> {
    let (mut files, mut left_out) = (Vec::new(), LeftOut::default());
    let wanted = |path: &Path| path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted));
    let mut walk = WalkDir::new(folder).follow_links(true).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => {
                let path = e.path().unwrap_or(folder).to_path_buf();
                if e.loop_ancestor().is_some() {
                    left_out.add("a link back to a folder it lies in", &path);
                } else if path.is_symlink() && wanted(&path) {
                    files.push(path); // opening it says what is wrong
                } else if path.is_symlink() {
                    left_out.add("a link that leads nowhere", &path);
                } else {
                    return Err(Error::refused(format!("cannot list {}: {e}", folder.display())));
                }
                continue;
            }
        };
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if entry.file_type().is_dir() && hidden {
            left_out.add("a hidden folder", entry.path());
            walk.skip_current_dir();
        } else if !entry.file_type().is_dir() && wanted(entry.path()) {
            if is_index_map(entry.path()) {
                left_out.add("an index of samples that gpt-neox or Megatron cached", entry.path());
            } else {
                files.push(entry.into_path());
            }
        }
    }
    files.sort_unstable_by(|a, b| by_name(a, b));
    Ok(Below { files, left_out })
}

/// `*_doc_idx.npy` of gpt-neox, `*-document_index.npy` of Megatron: integers that are no tokens.
fn is_index_map(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".npy"));
    let ends = ["doc_idx", "sample_idx", "shuffle_idx", "document_index", "sample_index", "shuffle_index"];
    name.is_some_and(|name| {
        ends.iter().any(|end| name.strip_suffix(end).is_some_and(|rest| rest.ends_with(['_', '-'])))
    })
}

pub(crate) fn by_name(a: &Path, b: &Path) -> std::cmp::Ordering {
    a.as_os_str().cmp(b.as_os_str())
}
