//! Saving and loading checkpoints, and what a save costs training.
use super::{Machine, Record, Summary, Trainer, Workload, resident_above};
use crate::checkpoint::{Disk, Fingerprints, RunState, Snapshot, find_newest, load, save};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is saved, and where.
pub struct Checkpoints {
    /// The training that is interrupted.
    pub workload: Workload,
    /// A folder of the file system that is measured; a new folder in it is made, and removed again.
    pub dir: PathBuf,
    /// How many checkpoints are saved and loaded.
    pub repeats: usize,
}

/// A folder that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self> {
        let path = dir.join(format!("rewarm-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(|e| {
            Error::refused(format!("cannot write into {}: {e}; name another folder", dir.display()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // what is left is what could not be removed
    }
}

/// Samples in seconds.
#[derive(Default)]
struct Samples {
    plain_steps: Vec<f64>,
    steps_with_save: Vec<f64>,
    saves: Action,
    finds: Action,
    loads: Action,
}

/// How long something took each time, and what memory of the host beside what was in use before, at most.
#[derive(Default)]
struct Action {
    seconds: Vec<f64>,
    host_bytes: Option<u64>,
}

impl Action {
    fn sample<R>(&mut self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let (done, host_bytes) = resident_above(|| seconds(f));
        let (took, result) = done?;
        self.seconds.push(took);
        self.host_bytes = self.host_bytes.max(host_bytes);
        Ok(result)
    }
}

impl Checkpoints {
    /// Trains, saves between steps, then finds and loads what was saved.
    pub fn run(&self, machine: &Machine) -> Result<Vec<Record>> {
        let scratch = Scratch::new(&self.dir)?;
        let mut trainer = Trainer::open(&self.workload)?;
        trainer.steps(1, &mut |_| ())?;
        let (mut samples, mut bytes) = (Samples::default(), 0);
        for step in 1..=self.repeats as u64 {
            samples.plain_steps.push(seconds(|| trainer.steps(1, &mut |_| ()))?.0);
            let (with_save, saved) = seconds(|| {
                let saved = samples.saves.sample(|| self.save(&mut trainer, &scratch.0, step))?;
                trainer.steps(1, &mut |_| ())?;
                Ok(saved)
            })?;
            samples.steps_with_save.push(with_save);
            bytes = size_of_folder(&saved)?;
        }
        let model = &trainer.job.model;
        for _ in 0..self.repeats {
            let found = samples.finds.sample(|| find_newest(&Disk, &scratch.0))?;
            samples.loads.sample(|| load(&Disk, &found.dir, &model.table, &mut *trainer.ops, true))?;
        }
        Ok(self.records(machine, samples, bytes as f64))
    }

    /// As training does; the folder of the step.
    fn save(&self, trainer: &mut Trainer, dir: &Path, step: u64) -> Result<PathBuf> {
        let state = RunState {
            step,
            applied: step,
            sample: 0,
            tokens: 0,
            seed: 1,
            run_id: "bench".into(),
            parent: None,
            run_config: Value::Null,
            fingerprints: Fingerprints::default(),
            extra: Value::Null,
        };
        let model = &trainer.job.model;
        let snapshot = Snapshot {
            config: &model.config,
            table: &model.table,
            state: &state,
            base_config: None,
            extra_files: &[],
        };
        Ok(save(&Disk, dir, &snapshot, &mut *trainer.ops, 2)?.dir)
    }

    fn records(&self, machine: &Machine, samples: Samples, bytes: f64) -> Vec<Record> {
        let Samples { plain_steps, steps_with_save, saves, finds, loads } = samples;
        let median = |samples: &[f64]| Summary::of(samples).median;
        let stall = median(&steps_with_save) - median(&plain_steps);
        let record = |name: &str, Action { seconds: samples, host_bytes }: Action, stall: Option<f64>| {
            let mut settings = self.workload.settings();
            settings["dir"] = json!(self.dir);
            Record::new("bench checkpoint", machine, format!("checkpoint {name}"), settings, samples, |s| {
                let mut derived =
                    json!({"bytes": bytes, "gb_per_s": bytes / s.median / 1e9, "host_bytes": host_bytes});
                if let Some(stall) = stall {
                    derived["step_s"] = json!(median(&plain_steps));
                    derived["stall_s"] = json!(stall);
                }
                derived
            })
        };
        vec![record("save", saves, Some(stall)), record("find", finds, None), record("load", loads, None)]
    }
}

fn seconds<R>(f: impl FnOnce() -> Result<R>) -> Result<(f64, R)> {
    let started = Instant::now();
    let result = f()?;
    Ok((started.elapsed().as_secs_f64(), result))
}

fn size_of_folder(dir: &Path) -> Result<u64> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let sizes = entries.map(|entry| entry.and_then(|e| e.metadata()).map(|m| m.len()));
    sizes.sum::<std::io::Result<u64>>().map_err(Error::io("read", dir))
}
