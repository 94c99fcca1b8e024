//! The runs of a study, by the directories in it.
use std::path::{Path, PathBuf};

use crate::checkpoint::LOG;
use crate::{Error, Result};

/// Where a study has its cells and its ancestors.
const FOLDERS: [&str; 2] = ["cells", "ancestors"];

/// The cells of a study at a moment, sorted.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    /// Names and directories of those with a log.
    pub with_log: Vec<(String, PathBuf)>,
    /// Directories of the others.
    pub without_log: Vec<PathBuf>,
}

impl Cells {
    /// Whether this is the directory of a study, perhaps one whose cells are still to come.
    pub fn is_study(dir: &Path) -> bool {
        FOLDERS.iter().any(|folder| dir.join(folder).is_dir())
    }

    /// Those of the study in `dir`; none where it has no folder of cells.
    pub fn of(dir: &Path) -> Result<Option<Self>> {
        let folder = dir.join(FOLDERS[0]);
        if !folder.is_dir() {
            return Ok(None);
        }
        let list =
            std::fs::read_dir(&folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let mut dirs: Vec<PathBuf> =
            list.map_err(Error::input("list", &folder))?.iter().map(|e| e.path()).collect();
        dirs.retain(|dir| dir.is_dir());
        dirs.sort();
        let (with, without_log): (Vec<_>, Vec<_>) = dirs.into_iter().partition(|dir| dir.join(LOG).exists());
        let name = |dir: &PathBuf| dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let with_log = with.into_iter().map(|dir| (name(&dir), dir)).collect();
        Ok(Some(Self { with_log, without_log }))
    }
}
