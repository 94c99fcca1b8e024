//! Folders of texts, and what is read of them.
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::refusal;
use rewarm::data::{Documents, InputOptions, Inputs};
use tempfile::{TempDir, tempdir};

/// A fresh folder with files in it.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempdir().unwrap());
        files.iter().for_each(|(name, content)| folder.write(name, content));
        folder
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), content).unwrap();
    }

    /// All texts of the folder, and what was left out.
    pub fn read(&self) -> (Vec<String>, Documents) {
        read(&[self.0.path()], &InputOptions::default())
    }
}

pub fn read<P: AsRef<Path>>(paths: &[P], options: &InputOptions) -> (Vec<String>, Documents) {
    let mut documents = Inputs::find(paths, options).unwrap().documents();
    let texts = documents.by_ref().collect::<rewarm::Result<_>>().unwrap();
    (texts, documents)
}

pub fn refused<P: AsRef<Path>>(paths: &[P], options: &InputOptions) -> String {
    refusal(
        Inputs::find(paths, options)
            .and_then(|inputs| inputs.documents().collect::<rewarm::Result<Vec<_>>>()),
    )
}
