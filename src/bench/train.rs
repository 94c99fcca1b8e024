//! Throughput of training steps.
use super::{
    Ceilings, Load, Machine, Record, Summary, Trainer, Workload, peak_resident, reset_peak_resident,
    since_process_start,
};
use crate::Result;
use crate::device::DeviceName;
use serde_json::{Value, json};
use std::time::Instant;

/// What a series of steps showed.
#[derive(Clone, Debug)]
pub struct StepTimes {
    /// Seconds from the end of one step to the end of the next.
    pub samples: Vec<f64>,
    /// From the start of the process to the end of the first step; in the first measurement of a process only.
    pub first_step_s: Option<f64>,
    /// Of the last step.
    pub loss: f64,
    /// Bytes: the largest resident set, or what is allocated on the device.
    pub peak_bytes: Option<u64>,
    /// CPU seconds of other processes per second.
    pub foreign_load: Option<f64>,
}

/// Takes `warmup` steps, then times `steps`.
pub fn measure(workload: &Workload, steps: usize, warmup: usize, first: bool) -> Result<StepTimes> {
    reset_peak_resident();
    let mut trainer = Trainer::open(workload)?;
    let (mut first_step_s, mut loss) = (None, f64::NAN);
    if warmup > 0 {
        trainer.steps(1, &mut |result| loss = result.loss)?;
        first_step_s = since_process_start().filter(|_| first);
        trainer.steps(warmup - 1, &mut |result| loss = result.loss)?;
    }
    let load = Load::now();
    let (mut samples, mut last) = (Vec::with_capacity(steps), Instant::now());
    trainer.steps(steps, &mut |result| {
        samples.push(last.elapsed().as_secs_f64());
        (last, loss) = (Instant::now(), result.loss);
    })?;
    let peak_bytes = match workload.device {
        DeviceName::Cpu => peak_resident(),
        _ => Some(workload.memory().total() as u64),
    };
    Ok(StepTimes { samples, first_step_s, loss, peak_bytes, foreign_load: load.foreign_since() })
}

impl StepTimes {
    /// As `docs/benchmarks.md` has it. `peak` is the device's dense rate in FLOPs per second.
    pub fn record(
        self,
        workload: &Workload,
        warmup: usize,
        machine: &Machine,
        ceilings: Ceilings,
        peak: Option<f64>,
    ) -> Record {
        let mut settings = workload.settings();
        settings["steps"] = json!(self.samples.len());
        settings["warmup"] = json!(warmup);
        let name = format!("train {}", workload.model);
        let Self { samples, first_step_s, loss, peak_bytes, foreign_load } = self;
        Record::new("bench train", machine, name, settings, samples, |summary| {
            let plan = workload.memory();
            let mut planned = json!(plan);
            planned["total"] = json!(plan.total());
            let mut derived = rates(workload, summary, ceilings, peak);
            derived["planned_bytes"] = planned;
            derived["peak_bytes"] = json!(peak_bytes);
            derived["first_step_s"] = json!(first_step_s);
            derived["loss"] = json!(loss);
            derived["foreign_load"] = json!(foreign_load);
            derived
        })
    }
}

fn rates(w: &Workload, summary: Summary, ceilings: Ceilings, peak: Option<f64>) -> Value {
    let flops_per_s = w.flops_per_step() / summary.median;
    json!({
        "tokens_per_s": w.tokens_per_step() as f64 / summary.median,
        "gflop_per_s": flops_per_s / 1e9,
        "peak_gflop_per_s": peak.map(|p| p / 1e9),
        "mfu": peak.map(|p| flops_per_s / p),
        "matmul_gflop_per_s": ceilings.matmul_flops_per_s / 1e9,
        "speed_of_light": flops_per_s / ceilings.matmul_flops_per_s,
    })
}
