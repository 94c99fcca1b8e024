//! What a run needs and how long it takes, from sizes alone.
use super::gpus::{GPUS, GpuSpec};
use super::ledger::Ledger;
use super::processor::{self, Rates};
use super::roofline::{Prediction, predict};
use crate::backend::{self, MemoryPlan, gpu};
use crate::checkpoint::HASH_PIECE;
use crate::config::{Cadence, Checkpoint, TimeSpan};
use crate::device::{DRIVER_RESERVE, DeviceName, probe_cuda};
use crate::files::storage::WRITE_PIECE;
use crate::machine;
use crate::model::{Model, Precision, Purpose, Recompute, Workspace};
use crate::ops::Shape;
use crate::{Error, Result};
use serde::Serialize;

/// Memory of a GPU that is taken before ours is allocated: CUDA's context and our kernels, as far as one may assume
/// without the GPU.
const CONTEXT_BYTES: u64 = 600 << 20;
/// And what is left to the driver.
const NOT_OURS: u64 = CONTEXT_BYTES + DRIVER_RESERVE;
/// More sequences at once are not looked for.
const MOST_SEQUENCES: usize = 1 << 16;

/// Where a run is to compute.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a person would say it.
    pub name: String,
    /// Whose memory plan it is.
    pub device: DeviceName,
    /// Bytes that a run may allocate there, where that is known.
    pub free: Option<u64>,
    /// Its peaks, where the table knows it.
    pub spec: Option<&'static GpuSpec>,
    /// Of a processor, where they were measured.
    pub rates: Option<Rates>,
}

impl Target {
    /// The device of a configuration that is planned for a GPU of the table.
    pub const OF_TABLE: DeviceName = DeviceName::Cuda(0);

    /// A GPU of the table, empty.
    pub fn of_table(spec: &'static GpuSpec) -> Self {
        let free = Some(spec.memory_bytes() - NOT_OURS);
        Self { name: spec.name.into(), device: Self::OF_TABLE, free, spec: Some(spec), rates: None }
    }

    /// What this machine has under that name; a GPU that is not there has no limit and no peaks.
    pub fn here(device: DeviceName) -> Self {
        let name = device.to_string();
        let DeviceName::Cuda(index) = device else {
            return Self { name, device, free: machine::memory().1, spec: None, rates: None };
        };
        match probe_cuda().gpus.into_iter().find(|gpu| gpu.index == index) {
            None => Self {
                name: format!("{name} (not on this machine)"),
                device,
                free: None,
                spec: None,
                rates: None,
            },
            Some(gpu) => {
                let free = Some(gpu.memory.saturating_sub(NOT_OURS));
                let spec = super::gpus::of_device(&gpu.name);
                Self { name: format!("{name} ({})", gpu.name), device, free, spec, rates: None }
            }
        }
    }

    fn on_gpu(&self) -> bool {
        self.device != DeviceName::Cpu
    }
}

/// A run, as far as its plan goes.
pub struct Request<'a> {
    /// The model that is trained.
    pub model: &'a Model,
    /// Sequences of a micro-batch.
    pub shape: Shape,
    /// Micro-batches of a step.
    pub accumulation: usize,
    /// Rows of logits at once, where somebody chose them.
    pub chunk_rows: Option<usize>,
    /// The device that trains.
    pub target: Target,
    /// Threads of the processor.
    pub threads: usize,
}

/// What one value of `train.recompute` means.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The value of `train.recompute`.
    pub recompute: Recompute,
    /// Bytes by kind, at the micro-batch that was asked for.
    pub memory_bytes: MemoryPlan,
    /// Of those, for a table.
    pub activations_bytes: usize,
    /// Memory of the process itself, on the processor.
    pub process_bytes: usize,
    /// The sum of all.
    pub memory_bytes_total: usize,
    /// Rows of logits at once with which that is so.
    pub chunk_rows: usize,
    /// Whether it can be allocated, where that is known.
    pub fits: Option<bool>,
    /// Sequences at once that can be, where that is known.
    pub largest_micro_batch: Option<usize>,
    /// Time of a step on a GPU of the table, or on a processor that was measured.
    pub predicted: Option<Prediction>,
}

impl Request<'_> {
    /// All values of `train.recompute`. Refused where no kernel takes the model, or the device has no such precision.
    pub fn choices(&self) -> Result<Vec<Choice>> {
        backend::check_precision(self.target.device, self.model.table.precision)?;
        if self.target.on_gpu() {
            gpu::check(&self.model.config)?;
        }
        Ok(Recompute::ALL.map(|recompute| self.choice(recompute)).into())
    }

    fn choice(&self, recompute: Recompute) -> Choice {
        let workspace = self.workspace(recompute, self.shape.batch);
        let memory = self.memory(&workspace);
        let total = memory.total() + self.process_bytes();
        let step = || Ledger::of_step(self.model, &workspace, self.accumulation);
        let tokens = self.accumulation * self.shape.rows();
        let flops = self.model.config.flops_per_token(self.shape.time);
        let predicted = match (self.target.spec, self.target.rates) {
            (Some(gpu), _) => Some(predict(gpu, &step(), tokens, flops)),
            (None, Some(rates)) => {
                Some(processor::predict((rates, self.model.table.precision), &step(), tokens, flops))
            }
            (None, None) => None,
        };
        Choice {
            recompute,
            activations_bytes: memory.activations,
            memory_bytes: memory,
            process_bytes: self.process_bytes(),
            memory_bytes_total: total,
            chunk_rows: self.chunk_rows_for(recompute, self.shape.batch),
            fits: self.target.free.map(|free| total as u64 <= free),
            largest_micro_batch: self.target.free.map(|free| self.largest(recompute, free)),
            predicted,
        }
    }

    fn chunk_rows_for(&self, recompute: Recompute, batch: usize) -> usize {
        let (shape, Target { device, free, .. }) = (Shape { batch, ..self.shape }, &self.target);
        let Model { config, table, .. } = self.model;
        let settled = |free: u64| {
            let purpose = Purpose::Train(recompute);
            backend::chunk_rows(*device, config, table, (shape, purpose), self.threads, free)
        };
        self.chunk_rows.unwrap_or_else(|| settled(free.unwrap_or(u64::MAX)))
    }

    fn workspace(&self, recompute: Recompute, batch: usize) -> Workspace {
        let rows = self.chunk_rows_for(recompute, batch);
        let shape = Shape { batch, ..self.shape };
        Workspace::new(&self.model.config, shape, rows, Purpose::Train(recompute))
    }

    fn memory(&self, workspace: &Workspace) -> MemoryPlan {
        let Model { config, table, .. } = self.model;
        backend::memory_plan(self.target.device, config, table, workspace, self.threads)
    }

    /// Of a processor's memory, the piece in which checkpoints are written included. A GPU's holds nothing but what is
    /// planned.
    fn process_bytes(&self) -> usize {
        if self.target.on_gpu() { 0 } else { backend::cpu::process_bytes(self.threads) + WRITE_PIECE }
    }

    /// Memory of the host that checkpoints pass through, whatever their size: pieces to write, pieces that threads
    /// verify, and on a GPU the staging memory, with as much again where bf16 becomes f32.
    pub fn checkpoint_host_bytes(&self) -> usize {
        let staging = match (self.target.on_gpu(), self.model.table.precision.has_f32_state()) {
            (false, _) => 0,
            (true, true) => gpu::STAGING_BYTES,
            (true, false) => 2 * gpu::STAGING_BYTES,
        };
        WRITE_PIECE + self.threads * HASH_PIECE as usize + staging
    }

    /// The most sequences at once that `free` bytes hold.
    fn largest(&self, recompute: Recompute, free: u64) -> usize {
        let free = free.saturating_sub(self.process_bytes() as u64);
        let fits = |batch: usize| self.memory(&self.workspace(recompute, batch)).total() as u64 <= free;
        largest(fits)
    }

    /// What would fit where `chosen` does not, most welcome first. `sequences` is the size of a step.
    pub fn advice(&self, choices: &[Choice], chosen: Recompute, sequences: usize) -> Vec<String> {
        let Some(free) = self.target.free else { return Vec::new() };
        let mut advice = Vec::new();
        for choice in choices {
            let largest = choice.largest_micro_batch.unwrap_or(0).min(sequences);
            let micro = (1..=largest).rev().find(|micro| sequences.is_multiple_of(*micro));
            match micro {
                Some(micro) if choice.recompute == chosen => advice.push(format!("batch.micro = {micro}")),
                Some(micro) => {
                    let micro = micro.min(self.shape.batch);
                    advice.push(format!(
                        "train.recompute = \"{}\" with batch.micro = {micro}",
                        choice.recompute
                    ));
                }
                None => {}
            }
        }
        let low = self.model.clone().with_precision(Precision::Bf16);
        let table = &self.model.table;
        if table.precision.has_f32_state() && !table.average {
            let total = Request { model: &low, target: self.target.clone(), ..*self }
                .choice(chosen)
                .memory_bytes_total;
            if total as u64 <= free {
                advice.push("train.precision = \"bf16\", without f32 master weights".into());
            }
        }
        let states = choices.iter().map(|c| c.memory_bytes_total - c.memory_bytes.activations).min();
        if advice.is_empty() && states.is_some_and(|bytes| bytes as u64 <= free) {
            advice.push("shorter sequences (data.seq_len)".into());
        }
        if self.target.on_gpu() {
            let need =
                choices.iter().find(|c| c.recompute == chosen).map_or(0, |c| c.memory_bytes_total as u64);
            let enough = |gpu: &&GpuSpec| need + NOT_OURS <= gpu.memory_bytes();
            let names: Vec<_> = GPUS.iter().filter(enough).map(|gpu| gpu.name).collect();
            if !names.is_empty() {
                advice.push(format!("a GPU with more memory, such as {}", names.join(", ")));
            }
        }
        if advice.is_empty() {
            advice.push("a smaller model".into());
        }
        advice
    }
}

/// The most sequences at once that fit, 0 where not even one does; more do not fit where fewer do not.
pub fn largest(fits: impl Fn(usize) -> bool) -> usize {
    let (mut fit, mut too_many) = (0, MOST_SEQUENCES + 1);
    while too_many - fit > 1 {
        let middle = fit + (too_many - fit) / 2;
        if fits(middle) { fit = middle } else { too_many = middle }
    }
    fit
}

/// What the checkpoints of a run weigh.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointPlan {
    /// Tensors of one: f32 weights, both moments, and the moving average where one is kept.
    pub bytes: u64,
    /// Steps or time between two, for a person.
    pub every: String,
    /// Steps between two, where their time is known or they are counted.
    pub every_steps: Option<u64>,
    /// Milestones, which stay besides.
    pub milestones: u64,
    /// Those that stay, while another one is written.
    pub bytes_on_disk: u64,
    /// Memory of the host that they pass through.
    pub host_bytes: usize,
    /// All that the run writes, where its length is known.
    pub bytes_written: Option<u64>,
    /// On average, where the time of a step is known.
    pub bytes_per_s: Option<f64>,
}

impl CheckpointPlan {
    /// Of a run of `steps` steps of `step_s` seconds, so many of which are milestones.
    pub fn new(
        parameters: u64,
        ema: bool,
        host_bytes: usize,
        (cadence, milestones): (&Checkpoint, u64),
        steps: Option<u64>,
        step_s: Option<f64>,
    ) -> Self {
        let bytes = (if ema { 16 } else { 12 }) * parameters;
        // The last step is saved too, whether or not it is a multiple.
        let every_steps = match cadence.every {
            Cadence::Steps(every) => Some(every),
            Cadence::Time(TimeSpan(time)) => step_s.map(|s| (time.as_secs_f64() / s).ceil().max(1.0) as u64),
        };
        let saves = steps.zip(every_steps).map(|(steps, every)| steps.div_ceil(every));
        Self {
            bytes,
            every: cadence.every.to_string(),
            every_steps,
            milestones,
            bytes_on_disk: bytes * (cadence.keep as u64 + 1 + milestones),
            host_bytes,
            bytes_written: saves.map(|saves| saves * bytes),
            bytes_per_s: step_s.zip(every_steps).map(|(s, every)| bytes as f64 / (s * every as f64)),
        }
    }
}

/// The refusal of a run that a GPU has no memory for.
pub fn does_not_fit(target: &Target, needed: usize, advice: &[String]) -> Error {
    let free = target.free.unwrap_or_default();
    Error::refused(format!(
        "{needed} bytes of memory are needed, {free} can be had on {}; what would fit: {}",
        target.name,
        advice.join("; ")
    ))
}
