//! Whose a run directory is: what `train` may begin in, and what `resume` goes on with.
use super::choices;
use super::run_config::{CONFIG, OVERRIDE};
use crate::checkpoint::{
    Disk, LOCK, LOG, Manifest, RunLock, Storage, clean, create_run_dir, find_newest, list_steps,
};
use crate::config::{Config, Difference, DifferenceKind, resume_differences};
use crate::files::is_draft;
use crate::stop::shell_word;
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file whose appearance in a run directory stops the run, and which goes when that is done.
pub const STOP: &str = "STOP";
/// Names of the logs of runs that ended before their first checkpoint, between these and a number.
const ASIDE: [&str; 2] = ["metrics.attempt-", ".jsonl"];

/// A run directory that is locked and that nothing was written to. Dropped like this it is left as it was found.
pub struct Claim {
    lock: Option<RunLock>,
    dir: PathBuf,
    created: Vec<PathBuf>,
    had_lock: bool,
    /// What is done away with, for a person.
    earlier: Option<String>,
}

impl Claim {
    /// Of the directory of `config`, where it is missing, empty, or holds a run without a checkpoint that was begun with
    /// the same configuration or finished no step.
    ///
    /// # Errors
    /// Refused, and left as it was, where it is something else or another process has it.
    pub fn new(config: &Config) -> Result<Self> {
        let dir = &config.run_dir;
        refuse_foreign(dir)?;
        let had_lock = dir.join(LOCK).exists();
        let created = create_run_dir(&Disk, dir)?;
        let mut claim = Self { lock: None, dir: dir.clone(), created, had_lock, earlier: None };
        claim.lock = Some(RunLock::acquire(dir)?);
        refuse_stop(dir)?;
        let differences = differences(config)?;
        match list_steps(&Disk, dir)?.first() {
            Some((step, _)) => return Err(holds_a_run(dir, *step, differences.as_deref())),
            None => claim.earlier = earlier(dir, differences.unwrap_or_default())?,
        }
        Ok(claim)
    }

    /// Makes it the directory of this run: what an earlier one left is cleared, its log set aside.
    pub fn keep(mut self) -> Result<RunLock> {
        if let Some(earlier) = self.earlier.take() {
            log::info!("{}", earlier);
        }
        let log = self.dir.join(LOG);
        if last_step(&log).is_some() {
            let numbered = |n: u32| self.dir.join(format!("{}{n}{}", ASIDE[0], ASIDE[1]));
            let aside = (1..).map(numbered).find(|path| !path.exists()).expect("a number is free");
            fs::rename(&log, &aside).map_err(Error::io("set aside", &log))?;
            log::info!("note: its log is now {}", aside.display());
        }
        clear(&self.dir)?;
        self.created.clear();
        Ok(self.lock.take().expect("taken once"))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nothing where the claim was kept. Otherwise best effort: a lock that nobody holds and an empty directory are
        // in nobody's way.
        if let Some(lock) = self.lock.take().filter(|_| !self.had_lock) {
            lock.withdraw();
        }
        self.created.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
    }
}

/// Deletes what a killed process left of what it was writing; the directory is locked.
pub fn clear(run_dir: &Path) -> Result<()> {
    clean(&Disk, run_dir)?;
    let entries = Disk.list(run_dir).map_err(Error::io("list", run_dir))?;
    entries.iter().filter(|e| !e.is_dir && is_draft(&e.name)).try_for_each(|entry| {
        let path = run_dir.join(&entry.name);
        fs::remove_file(&path).map_err(Error::io("delete", &path))
    })
}

/// Locks a run that is to go on, before anything else is said about it: it may be live.
pub fn lock_run(run_dir: &Path) -> Result<RunLock> {
    if !run_dir.join(LOCK).exists() {
        newest_manifest(run_dir)?; // a mistyped path is not to be written to
    }
    let lock = RunLock::acquire(run_dir)?;
    refuse_stop(run_dir)?;
    Ok(lock)
}

/// The newest manifest of a run that can be read; refused where there is none.
pub fn newest_manifest(run_dir: &Path) -> Result<Manifest> {
    if !run_dir.is_dir() {
        return Err(Error::refused(format!(
            "{} is not a directory; expected a run directory",
            run_dir.display()
        )));
    }
    let steps = list_steps(&Disk, run_dir)?;
    match steps.into_iter().find_map(|(_, dir)| Manifest::read(&Disk, &dir).ok()) {
        Some(manifest) => Ok(manifest),
        None => find_newest(&Disk, run_dir).map(|found| found.manifest), // it says what is wrong
    }
}

/// Somebody wants it to stand still, and found no process that heard.
fn refuse_stop(run_dir: &Path) -> Result<()> {
    let path = run_dir.join(STOP);
    if !path.exists() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the file {} asks this run to stop; delete it to let the run go on: rm {}",
        path.display(),
        shell_word(&path)
    )))
}

/// Refuses a directory with anything in it but a run, and what jobs and their scripts leave where they run.
fn refuse_foreign(dir: &Path) -> Result<()> {
    let entries = match Disk.list(dir) {
        Ok(entries) => entries,
        // Missing, or what `create_run_dir` refuses by name.
        Err(_) => return Ok(()),
    };
    let is_run = |name: &str| {
        name.starts_with("step-") || name == LOG || (name == CONFIG && is_config(&dir.join(CONFIG)))
    };
    if entries.iter().any(|entry| is_run(&entry.name)) {
        return Ok(());
    }
    let foreign: Vec<&str> =
        entries.iter().map(|e| &e.name[..]).filter(|n| !is_ours(n) && !is_of_a_job(n)).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let model =
        if foreign.contains(&"config.json") { "; a model to start from is named by start.from" } else { "" };
    Err(Error::refused(format!(
        "run_dir is {}, which holds {} and no run; choose a new or an empty directory{model}",
        dir.display(),
        some(&foreign)
    )))
}

/// Whether a file is the configuration of a run.
fn is_config(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("run_dir"))
}

fn is_ours(name: &str) -> bool {
    let files = [LOCK, LOG, OVERRIDE, choices::FILE, STOP];
    files.contains(&name)
        || is_draft(name)
        || ["tmp-", "trash-step-", ASIDE[0]].iter().any(|start| name.starts_with(start))
}

/// Scripts and configurations that lie beside a run, and what schedulers write there before it begins.
fn is_of_a_job(name: &str) -> bool {
    if name == CONFIG {
        return false; // it would be overwritten
    }
    let ending = Path::new(name).extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
    let numbered = ending.strip_prefix(['o', 'e']).unwrap_or_default(); // name.o1234
    name.starts_with('.')
        || ["toml", "sh", "sbatch", "slurm", "out", "err", "log"].contains(&&ending[..])
        || (!numbered.is_empty() && numbered.bytes().all(|b| b.is_ascii_digit()))
}

/// Some of a list, for a message.
fn some(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|name| name.as_ref()).collect();
    let more = names.len().saturating_sub(SHOWN);
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
}

/// In which keys the run that is there was begun otherwise; `None` where its configuration is gone or cannot be read.
fn differences(config: &Config) -> Result<Option<Vec<Difference>>> {
    let path = config.run_dir.join(CONFIG);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::input("read", &path)(e)),
    };
    let Ok(there) = Config::from_toml_str(&text, &[]) else { return Ok(None) };
    let mut all = resume_differences(&there.to_json(), &config.to_json());
    // Named from another place, settled when that run began, or of a version without the key.
    let settled = ["head.chunk_rows", "data.seed", "data.split_seed"];
    let is_open = |d: &Difference| settled.contains(&&d.key[..]) && (d.new.is_null() || d.old.is_null());
    all.retain(|d| d.key != "run_dir" && !is_open(d));
    Ok(Some(all))
}

fn listed(differences: &[Difference]) -> String {
    let all: Vec<String> =
        differences.iter().map(|d| format!("{} was {} and is {}", d.key, d.old, d.new)).collect();
    some(&all)
}

/// The refusal of a directory with checkpoints.
fn holds_a_run(dir: &Path, step: u64, differences: Option<&[Difference]>) -> Error {
    let otherwise = match differences {
        None | Some([]) => String::new(),
        Some(some) => format!(", begun with another configuration ({})", listed(some)),
    };
    Error::refused(format!(
        "{} already holds a run, saved at step {step}{otherwise}; continue that run with `rewarm resume {}`, or choose \
         another run_dir for a new one",
        dir.display(),
        shell_word(dir)
    ))
}

/// What is said of a run without a checkpoint that this one takes the place of. Refused where it is of another
/// configuration and has finished a step.
fn earlier(dir: &Path, mut differences: Vec<Difference>) -> Result<Option<String>> {
    let Some(step) = last_step(&dir.join(LOG)) else {
        return Ok(dir.join(CONFIG).exists().then(|| {
            let but =
                if differences.is_empty() { String::new() } else { format!("; {}", listed(&differences)) };
            format!("note: a run in {} ended before its first step and starts again{but}", dir.display())
        }));
    };
    differences.retain(|d| d.kind != DifferenceKind::Free);
    if differences.is_empty() {
        return Ok(Some(format!(
            "note: a run in {} ended at step {step} without a checkpoint and starts again from the beginning",
            dir.display()
        )));
    }
    Err(Error::refused(format!(
        "{} holds the log of {step} steps, without a checkpoint, of a run with another configuration: {}; give that \
         configuration to start it again, choose another run_dir, or delete what is there: rm -r {}",
        dir.display(),
        listed(&differences),
        shell_word(dir)
    )))
}

/// The last step in a log.
fn last_step(log: &Path) -> Option<u64> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line.get("lr").is_some()).find_map(|line| line["step"].as_u64())
}
