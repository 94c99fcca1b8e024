//! Operations one by one, against what the machine has to give.
use super::cases::{CASES, Case, Cases};
use super::machine::cache_bytes;
use super::{Ceilings, Machine, Record, check, memory_available, precision};
use crate::device::DeviceName;
use crate::model::ModelConfig;
use crate::ops::cost::Cost;
use crate::ops::{Ops, Shape, Work};
use crate::profile::{Call, Log, observe};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Samples of an operation, and device seconds that they take in all.
const SAMPLES: usize = 10;
const SECONDS: f64 = 0.6;
/// Of a sample, in seconds: calls are timed together until they take so long.
const SAMPLE_S: f64 = 1e-3;
/// Buffers used in turn hold at least this: three times the L2 of an H200 (60 MB), 1.4 times that of a B200.
const GPU_CACHES: usize = 180 << 20;

/// What is timed.
pub struct Kernels {
    /// Name of the model.
    pub model: String,
    /// Its sizes.
    pub sizes: ModelConfig,
    /// Where.
    pub device: DeviceName,
    /// Of a micro-batch.
    pub shape: Shape,
    /// Rows of logits at once.
    pub chunk_rows: usize,
    /// Beginning of the names that are wanted.
    pub only: Option<String>,
}

impl Kernels {
    /// Checks, measures the ceilings, then tells of each operation when it is timed.
    pub fn run(&self, seen: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        self.sizes.validate()?;
        let cases = self.cases()?;
        let wanted: Vec<&Case> = CASES.iter().filter(|case| self.wants(case)).collect();
        if wanted.is_empty() {
            let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
            let only = self.only.as_deref().unwrap_or("");
            return Err(Error::refused(format!(
                "no operation is called {only:?}; there are {}",
                names.join(", ")
            )));
        }
        let operations =
            wanted.iter().filter_map(|case| case.name.split(' ').next()).collect::<BTreeSet<_>>();
        check::check(self.device, &self.sizes, &operations)?;
        let ceilings = Ceilings::measure(self.device)?;
        let machine = Machine::detect(self.device);
        let (mut ops, mut log) = (cases.open()?, Log::new(self.device, &cases.model));
        for case in wanted {
            let call = one(&cases, case, &mut *ops, &mut log)?;
            let samples = samples(&cases, case, &mut *ops)?;
            seen(&self.record(&cases, case, &call, samples, ceilings, &machine))?;
        }
        Ok(())
    }

    fn cases(&self) -> Result<Cases> {
        let element = if self.device == DeviceName::Cpu { 4 } else { 2 };
        let caches = match self.device {
            DeviceName::Cpu => 2 * cache_bytes().unwrap_or(64 << 20),
            DeviceName::Emulated => 0, // it has no cache, and its time means nothing
            _ => GPU_CACHES,
        };
        // So many that the smallest tensor alone, [R, C], exceeds the caches.
        let tensor = self.shape.rows() * self.sizes.hidden_size * element;
        let views = caches.div_ceil(tensor).max(2);
        let cases = Cases::new(self.device, &self.sizes, self.shape, self.chunk_rows, views);
        let needed = cases.memory_bytes() as u64;
        match memory_available(self.device)? {
            Some(available) if needed > available => Err(Error::refused(format!(
                "one block of {} with {views} sets of activations of {} sequences of {} tokens needs {:.0} MB, {} has \
                 {:.0} MB to give; lower --micro or --seq-len",
                self.model,
                self.shape.batch,
                self.shape.time,
                needed as f64 / 1e6,
                self.device,
                available as f64 / 1e6
            ))),
            _ => Ok(cases),
        }
    }

    /// Those of the model's form of the residual, and of the user's wish.
    fn wants(&self, case: &Case) -> bool {
        let parallel = self.sizes.use_parallel_residual;
        let form = match case.name.split_once(' ') {
            Some((_, "dense" | "down")) => !parallel,
            Some((_, "out")) => parallel,
            _ => parallel || !case.name.contains("pair"),
        };
        form && self.only.as_deref().is_none_or(|only| case.name.starts_with(only))
    }

    fn record(
        &self,
        cases: &Cases,
        case: &Case,
        call: &Call,
        samples: Vec<f64>,
        ceilings: Ceilings,
        machine: &Machine,
    ) -> Record {
        let settings = json!({
            "implementation": "rewarm",
            "model": self.model,
            "device": self.device,
            "precision": precision(self.device),
            "seq_len": self.shape.time,
            "micro_batch": self.shape.batch,
            "chunk_rows": self.chunk_rows,
            "threads": rayon::current_num_threads(),
            "buffers": cases.views.len(),
        });
        let name = format!("kernel {}", case.name);
        Record::new("bench kernels", machine, name, settings, samples, |summary| {
            rates(call.cost, summary.median, ceilings)
        })
    }
}

fn rates(cost: Cost, seconds: f64, c: Ceilings) -> Value {
    let (bytes_per_s, flops_per_s) = (cost.bytes / seconds, cost.flops / seconds);
    json!({
        "bytes": cost.bytes,
        "flops": cost.flops,
        "gb_per_s": bytes_per_s / 1e9,
        "gflop_per_s": flops_per_s / 1e9,
        "copy_gb_per_s": c.copy_bytes_per_s / 1e9,
        "matmul_gflop_per_s": c.matmul_flops_per_s / 1e9,
        "share_of_copy": bytes_per_s / c.copy_bytes_per_s,
        "share_of_matmul": flops_per_s / c.matmul_flops_per_s,
        "share_of_roofline": c.least_s(cost.bytes, cost.flops) / seconds,
    })
}

/// The operation once, with its cost.
fn one(cases: &Cases, case: &Case, ops: &mut dyn Ops, log: &mut Log) -> Result<Call> {
    let step = observe(ops, log, &mut |ops| {
        ops.perform(Work::Once, &mut |ops| (case.run)(&cases.at(0), ops));
        settle(case, ops, 1)
    })?;
    step.calls.into_iter().next().ok_or_else(|| Error::failed("an operation left no trace"))
}

/// What was ended is asked for.
fn settle(case: &Case, ops: &mut dyn Ops, calls: usize) -> Result<()> {
    if case.name == "update" { (0..calls).try_for_each(|_| ops.outcome().map(|_| ())) } else { Ok(()) }
}

/// Seconds of a call, each the mean of several that are timed together.
fn samples(cases: &Cases, case: &Case, ops: &mut dyn Ops) -> Result<Vec<f64>> {
    let (mut samples, mut total, mut calls, mut turn) = (Vec::new(), 0.0, 1, 0);
    // The first warms up, and says how many make a sample. Ends of steps are not issued ahead of each other.
    let first = sample(cases, case, ops, 1, &mut turn)?;
    if case.name != "update" {
        calls = ((SAMPLE_S / first.max(1e-7)) as usize).clamp(1, 1000);
    }
    while samples.len() < SAMPLES || total < SECONDS {
        let seconds = sample(cases, case, ops, calls, &mut turn)?;
        samples.push(seconds / calls as f64);
        total += seconds;
    }
    Ok(samples)
}

/// Device seconds of some calls. What is left for later by several operations together is not in them.
fn sample(cases: &Cases, case: &Case, ops: &mut dyn Ops, calls: usize, turn: &mut usize) -> Result<f64> {
    if let Some(refresh) = case.refresh {
        (0..cases.views.len()).for_each(|i| ops.perform(Work::Once, &mut |ops| refresh(&cases.at(i), ops)));
    }
    ops.timeline()?;
    let mut marks = None;
    ops.perform(Work::Once, &mut |ops| {
        let first = ops.mark();
        (0..calls).for_each(|i| (case.run)(&cases.at(*turn + i), ops));
        marks = first.zip(ops.mark());
    });
    settle(case, ops, calls)?;
    *turn += calls;
    let moments = ops.timeline()?.moments;
    let (first, last) = marks.ok_or_else(|| Error::failed("the device does not tell the time"))?;
    Ok(moments[last] - moments[first])
}
