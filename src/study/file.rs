//! `study.toml` as it is written.
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::config::parse_toml;
use crate::error::one_line;
use crate::{Error, Result};

/// How `start.from` names an ancestor: `ancestor:NAME`, or a step of it, `ancestor:NAME/step-0000000100`.
pub(super) const ANCESTOR: &str = "ancestor:";

/// A study: what its runs have in common, and in what they differ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Where its runs live and its table is written.
    pub dir: PathBuf,
    /// The configuration of a run, but for what follows.
    pub base: Table,
    /// Values by dotted key: a run for every combination. Keys that end with `seed` repeat runs.
    #[serde(default)]
    pub grid: Table,
    /// Runs that others start from, in the order in which they are trained.
    #[serde(default)]
    pub ancestor: Vec<Named>,
    /// Runs besides those of the grid.
    #[serde(default)]
    pub cell: Vec<Named>,
}

/// A run with a name, and how its configuration differs from the base.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Unique among its kind.
    pub name: String,
    /// Values by dotted key.
    #[serde(default)]
    pub set: Table,
    /// Keys that are taken out of the base before.
    #[serde(default)]
    pub unset: Vec<String>,
}

impl Study {
    /// Refused where the file cannot be read, is no TOML, or has a key that a study does not have.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::input("read the study", path))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The same of a text; `origin` stands for its name in messages.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let study: Self = parse_toml(text, origin)?.try_into().map_err(|e: toml::de::Error| {
            Error::refused(format!(
                "{origin} is no study: {}; it has dir = \"…\", [base] with the configuration of a run, [grid], [[ancestor]] \
                 and [[cell]]",
                one_line(e.message())
            ))
        })?;
        study.check().map_err(|e| e.within(origin))?;
        Ok(study)
    }

    fn check(&self) -> Result<()> {
        if self.base.contains_key("run_dir") {
            return Err(Error::refused(
                "[base] has run_dir, and the runs of a study live below its dir; leave it out",
            ));
        }
        if self.grid.is_empty() && self.cell.is_empty() {
            return Err(Error::refused("it has no runs: give [grid] a key with values, or a [[cell]]"));
        }
        for (key, values) in &self.grid {
            match values.as_array().map(Vec::len) {
                Some(1..) => {}
                Some(0) => {
                    return Err(Error::refused(format!(
                        "[grid] {key:?} has no values; give some, or leave it out"
                    )));
                }
                None => {
                    return Err(Error::refused(format!(
                        "[grid] {key:?} is {values}, expected a list of values, such as \"schedule.lr\" = [3e-4, 3e-3]; \
                         nested tables are written as dotted keys in quotes"
                    )));
                }
            }
        }
        for (kind, list) in [("ancestor", &self.ancestor), ("cell", &self.cell)] {
            for (i, named) in list.iter().enumerate() {
                check_name(kind, &named.name)?;
                if list[..i].iter().any(|other| other.name == named.name) {
                    return Err(Error::refused(format!(
                        "two [[{kind}]] are called {:?}; rename one",
                        named.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// The values of a key of the grid.
    pub(super) fn axis(&self, key: &str) -> &[Value] {
        self.grid[key].as_array().map_or(&[], Vec::as_slice)
    }
}

/// A name is that of a directory, too.
fn check_name(kind: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "a [[{kind}]] is called {name:?}, expected letters, digits, -, _ and ., at most 100: it is the name of a directory"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_study_is_refused_by_name() {
        let cell = "[[cell]]\nname = \"a\"\n";
        for (text, words) in [
            ("", vec!["missing field `dir`", "[base]"]),
            ("dir = 1\n[base]\n", vec!["dir", "string"]),
            ("dir = \"d\"\n[bass]\n", vec!["unknown field `bass`", "`base`"]),
            ("dir = \"d\"\n[base]\n", vec!["no runs"]),
            (
                "dir = \"d\"\n[base]\nrun_dir = \"x\"\n[[cell]]\nname = \"a\"\n",
                vec!["run_dir", "leave it out"],
            ),
            ("dir = \"d\"\n[base]\n[grid]\nseed = []\n", vec!["\"seed\" has no values"]),
            (
                "dir = \"d\"\n[base]\n[grid]\nschedule.lr = [1]\n",
                vec!["\"schedule\"", "dotted keys in quotes"],
            ),
            ("dir = \"d\"\n[base]\n[[cell]]\nname = \"a/b\"\n", vec!["\"a/b\"", "directory"]),
            ("dir = \"d\"\n[base]\n[[cell]]\nname = \"a\"\nsets = 1\n", vec!["unknown field `sets`"]),
            (&format!("dir = \"d\"\n[base]\n{cell}{cell}"), vec!["two [[cell]] are called \"a\""]),
        ] {
            let message = Study::parse(text, "s.toml").unwrap_err().to_string();
            assert!(
                message.contains("s.toml") && words.iter().all(|word| message.contains(word)),
                "{message}"
            );
        }
    }
}
