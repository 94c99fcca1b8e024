//! `rewarm bench train`.
use super::output::Output;
use crate::bench::{Ceilings, Machine, Record, Workload, check_fits, largest_micro, measure};
use crate::cli::common::with_threads;
use crate::cli::work::WorkArgs;
use crate::perf::gpus::of_device;
use crate::{Error, Result, console};
use clap::Args;
use serde_json::Value;
use std::str::FromStr;

#[derive(Debug, Args)]
pub struct TrainBench {
    #[command(flatten)]
    work: WorkArgs,
    /// Steps timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before those
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Measure several: micro-batch (powers of two, as many as fit) or micro-batch=1,2,4
    #[arg(long, value_name = "WHAT", conflicts_with = "find_batch")]
    sweep: Option<Sweep>,
    /// Measure the largest micro-batch that fits into memory
    #[arg(long, conflicts_with = "micro")]
    find_batch: bool,
    #[command(flatten)]
    output: Output,
}

/// The micro-batches of a sweep; empty: powers of two.
#[derive(Clone, Debug)]
struct Sweep(Vec<usize>);

impl FromStr for Sweep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            Error::refused(format!(
                "{text:?} is neither micro-batch nor micro-batch=1,2,4 (numbers from 1 on)"
            ))
        };
        let list = text.strip_prefix("micro-batch").ok_or_else(refused)?;
        if list.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let number = |n: &str| n.parse().ok().filter(|n| *n > 0).ok_or_else(refused);
        list.strip_prefix('=').ok_or_else(refused)?.split(',').map(number).collect::<Result<_>>().map(Self)
    }
}

/// Runs the command.
pub fn run(args: &TrainBench) -> Result<()> {
    let mut out = args.output.open()?;
    let (workload, threads) = args.work.workload()?;
    with_threads(threads, || {
        for (i, record) in measurements(args, workload)?.iter().enumerate() {
            out.put(record, &describe(record, i == 0))?;
        }
        out.finish()
    })
}

fn measurements(args: &TrainBench, workload: Workload) -> Result<Vec<Record>> {
    let (steps, warmup) = (args.steps as usize, args.warmup as usize);
    let mut outcomes = Vec::new();
    for micro in micro_batches(args, &workload)? {
        let sized = Workload { micro, ..workload.clone() };
        let outcome = match measure(&sized, steps, warmup, outcomes.is_empty()) {
            // What the plan says must be shown by a step; the next smaller one is tried where it is not.
            Err(e) if args.find_batch && micro > 1 => {
                console::note(&format!("{micro} sequences at once: {e}"));
                continue;
            }
            other => other?,
        };
        outcomes.push((sized, outcome));
        if args.find_batch {
            break;
        }
    }
    // After the steps, which want the memory, and whose first comes as early as it does in training.
    let (ceilings, machine) =
        (Ceilings::measure(workload.device, workload.precision)?, Machine::detect(workload.device));
    let peak = machine.gpu.as_deref().and_then(of_device).map(|gpu| gpu.bf16_tflops * 1e12);
    Ok(outcomes.into_iter().map(|(w, o)| o.record(&w, warmup, &machine, ceilings, peak)).collect())
}

/// What is measured, in order.
fn micro_batches(args: &TrainBench, workload: &Workload) -> Result<Vec<usize>> {
    let largest = || {
        workload.available.ok_or_else(|| {
            Error::refused("this system does not tell how much memory there is; give --micro or a list")
        })?;
        // Where not one sequence fits, the error says so.
        largest_micro(workload)
            .map_or_else(|| check_fits(&Workload { micro: 1, ..workload.clone() }).map(|()| 1), Ok)
    };
    match &args.sweep {
        Some(Sweep(list)) if !list.is_empty() => Ok(list.clone()),
        Some(_) => {
            let most = largest()?;
            Ok(std::iter::successors(Some(1), |micro| Some(2 * micro)).take_while(|m| *m <= most).collect())
        }
        // From the plan's answer down, an eighth less each time.
        None if args.find_batch => {
            Ok(std::iter::successors(Some(largest()?), |m| (*m > 1).then_some(m - m.div_ceil(8))).collect())
        }
        None => Ok(vec![workload.micro]),
    }
}

/// For a person.
fn describe(record: &Record, first: bool) -> String {
    let (d, s) = (&record.derived, &record.settings);
    let of = |v: &Value, scale: f64| v.as_f64().map_or("n/a".to_owned(), |x| format!("{:.1}", x * scale));
    let ms = [record.summary.median, record.summary.p20, record.summary.p80].map(|x| x * 1e3);
    let mut text = String::new();
    if first {
        let m = &record.machine;
        let machine = m.gpu.as_deref().or(m.cpu.as_deref()).unwrap_or("unknown");
        let word = |key: &str| s[key].as_str().unwrap_or("").to_owned();
        let (device, precision, recompute) = (word("device"), word("precision"), word("recompute"));
        text = format!("{} on {device} ({machine}), {precision}, recompute {recompute}\n", record.name);
    }
    text += &format!(
        "micro-batch {} x {} tokens, {} a step: {} tokens/s\n",
        s["micro_batch"],
        s["seq_len"],
        s["accumulation"],
        of(&d["tokens_per_s"], 1.0)
    );
    text += &format!(
        "  step            {:.1} ms (20 to 80 %: {:.1} to {:.1}, {} steps), the first after {} s, loss {:.4}\n",
        ms[0],
        ms[1],
        ms[2],
        record.samples.len(),
        d["first_step_s"].as_f64().map_or("n/a".to_owned(), |x| format!("{x:.2}")),
        d["loss"].as_f64().unwrap_or(f64::NAN)
    );
    text += &format!(
        "  useful          {} GFLOP/s (6 per matmul parameter, attention at half of T²); MFU {} %, of a dense peak of {} \
         GFLOP/s\n",
        of(&d["gflop_per_s"], 1.0),
        of(&d["mfu"], 1e2),
        of(&d["peak_gflop_per_s"], 1.0)
    );
    text += &format!(
        "  speed of light  {} % (its products alone, at {} GFLOP/s of a large one in this call)\n",
        of(&d["speed_of_light"], 1e2),
        of(&d["matmul_gflop_per_s"], 1.0)
    );
    let kinds = d["planned_bytes"].as_object().into_iter().flatten().filter(|kind| kind.0 != "total");
    let kinds: Vec<_> = kinds.map(|(kind, bytes)| format!("{kind} {}", of(bytes, 1e-6))).collect();
    text + &format!(
        "  memory          {} MB at most, {} planned: {}",
        of(&d["peak_bytes"], 1e-6),
        of(&d["planned_bytes"]["total"], 1e-6),
        kinds.join(", ")
    )
}
