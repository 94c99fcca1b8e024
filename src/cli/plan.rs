//! `rewarm plan`: what a run needs, without starting it.
mod text;

use super::common::{one_of, print_json, with_threads};
use super::work::sizes_of;
use crate::backend::{MemoryPlan, default_precision};
use crate::bench::Ceilings;
use crate::config::{Checkpoint, Config, DocumentMode};
use crate::console::note;
use crate::device::{self, DeviceName};
use crate::model::{Model, ModelConfig, Precision, Recompute};
use crate::ops::Shape;
use crate::perf::evaluations::EvalPlan;
use crate::perf::plan::{CheckpointPlan, Choice, Request, Target, does_not_fit};
use crate::perf::processor::{self, Rates};
use crate::perf::{gpus, roofline};
use crate::schedule::TokenCount;
use crate::train::{OpenModel, SourceUse, last_rate, settle_seeds, source_uses};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Arguments of `rewarm plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Run configuration (TOML)
    #[arg(value_name = "FILE", conflicts_with = "preset", required_unless_present = "preset")]
    config: Option<PathBuf>,
    /// Override a key of the configuration
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "preset")]
    set: Vec<String>,
    /// A published size instead of a configuration
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Tokens of a sequence, with --preset [default: all that the model was made for]
    #[arg(long, value_name = "T", requires = "preset")]
    seq_len: Option<usize>,
    /// Sequences of a micro-batch, with --preset
    #[arg(long, value_name = "B", requires = "preset", default_value_t = 4)]
    micro: usize,
    /// Sequences of a step, with --preset [default: one micro-batch]
    #[arg(long, value_name = "N", requires = "preset")]
    sequences: Option<usize>,
    /// Length of the run, as 300B, with --preset
    #[arg(long, value_name = "TOKENS", requires = "preset", value_parser = token_count)]
    tokens: Option<u64>,
    /// Rows of logits at once, with --preset [default: what a run would take]
    #[arg(long, value_name = "ROWS", requires = "preset")]
    chunk_rows: Option<usize>,
    /// What the backward pass computes again, with --preset
    #[arg(long, value_name = "WHAT", requires = "preset", default_value_t = Recompute::None,
        value_parser = one_of::<Recompute>())]
    recompute: Recompute,
    /// What is kept in which format, with --preset [default: f32 on a cpu, mixed on a GPU]
    #[arg(long, value_name = "WHAT", requires = "preset", value_parser = one_of::<Precision>())]
    precision: Option<Precision>,
    /// A GPU of the table, which need not be here: h200, h100-sxm, a100-80gb, rtx-4090, ...
    #[arg(long, value_name = "NAME", conflicts_with = "device")]
    gpu: Option<String>,
    /// Device, with --preset; a configuration names its own
    #[arg(long, value_name = "DEVICE", requires = "preset", default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Tokens per second as measured, instead of a prediction
    #[arg(long, value_name = "RATE")]
    tokens_per_s: Option<f64>,
    /// Price of an hour of the device, in any currency
    #[arg(long, value_name = "PRICE")]
    price_per_hour: Option<f64>,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Plan {
    parameters: u64,
    flops_per_token: f64,
    device: String,
    free_bytes: Option<u64>,
    seq_len: usize,
    micro_batch: usize,
    sequences: usize,
    precision: Precision,
    recompute: Recompute,
    chunk_rows: usize,
    memory_bytes: MemoryPlan,
    process_bytes: usize,
    memory_bytes_total: usize,
    memory_by_recompute: Vec<Choice>,
    what_would_fit: Vec<String>,
    assumptions: Vec<String>,
    /// None where the data cannot be opened.
    sources: Option<Vec<SourceUse>>,
    tokens: Option<u64>,
    /// As given, else as predicted.
    tokens_per_s: Option<f64>,
    days: Option<f64>,
    cost: Option<f64>,
    /// Of a configuration.
    evaluations: Option<EvalPlan>,
    checkpoint: CheckpointPlan,
}

/// What a plan is made from.
struct Parts {
    sizes: ModelConfig,
    shape: Shape,
    sequences: usize,
    chunk_rows: Option<usize>,
    sources: Option<Vec<SourceUse>>,
    /// Attention sees one document, which is not part of a prediction.
    isolated: bool,
    tokens: Option<u64>,
    steps: Option<u64>,
    device: DeviceName,
    precision: Precision,
    recompute: Recompute,
    ema: bool,
    evaluations: Option<EvalPlan>,
    checkpoint: Checkpoint,
    milestones: u64,
    threads: usize,
}

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<()> {
    let rate = positive("--tokens-per-s", args.tokens_per_s)?;
    let price = positive("--price-per-hour", args.price_per_hour)?;
    let parts = match &args.preset {
        Some(name) => from_preset(args, name)?,
        None => from_config(args)?,
    };
    let mut target = match &args.gpu {
        Some(name) => Target::of_table(gpus::find(name)?),
        None => Target::here(device::resolve(parts.device)),
    };
    let threads = if args.threads == 0 { parts.threads } else { args.threads };
    if target.device == DeviceName::Cpu && rate.is_none() && parts.tokens.is_some() {
        target.rates = Some(with_threads(threads, || measured(parts.precision))?);
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let request = Request {
        model: &Model::new(parts.sizes.clone()).with_average(parts.ema).with_precision(parts.precision),
        shape: parts.shape,
        accumulation: parts.sequences / parts.shape.batch,
        chunk_rows: parts.chunk_rows,
        target,
        threads: if threads == 0 { cores() } else { threads },
    };
    let plan = make(&request, &parts, rate, price)?;
    if args.json {
        print_json(&plan)?
    } else {
        crate::console::print(&plan.to_string())?
    }
    // A GPU would refuse the run; a processor would begin to swap.
    if request.target.device != DeviceName::Cpu && !plan.what_would_fit.is_empty() {
        return Err(does_not_fit(&request.target, plan.memory_bytes_total, &plan.what_would_fit));
    }
    Ok(())
}

fn make(request: &Request, parts: &Parts, rate: Option<f64>, price: Option<f64>) -> Result<Plan> {
    let (config, shape, recompute) = (&request.model.config, parts.shape, parts.recompute);
    let choices = request.choices()?;
    let chosen = choices.iter().find(|c| c.recompute == recompute).expect("all values are there").clone();
    let fits = chosen.fits.unwrap_or(true);
    let advice = if fits { Vec::new() } else { request.advice(&choices, recompute, parts.sequences) };
    let tokens_per_s = rate.or(chosen.predicted.map(|p| p.tokens_per_s));
    if price.is_some() && tokens_per_s.is_none() {
        return Err(Error::refused(
            "--price-per-hour needs a speed: give --gpu NAME or a length (--tokens) for a prediction, or --tokens-per-s, as `rewarm bench` measures it",
        ));
    }
    let days = parts.tokens.zip(tokens_per_s).map(|(tokens, rate)| tokens as f64 / rate / 86400.0);
    let tokens_per_step = parts.sequences * shape.time;
    let step_s = tokens_per_s.map(|rate| tokens_per_step as f64 / rate);
    Ok(Plan {
        parameters: config.parameters(),
        flops_per_token: config.flops_per_token(shape.time),
        device: request.target.name.clone(),
        free_bytes: request.target.free,
        seq_len: shape.time,
        micro_batch: shape.batch,
        sequences: parts.sequences,
        precision: parts.precision,
        recompute,
        chunk_rows: chosen.chunk_rows,
        process_bytes: chosen.process_bytes,
        memory_bytes_total: chosen.memory_bytes_total,
        memory_bytes: chosen.memory_bytes,
        memory_by_recompute: choices,
        what_would_fit: advice,
        assumptions: assumptions(request, parts),
        sources: parts.sources.clone(),
        tokens: parts.tokens,
        tokens_per_s,
        days,
        cost: price.zip(days).map(|(price, days)| price * 24.0 * days),
        evaluations: parts.evaluations,
        checkpoint: CheckpointPlan::new(
            config.parameters(),
            parts.ema,
            request.checkpoint_host_bytes(),
            (&parts.checkpoint, parts.milestones),
            parts.steps,
            step_s,
        ),
    })
}

/// Tokens per second that a run on `device` is predicted to make, of a processor by the rates that were timed.
pub(super) fn predicted(
    config: &Config,
    sizes: &ModelConfig,
    device: DeviceName,
    rates: Option<Rates>,
) -> Result<Option<f64>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let request = Request {
        model: &Model::new(sizes.clone()).with_average(config.ema.is_some()).with_precision(config.precision),
        shape: Shape { batch: config.batch.micro, time: config.seq_len(sizes)? },
        accumulation: config.batch.sequences / config.batch.micro, // it divides
        chunk_rows: config.head.chunk_rows,
        target: Target { rates, ..Target::here(device) },
        threads: if config.threads == 0 { cores } else { config.threads },
    };
    let chosen = request.choices()?.into_iter().find(|choice| choice.recompute == config.recompute);
    Ok(chosen.and_then(|choice| choice.predicted).map(|predicted| predicted.tokens_per_s))
}

/// What the prediction assumes, for a person; nothing where there is none.
fn assumptions(request: &Request, parts: &Parts) -> Vec<String> {
    let mut lines = match (request.target.spec, request.target.rates) {
        (Some(gpu), _) => roofline::assumptions(gpu),
        (None, Some(rates)) => processor::assumptions(rates, parts.precision),
        (None, None) => return Vec::new(),
    };
    if parts.isolated {
        lines.push(format!(
            "attention over all {} tokens of a sequence, as if data.documents were \"join\": isolated documents take less, the \
             less the shorter they are",
            parts.shape.time
        ));
    }
    lines
}

/// What this processor does, in about two seconds.
pub(super) fn measured(precision: Precision) -> Result<Rates> {
    let Ceilings { copy_bytes_per_s, matmul_flops_per_s } = Ceilings::measure(DeviceName::Cpu, precision)?;
    Ok(Rates { copy_bytes_per_s, matmul_flops_per_s })
}

fn positive(flag: &str, value: Option<f64>) -> Result<Option<f64>> {
    match value {
        Some(x) if !(x.is_finite() && x > 0.0) => {
            Err(Error::refused(format!("{flag} is {x}; it must be a positive number")))
        }
        _ => Ok(value),
    }
}

/// `10M`, `300B`, as `train.tokens` has it.
fn token_count(text: &str) -> std::result::Result<u64, String> {
    let text = serde_json::Value::String(text.into());
    TokenCount::deserialize(text).map(|count| count.0).map_err(|e| e.to_string())
}

fn from_preset(args: &PlanArgs, name: &str) -> Result<Parts> {
    let sizes = sizes_of(name)?;
    let device = args.gpu.as_ref().map_or(args.device, |_| Target::OF_TABLE);
    let longest = sizes.max_position_embeddings;
    let time = args.seq_len.unwrap_or(longest);
    if time == 0 || time > longest || args.micro == 0 || args.chunk_rows == Some(0) {
        return Err(Error::refused(format!(
            "--seq-len must be 1 to {longest}, --micro and --chunk-rows at least 1; found {time}, {} and {}",
            args.micro,
            args.chunk_rows.map_or("none".into(), |rows| rows.to_string())
        )));
    }
    let sequences = args.sequences.unwrap_or(args.micro);
    if sequences == 0 || !sequences.is_multiple_of(args.micro) {
        return Err(Error::refused(format!(
            "--sequences {sequences} must be a multiple of --micro {}",
            args.micro
        )));
    }
    Ok(Parts {
        sizes,
        shape: Shape { batch: args.micro, time },
        sequences,
        chunk_rows: args.chunk_rows,
        sources: None,
        isolated: false,
        tokens: args.tokens,
        steps: args.tokens.map(|tokens| tokens.div_ceil((sequences * time) as u64)),
        device,
        precision: args.precision.unwrap_or_else(|| default_precision(device)),
        recompute: args.recompute,
        ema: false,
        evaluations: None,
        checkpoint: Checkpoint::default(),
        milestones: 0,
        threads: 0,
    })
}

fn from_config(args: &PlanArgs) -> Result<Parts> {
    let gpu = args.gpu.as_ref().map(|_| format!("device={}", Target::OF_TABLE));
    let sets: Vec<String> = args.set.iter().cloned().chain(gpu).collect();
    let mut config = Config::load(args.config.as_deref(), &sets)?;
    let source = config.start.as_ref().map(|start| OpenModel::open(&start.from)).transpose()?;
    settle_seeds(&mut config, source.as_ref())?;
    let previous = last_rate(source.as_ref())?;
    config.settle_rates(previous)?;
    let sizes = match (&source, config.model_config()?) {
        (Some(source), _) => source.config().clone(),
        (None, Some(sizes)) => sizes,
        (None, None) => return Err(Error::refused("no model: name a preset, its sizes, or start.from")),
    };
    let time = config.seq_len(&sizes)?;
    let sources = source_uses(&config, time, source.as_ref());
    match &sources {
        Err(why) => note(&format!("the data are not part of this plan: {why}")),
        Ok((_, Some(why))) => note(&format!("`rewarm train` will refuse this run: {why}")),
        Ok((_, None)) => {}
    }
    let milestones = config.milestones(time, &config.compile_schedule(time, previous)?);
    Ok(Parts {
        sizes,
        shape: Shape { batch: config.batch.micro, time },
        milestones: milestones.count(config.total_steps(time)),
        sequences: config.batch.sequences,
        chunk_rows: config.head.chunk_rows,
        sources: sources.ok().map(|(uses, _)| uses),
        isolated: config.data.documents == DocumentMode::Isolate,
        tokens: Some(config.total_tokens(time)),
        steps: Some(config.total_steps(time)),
        device: config.device,
        precision: config.precision,
        recompute: config.recompute,
        ema: config.ema.is_some(),
        evaluations: Some(EvalPlan::new(&config, time)?),
        checkpoint: config.checkpoint,
        threads: config.threads,
    })
}
