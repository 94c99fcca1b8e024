//! Runs that are followed while they are trained: the story as it is now, told anew where something changed.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::follow::FollowedLog;
use crate::checkpoint::LOG;
use crate::report::{Cells, Story, Told};
use crate::train::CONFIG;
use crate::{Error, Result};

/// However many ask, logs are looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is followed.
#[derive(Debug)]
pub struct Live {
    title: String,
    /// Those named by themselves, then cells of studies in the order in which they appeared: colours stay theirs.
    runs: Vec<Run>,
    studies: Vec<PathBuf>,
    /// What is to be said of them.
    notes: Vec<String>,
    looked: Instant,
    now: Arc<Telling>,
}

/// The story at a moment.
#[derive(Debug, Default)]
pub struct Telling {
    /// It as JSON that may stand in a document.
    pub json: String,
    /// Equal where it is equal, as HTTP writes it.
    pub tag: String,
}

#[derive(Debug)]
struct Run {
    name: String,
    dir: PathBuf,
    log: FollowedLog,
    /// None before its log has something.
    told: Option<Told>,
    /// What keeps it from being told.
    trouble: Option<String>,
}

impl Live {
    /// Follows runs, which may be about to begin, and the cells of studies. Refused where something is neither.
    pub fn new(title: &str, named: &[PathBuf]) -> Result<Self> {
        let (studies, runs): (Vec<_>, Vec<_>) = named.iter().cloned().partition(|dir| Cells::is_study(dir));
        if let Some(dir) = runs.iter().find(|dir| !dir.join(CONFIG).exists() && !dir.join(LOG).exists()) {
            return Err(Error::refused(format!(
                "{} is no run: it has neither {CONFIG} nor {LOG}; name runs that have begun, or the directory of a study",
                dir.display()
            )));
        }
        let runs = runs.into_iter().map(|dir| Run::new(dir.display().to_string(), dir)).collect();
        let (notes, looked, now) = (Vec::new(), Instant::now(), Arc::default());
        let mut live = Self { title: title.into(), runs, studies, notes, looked, now };
        live.look()?;
        Ok(live)
    }

    /// What the pages are called.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The story as it is now.
    pub fn now(&mut self) -> Result<Arc<Telling>> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look()?;
        }
        Ok(self.now.clone())
    }

    fn look(&mut self) -> Result<()> {
        let before = self.runs.len();
        let mut notes = Vec::new();
        for study in &self.studies {
            match Cells::of(study) {
                Ok(cells) => add(&mut self.runs, cells.unwrap_or_default().with_log),
                Err(e) => notes.push(e.to_string()),
            }
        }
        let mut changed = self.runs.len() > before || self.now.json.is_empty();
        for run in &mut self.runs {
            changed |= run.look();
        }
        notes.extend(self.runs.iter().filter_map(Run::note));
        if changed || notes != self.notes {
            let told: Vec<&Told> = self.runs.iter().filter_map(|run| run.told.as_ref()).collect();
            let json = Story::of_runs(&self.title, &told).with_notes(&notes).to_json()?;
            let tag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(json.as_bytes()));
            self.now = Arc::new(Telling { json, tag });
            self.notes = notes;
        }
        self.looked = Instant::now();
        Ok(())
    }
}

/// Those that are not there yet.
fn add(runs: &mut Vec<Run>, found: Vec<(String, PathBuf)>) {
    for (name, dir) in found {
        if !runs.iter().any(|run| run.dir == dir) {
            runs.push(Run::new(name, dir));
        }
    }
}

impl Run {
    fn new(name: String, dir: PathBuf) -> Self {
        let log = FollowedLog::new(&dir);
        Self { name, dir, log, told: None, trouble: None }
    }

    /// Reads what is new of it; whether another thing is told of it now.
    fn look(&mut self) -> bool {
        if !self.log.look() && self.trouble.is_none() {
            return false;
        }
        match Told::of(&self.name, &self.dir, self.log.log()) {
            Ok(told) => {
                (self.told, self.trouble) = (Some(told), None);
                true
            }
            Err(e) => {
                self.trouble = Some(e.to_string());
                self.log.log().is_empty() && self.told.take().is_some()
            }
        }
    }

    /// What is to be said of it, if anything.
    fn note(&self) -> Option<String> {
        let trouble = self.log.trouble().or(self.trouble.as_deref())?;
        Some(match self.told {
            Some(_) => format!("{}: {trouble}; what was read before is shown", self.name),
            None if !self.dir.join(LOG).exists() => format!("{}: no log yet", self.name),
            None => format!("{}: {trouble}", self.name),
        })
    }
}
