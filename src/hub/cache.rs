//! The cache of `huggingface_hub`: `models--OWNER--MODEL` has `blobs` by their hashes, `snapshots` of a commit, whose files
//! are links to blobs, and `refs`, which say of which commit a branch was.
use super::name::Name;
use crate::{Error, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The folder of all models.
pub(super) struct Cache(PathBuf);

impl Cache {
    /// Where Python has it.
    pub(super) fn of_environment() -> Result<Self> {
        let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = given("HF_HOME")
            .or_else(|| given("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| given("HOME").map(|home| home.join(".cache/huggingface")));
        let root = given("HF_HUB_CACHE").or_else(|| home.map(|home| home.join("hub")));
        root.map(Self).ok_or_else(|| {
            Error::refused(
                "there is no folder for downloaded models: neither HF_HUB_CACHE, HF_HOME nor HOME is set",
            )
        })
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    /// The folder of a model.
    pub(super) fn model(&self, name: &Name) -> PathBuf {
        self.0.join(format!("models--{}--{}", name.owner, name.model))
    }

    /// Where the files of a commit of it are.
    pub(super) fn commit(&self, name: &Name, commit: &str) -> PathBuf {
        self.model(name).join("snapshots").join(commit)
    }

    /// Where it is said which commit a revision was.
    pub(super) fn reference(&self, name: &Name) -> PathBuf {
        self.model(name).join("refs").join(&name.revision)
    }

    /// What is there of a revision.
    pub(super) fn snapshot(&self, name: &Name) -> Option<PathBuf> {
        let said = std::fs::read_to_string(self.reference(name)).ok();
        let commit = said.as_deref().map_or(name.revision.as_str(), str::trim);
        let dir = (!commit.contains(['/', '.'])).then(|| self.commit(name, commit))?;
        dir.join("config.json").exists().then_some(dir)
    }
}
