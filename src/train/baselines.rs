//! Evaluations before the first step that the runs of a study share: those that start from the same weights would all make the
//! same ones.
use super::evaluate::{EvalResult, Evaluation};
use super::session::Session;
use crate::checkpoint::MANIFEST;
use crate::config::Config;
use crate::files::write_whole;
use crate::{Error, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use xxhash_rust::xxh3::xxh3_128;

/// What of a configuration no loss before the first step depends on. What is not named here counts, which at worst makes an
/// evaluation that was made before.
const OF_NO_ACCOUNT: &[&str] = &[
    "/run_dir",
    "/threads",
    "/schedule",
    "/optim",
    "/checkpoint",
    "/log",
    "/eval",
    "/train/steps",
    "/train/tokens",
    "/data/train",
    "/data/mixture",
    "/data/seed",
    "/data/role",
    "/data/validation",
    "/start/optimizer",
    "/start/data",
];

impl Session {
    /// Takes evaluations before the first step from this directory where another run has left the same there, and leaves its
    /// own.
    pub(crate) fn with_baselines(self, dir: PathBuf) -> Self {
        Self { baselines: Some(dir), ..self }
    }

    /// Evaluates a set with the present weights, unless another run that starts from the same has.
    pub(super) fn result_of(&mut self, number: usize) -> Result<EvalResult> {
        let baselines = self.baselines.as_deref().filter(|_| self.state.step == 0);
        let shared = baselines.map(|dir| Ok::<_, Error>(dir.join(self.key(number)?))).transpose()?;
        if let Some(kept) = shared.as_deref().and_then(read) {
            return Ok(kept);
        }
        let result = self.evaluations[number].run(&self.model, &mut *self.ops, &self.workspace)?;
        if let Some(path) = shared {
            keep(&path, &result)?;
        }
        Ok(result)
    }

    /// The name of the file of an evaluation: a hash of all that its loss depends on.
    fn key(&self, number: usize) -> Result<String> {
        let Evaluation { name, part, .. } = &self.evaluations[number];
        let text = format!(
            "{} {}\n{}\n{:?} {:?}\n{name} {part:?} {}",
            env!("CARGO_PKG_VERSION"),
            counted(&self.config),
            self.state.parent.as_deref().map_or(Ok(String::new()), |dir| weights(Path::new(dir)))?,
            self.ops.multiplies_by(),
            self.ops.choices().device,
            self.evaluations[number].identity(),
        );
        Ok(format!("{:032x}.json", xxh3_128(text.as_bytes())))
    }
}

/// The configuration without what is of no account.
fn counted(config: &Config) -> Value {
    let mut json = config.to_json();
    // Without a model to start from, the weights are drawn by the seed.
    let seed = config.start.is_some().then_some("/seed");
    for path in OF_NO_ACCOUNT.iter().copied().chain(seed) {
        let (table, key) = path.rsplit_once('/').expect("it begins with one");
        if let Some(table) = json.pointer_mut(table).and_then(Value::as_object_mut) {
            table.shift_remove(key);
        }
    }
    json
}

/// Which weights lie in a directory: a checkpoint's by its manifest, which has their hashes; others by names, lengths and times.
fn weights(dir: &Path) -> Result<String> {
    let manifest = dir.join(MANIFEST);
    if manifest.exists() {
        let text = fs::read(&manifest).map_err(Error::io("read", &manifest))?;
        return Ok(format!("{:032x}", xxh3_128(&text)));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        let about = fs::metadata(entry.path()).map_err(Error::io("look at", &entry.path()))?;
        let time = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        files.push(format!("{:?} {} {time:?}", entry.file_name(), about.len()));
    }
    files.sort();
    Ok(files.join("\n"))
}

/// What was left there; nothing where nothing is, or no evaluation, which is made again.
fn read(path: &Path) -> Option<EvalResult> {
    let text = fs::read_to_string(path).ok()?;
    let read = serde_json::from_str(&text);
    if let Err(e) = &read {
        log::warn!("{} is no evaluation ({e}) and is made again", path.display());
    }
    read.ok()
}

fn keep(path: &Path, result: &EvalResult) -> Result<()> {
    let folder = crate::files::folder_of(path);
    fs::create_dir_all(folder).map_err(Error::input("create", folder))?;
    let text =
        serde_json::to_string(result).map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
    write_whole(path, (text + "\n").as_bytes())
}
