//! Operations one by one, against what the machine has to give.
use super::cases::{CASES, Case, Cases, Run};
use super::machine::past_caches;
use super::products::Product;
use super::turns::Turns;
use super::{Ceilings, Machine, Record, check, memory_available, precision_class};
use crate::device::DeviceName;
use crate::model::{Model, ModelConfig, Precision};
use crate::ops::cost::Cost;
use crate::ops::{Backend, Shape, Work};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Samples of an operation, and device seconds that they take in all.
const SAMPLES: usize = 10;
const SECONDS: f64 = 0.6;
/// With what comes between samples, on the host.
const LONGEST: Duration = Duration::from_secs(1);
/// Of a sample, in seconds: calls are timed together until they take so long.
const SAMPLE_S: f64 = 1e-3;
/// Buffers used in turn hold at least this: three times the L2 of an H200 (60 MB), 1.4 times that of a B200.
const GPU_CACHES: usize = 180 << 20;

/// Which operations are timed, of which model, on which device.
pub struct Kernels {
    /// Name of the model.
    pub model: String,
    /// Sizes of the model.
    pub sizes: ModelConfig,
    /// The device that computes.
    pub device: DeviceName,
    /// What is kept in which format.
    pub precision: Precision,
    /// Sequences of a micro-batch.
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
        let wanted: Vec<&Case> = CASES.iter().filter(|case| self.wants(case)).collect();
        if wanted.is_empty() {
            let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
            let only = self.only.as_deref().unwrap_or("");
            return Err(Error::refused(format!(
                "no operation is called {only:?}; there are {}",
                names.join(", ")
            )));
        }
        let mut operations =
            wanted.iter().filter_map(|case| case.name.split(' ').next()).collect::<BTreeSet<_>>();
        if self.precision == Precision::Bf16 && operations.remove("update") {
            operations.insert("adamw_bf16");
        }
        let rotated = self.rotated()?;
        let cases = self.cases(rotated)?;
        // Refuses what no kernel takes, before the rest.
        let mut ops = cases.open()?;
        check::check(self.device, &self.sizes, &operations)?;
        let ceilings = Ceilings::measure(self.device, self.precision)?;
        let machine = Machine::detect(self.device);
        for case in wanted {
            let turns = Turns::of(&cases, case, &mut *ops);
            let samples = samples(&turns, case, &mut *ops)?;
            let record = |implementation, samples| {
                self.record(&turns, case, implementation, samples, ceilings, &machine)
            };
            seen(&record("rewarm", samples))?;
            if self.device == DeviceName::Cpu
                && let Some(product) = Product::of(&cases, case.name)
            {
                seen(&record("gemm", product.samples(rotated)))?;
            }
        }
        Ok(())
    }

    /// The model with one block, which has all of its operations.
    fn block(&self) -> Model {
        Model::new(ModelConfig { num_hidden_layers: 1, ..self.sizes.clone() }).with_precision(self.precision)
    }

    /// Bytes of operands that are used in turn.
    fn rotated(&self) -> Result<usize> {
        Ok(match self.device {
            DeviceName::Cpu => past_caches(memory_available(self.device)?),
            DeviceName::Emulated => 0, // it has no cache, and its time means nothing
            _ => GPU_CACHES,
        })
    }

    fn cases(&self, rotated: usize) -> Result<Cases> {
        let cases = Cases::new(self.device, self.block(), self.shape, self.chunk_rows, rotated);
        let needed = cases.memory_bytes() as u64;
        match memory_available(self.device)? {
            Some(available) if needed > available => Err(Error::refused(format!(
                "one block of {} with {} sequences of {} tokens, and {:.0} MB of operands used in turn, needs {:.0} MB, {} \
                 has {:.0} MB to give; lower --micro or --seq-len",
                self.model,
                self.shape.batch,
                self.shape.time,
                rotated as f64 / 1e6,
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
        turns: &Turns,
        case: &Case,
        implementation: &str,
        samples: Vec<f64>,
        ceilings: Ceilings,
        machine: &Machine,
    ) -> Record {
        let settings = json!({
            "implementation": implementation,
            "model": self.model,
            "device": self.device,
            "precision": precision_class(self.precision),
            "seq_len": self.shape.time,
            "micro_batch": self.shape.batch,
            "chunk_rows": self.chunk_rows,
            "threads": rayon::current_num_threads(),
            "buffers": turns.sets(),
        });
        let name = format!("kernel {}", case.name);
        Record::new("bench kernels", machine, name, settings, samples, |summary| {
            rates(turns.cost, summary.median, ceilings)
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

/// What was ended is asked for.
fn settle(case: &Case, ops: &mut dyn Backend, calls: usize) -> Result<()> {
    if matches!(case.run, Run::Update) {
        (0..calls).try_for_each(|_| ops.outcome().map(|_| ()))
    } else {
        Ok(())
    }
}

/// Seconds of a call, each the mean of several that are timed together.
fn samples(turns: &Turns, case: &Case, ops: &mut dyn Backend) -> Result<Vec<f64>> {
    let (mut samples, mut total, mut calls, mut turn) = (Vec::new(), 0.0, 1, 0);
    // The first warms up, and says how many make a sample. Ends of steps are not issued ahead of each other.
    let first = sample(turns, case, ops, 1, &mut turn)?;
    if !matches!(case.run, Run::Update) {
        calls = ((SAMPLE_S / first.max(1e-7)) as usize).clamp(1, 1000);
    }
    let started = Instant::now();
    while samples.len() < SAMPLES || (total < SECONDS && started.elapsed() < LONGEST) {
        let seconds = sample(turns, case, ops, calls, &mut turn)?;
        samples.push(seconds / calls as f64);
        total += seconds;
    }
    Ok(samples)
}

/// Device seconds of some calls. What is left for later by several operations together is not in them.
fn sample(turns: &Turns, case: &Case, ops: &mut dyn Backend, calls: usize, turn: &mut usize) -> Result<f64> {
    if let Some(refresh) = case.refresh {
        let used = *turn..*turn + calls.min(turns.sets());
        used.for_each(|i| ops.perform(Work::Once, &mut |ops| refresh(&turns.at(i), ops)));
    }
    ops.timeline()?;
    let marks = case.run.marked(ops, calls, &|i| turns.at(*turn + i));
    settle(case, ops, calls)?;
    *turn += calls;
    let moments = ops.timeline()?.moments;
    let (first, last) = marks.ok_or_else(|| Error::failed("the device does not tell the time"))?;
    Ok(moments[last] - moments[first])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Trainer, Workload};
    use crate::config::Optim;
    use crate::model::{Recompute, preset};
    use crate::profile::{Call, Log, observe};
    use crate::train::finish_step;

    fn kernels(parallel: bool, only: Option<&str>) -> Kernels {
        let sizes = ModelConfig {
            vocab_size: 96,
            hidden_size: 64,
            intermediate_size: 256,
            num_attention_heads: 2,
            num_hidden_layers: 2,
            use_parallel_residual: parallel,
            ..preset("pythia-14m").unwrap()
        };
        Kernels {
            model: "tiny".into(),
            sizes,
            device: DeviceName::Cpu,
            shape: Shape { batch: 2, time: 32 },
            chunk_rows: 32,
            precision: Precision::F32,
            only: only.map(str::to_owned),
        }
    }

    /// Labels of all operations of a step.
    fn labels(k: &Kernels, recompute: Recompute) -> BTreeSet<String> {
        let workload = Workload {
            model: k.model.clone(),
            sizes: k.sizes.clone(),
            device: k.device,
            time: k.shape.time,
            micro: k.shape.batch,
            accumulation: 1,
            precision: Precision::F32,
            separate_bias_gradients: false,
            recompute,
            chunk_rows: Some(k.chunk_rows),
            available: None,
            optim: Optim::default(),
            data: Vec::new(),
        };
        let Trainer { mut job, mut ops } = Trainer::open(&workload).unwrap();
        let mut log = Log::new(&job.model);
        let step = observe(&mut *ops, &mut log, &mut |ops| {
            let issued = job.issue(ops)?;
            finish_step(ops, issued).map(|_| ())
        });
        step.unwrap().calls.iter().map(Call::label).collect()
    }

    /// What a step does, with any recompute, is what is timed; transfers are not operations of the device.
    #[test]
    fn the_cases_are_the_operations_of_a_step() {
        for parallel in [true, false] {
            let k = kernels(parallel, None);
            let mut expected: BTreeSet<String> = Recompute::ALL.iter().flat_map(|&r| labels(&k, r)).collect();
            expected.retain(|name| !["set_batch", "keep_losses"].contains(&name.as_str()));
            let found: BTreeSet<String> =
                CASES.iter().filter(|c| k.wants(c)).map(|c| c.name.to_owned()).collect();
            assert_eq!(found, expected, "parallel: {parallel}");
        }
    }

    #[test]
    fn every_case_does_what_its_name_says() {
        for parallel in [true, false] {
            let k = kernels(parallel, None);
            let cases = Cases::new(k.device, k.block(), k.shape, k.chunk_rows, 0);
            let (mut ops, mut log) = (cases.open().unwrap(), Log::new(&cases.model));
            for case in CASES.iter().filter(|c| k.wants(c)) {
                let turns = Turns::of(&cases, case, &mut *ops);
                let step = observe(&mut *ops, &mut log, &mut |ops| {
                    case.run.marked(ops, 1, &|i| turns.at(i));
                    settle(case, ops, 1)
                });
                assert_eq!(step.unwrap().calls[0].label(), case.name);
                assert!(sample(&turns, case, &mut *ops, 1, &mut 0).unwrap() > 0.0, "{}", case.name);
            }
        }
    }

    /// What the `gemm` crate is given has the operation's FLOPs, and every product is given to it.
    #[test]
    fn products_are_those_of_the_operations() {
        for parallel in [true, false] {
            let k = kernels(parallel, None);
            let cases = Cases::new(k.device, k.block(), k.shape, k.chunk_rows, 0);
            for case in CASES.iter().filter(|c| k.wants(c)) {
                let product = Product::of(&cases, case.name);
                assert_eq!(product.is_some(), case.name.starts_with("linear"), "{}", case.name);
                if let Some(product) = product {
                    let flops = cases.cost(case.run).flops;
                    assert_eq!(2 * product.size.iter().product::<usize>(), flops as usize, "{}", case.name);
                }
            }
        }
    }

    #[test]
    fn the_processor_is_checked_before_it_is_timed() {
        for parallel in [true, false] {
            check::check(DeviceName::Cpu, &kernels(parallel, None).sizes, &BTreeSet::new()).unwrap();
        }
    }

    #[test]
    fn unknown_operations_are_named() {
        let error = kernels(true, Some("lineer")).run(&mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("lineer") && error.contains("linear qkv"), "{error}");
    }
}
