//! The page of several runs: their curves and what differs between them, in one HTML file that needs nothing else.
use serde::Serialize;

use super::document::document;
use super::told::{RunStory, Told};
use crate::{Error, Result};

/// What the page tells.
#[derive(Clone, Debug, Serialize)]
pub struct Story<'a> {
    title: &'a str,
    origin: String,
    runs: Vec<&'a RunStory>,
    differences: Differences,
    /// What is missing of runs that are followed.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [String],
}

/// Keys of configurations whose values differ, and the values, a row per run.
#[derive(Clone, Debug, Default, Serialize)]
struct Differences {
    keys: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl<'a> Story<'a> {
    /// Of runs, in this order.
    pub fn of_runs(title: &'a str, runs: &[&'a Told]) -> Self {
        let origin = format!("Made by rewarm {}.", env!("CARGO_PKG_VERSION"));
        let stories = runs.iter().map(|told| &told.story).collect();
        Self { title, origin, runs: stories, differences: Differences::of(runs), notes: &[] }
    }

    /// The same, with what a reader is to know.
    pub fn with_notes(self, notes: &'a [String]) -> Self {
        Self { notes, ..self }
    }

    /// As JSON that may stand inside of a document: what is said in names and texts cannot become part of that.
    pub fn to_json(&self) -> Result<String> {
        let data = serde_json::to_string(self)
            .map_err(|e| Error::failed(format!("cannot write the report: {e}")))?;
        Ok(data.replace('<', "\\u003c")) // inside of strings alone
    }

    /// The whole document.
    pub fn to_html(&self) -> Result<String> {
        let [before, after] = document(self.title, None);
        Ok(format!("{before}{}{after}", self.to_json()?))
    }
}

impl Differences {
    fn of(runs: &[&Told]) -> Self {
        let differs = |key: &&String| {
            let mut values = runs.iter().map(|run| run.config.get(*key));
            let first = values.next();
            *key != "run_dir" && values.any(|value| Some(value) != first)
        };
        let mut keys: Vec<&String> = runs.iter().flat_map(|run| run.config.keys()).filter(differs).collect();
        keys.sort();
        keys.dedup();
        let row = |run: &&Told| {
            let values = keys.iter().map(|key| run.config.get(*key).cloned().unwrap_or_else(|| "–".into()));
            std::iter::once(run.story.name.clone()).chain(values).collect()
        };
        let rows = runs.iter().map(row).collect();
        Self { keys: keys.into_iter().cloned().collect(), rows }
    }
}
