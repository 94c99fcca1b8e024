//! `rewarm bench train`: throughput of the training step on random tokens.
use super::{print_json, with_threads};
use crate::backend::cpu::{Cpu, memory_plan};
use crate::model::{Init, Model, ModelConfig, Purpose, Recompute, Workspace, initialize, preset};
use crate::ops::{Ops, Shape, Update};
use crate::optim::{AdamSettings, assign};
use crate::train::{Micro, train_step};
use crate::{Error, Result, console};
use clap::{Args, Subcommand};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use std::time::Instant;

/// Arguments of `rewarm bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Tokens per second of forward, backward, clipping and AdamW
    Train(TrainBench),
}

#[derive(Debug, Args)]
struct TrainBench {
    /// small: L4 d256 h8 V4096 T256 B8; pythia-70m: L6 d512 h8 V50304 T512 B4
    #[arg(long, value_parser = ["small", "pythia-70m"], default_value = "small")]
    shape: String,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Steps timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before those
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Sequences of a micro-batch [default: all of the shape]
    #[arg(long)]
    micro: Option<usize>,
    /// What the backward pass computes again
    #[arg(long, value_name = "WHAT", default_value_t = Recompute::None)]
    recompute: Recompute,
    /// Rows of logits at once
    #[arg(long, default_value_t = 1024)]
    chunk_rows: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    shape: String,
    threads: usize,
    steps: usize,
    tokens_per_s: f64,
    gflop_per_s: f64,
    ms_median: f64,
    ms_p20: f64,
    ms_p80: f64,
    /// Peak resident memory, 10⁶ bytes.
    peak_rss_mb: Option<f64>,
    /// What `plan` says of the same run, 10⁶ bytes.
    planned_mb: f64,
    /// CPU seconds of other processes per second, while timed.
    foreign_load: Option<f64>,
    loss: f64,
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> Result<()> {
    let BenchCommand::Train(args) = &args.command;
    let report = with_threads(args.threads, || bench(args))?;
    if args.json {
        return print_json(&report);
    }
    console::print(&format!(
        "{}: {:.0} tokens/s, {:.1} GFLOP/s, {:.1} ms a step (20 to 80 %: {:.1} to {:.1}), {} threads, peak {:.0} MB of \
         {:.0} planned, loss {:.4}",
        report.shape,
        report.tokens_per_s,
        report.gflop_per_s,
        report.ms_median,
        report.ms_p20,
        report.ms_p80,
        report.threads,
        report.peak_rss_mb.unwrap_or(f64::NAN),
        report.planned_mb,
        report.loss
    ))
}

/// The two shapes of the comparison with PyTorch (`tools/bench_pytorch.py`).
fn shape_of(name: &str) -> Result<(ModelConfig, Shape)> {
    let base = preset("pythia-70m").ok_or_else(|| Error::failed("the preset pythia-70m is missing"))?;
    Ok(match name {
        "pythia-70m" => (base, Shape { batch: 4, time: 512 }),
        _ => {
            let small = ModelConfig {
                vocab_size: 4096,
                hidden_size: 256,
                num_hidden_layers: 4,
                intermediate_size: 1024,
                ..base
            };
            (small, Shape { batch: 8, time: 256 })
        }
    })
}

fn bench(args: &TrainBench) -> Result<Report> {
    let (sizes, shape) = shape_of(&args.shape)?;
    let micro = args.micro.unwrap_or(shape.batch);
    if micro == 0 || !shape.batch.is_multiple_of(micro) || args.chunk_rows == 0 {
        return Err(Error::refused(format!(
            "--micro {micro} must divide the {} sequences of the shape",
            shape.batch
        )));
    }
    let model = Model::new(sizes);
    let (at_once, purpose) = (Shape { batch: micro, ..shape }, Purpose::Train(args.recompute));
    let workspace = Workspace::new(&model.config, at_once, args.chunk_rows, purpose);
    let mut ops = Cpu::new(&model.config, &model.table, &workspace);
    ops.load_state(&mut |w, _, _| {
        initialize(&model.config, &model.table, Init::Normal, 1234, w);
        Ok(())
    })?;
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    let batches = random_batches(shape, model.config.vocab_size);
    let (mut times, mut loss) = (Vec::new(), 0.0);
    let mut load = Load::now();
    for step in 0..args.warmup + args.steps {
        if step == args.warmup {
            load = Load::now();
        }
        let started = Instant::now();
        let (tokens, targets) = &batches[step as usize % batches.len()];
        let input = Micro { tokens, targets, time: shape.time, batch: micro };
        let update = Update::new(adam, 3e-4, step as u64);
        loss = train_step(&model, &mut ops, &workspace, input, &params, update)?.loss;
        if step >= args.warmup {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    let foreign_load = load.foreign_since();
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    let tokens_per_s = shape.rows() as f64 / quantile(0.5) * 1e3;
    Ok(Report {
        shape: args.shape.clone(),
        threads: rayon::current_num_threads(),
        steps: times.len(),
        tokens_per_s,
        gflop_per_s: tokens_per_s * model.config.flops_per_token(shape.time) / 1e9,
        ms_median: quantile(0.5),
        ms_p20: quantile(0.2),
        ms_p80: quantile(0.8),
        peak_rss_mb: peak_rss_bytes().map(|b| b as f64 / 1e6),
        planned_mb: memory_plan(&model.table, &workspace, rayon::current_num_threads()).total() as f64 / 1e6,
        foreign_load,
        loss,
    })
}

/// Four batches of random tokens, used in turn.
fn random_batches(shape: Shape, vocab: usize) -> Vec<(Vec<i32>, Vec<i32>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(1234);
    let mut tokens = || (0..shape.rows()).map(|_| (rng.next_u32() as usize % vocab) as i32).collect();
    (0..4).map(|_| (tokens(), tokens())).collect()
}

/// Largest resident set of this process, where the system tells (Linux).
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// CPU time used by all processes and by this one, in clock ticks (Linux: 100 per second).
struct Load {
    at: Instant,
    ticks: Option<(u64, u64)>,
}

impl Load {
    fn now() -> Self {
        Self { at: Instant::now(), ticks: Self::read() }
    }

    fn read() -> Option<(u64, u64)> {
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<u64> =
            all.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| fields.get(i)).sum();
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        let after_name = own.rsplit_once(')')?.1;
        let own = after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
        Some((busy, own))
    }

    fn foreign_since(&self) -> Option<f64> {
        let ((busy, own), (busy_now, own_now)) = (self.ticks?, Self::read()?);
        let ticks = (busy_now - busy) as f64 - (own_now - own) as f64;
        Some(ticks.max(0.0) / 100.0 / self.at.elapsed().as_secs_f64())
    }
}
