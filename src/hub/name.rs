//! What a model of the hub is called.
use std::fmt;
use std::path::Path;

/// An owner, a model of his, and a branch, tag or commit of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) owner: String,
    pub(super) model: String,
    pub(super) revision: String,
}

impl Name {
    /// Of `owner/model` or `owner/model@revision`; `None` where it cannot be a name.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, model) = repository.split_once('/')?;
        let is_word = |text: &str, more: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c);
            let edge = |c: char| c == '.' || c == '/';
            !text.is_empty() && text.chars().all(plain) && !text.starts_with(edge) && !text.ends_with(edge)
        };
        let is_name =
            is_word(owner, "") && is_word(model, "") && is_word(revision, "/") && !text.contains("..");
        is_name.then(|| Self { owner: owner.into(), model: model.into(), revision: revision.into() })
    }

    /// Whether it is a path to something here, or was meant as one: its first part is a folder.
    pub(super) fn may_be_local(&self) -> bool {
        Path::new(&self.owner).exists()
    }

    /// `owner/model`
    #[cfg(feature = "hub")]
    pub(super) fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.model)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.owner, self.model, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_none() {
        let parsed = |text: &str| Name::parse(Path::new(text)).map(|name| name.to_string());
        assert_eq!(parsed("EleutherAI/pythia-410m").unwrap(), "EleutherAI/pythia-410m@main");
        assert_eq!(parsed("EleutherAI/pythia-410m@step143000").unwrap(), "EleutherAI/pythia-410m@step143000");
        assert_eq!(parsed("a/b.c@refs/pr/1").unwrap(), "a/b.c@refs/pr/1");
        for path in [
            "pythia", "/a/b", "./a", "../a", "a/../b", "a/b/c", "a/b@", "a/b@x..y", "~/a", "a b/c", "a/b@/x",
            "",
        ] {
            assert_eq!(parsed(path), None, "{path}");
        }
        assert!(Name::parse(Path::new("src/model")).unwrap().may_be_local());
    }
}
