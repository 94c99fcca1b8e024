//! `rewarm plan`: what a run needs, without starting it.
use super::print_json;
use crate::backend::{MemoryPlan, memory_plan};
use crate::config::Config;
use crate::device::{self, DeviceName};
use crate::model::{Model, ModelConfig, Purpose, Recompute, Workspace, preset};
use crate::ops::Shape;
use crate::train::Source;
use crate::{Error, Result};
use serde::Serialize;
use std::fmt;
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
    /// Rows of logits at once, with --preset
    #[arg(long, value_name = "ROWS", requires = "preset", default_value_t = 1024)]
    chunk_rows: usize,
    /// What the backward pass computes again, with --preset
    #[arg(long, value_name = "WHAT", requires = "preset", default_value_t = Recompute::None)]
    recompute: Recompute,
    /// Tokens per second, to tell how long the run takes
    #[arg(long, value_name = "RATE")]
    tokens_per_s: Option<f64>,
    /// Device, with --preset; a configuration names its own
    #[arg(long, value_name = "DEVICE", requires = "preset", default_value_t = DeviceName::Cpu)]
    device: DeviceName,
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
    seq_len: usize,
    micro_batch: usize,
    recompute: Recompute,
    memory_bytes: MemoryPlan,
    memory_bytes_total: usize,
    memory_by_recompute: Vec<Choice>,
    tokens: Option<u64>,
    tokens_per_s: Option<f64>,
    days: Option<f64>,
}

/// Memory with one value of `train.recompute`.
#[derive(Serialize)]
struct Choice {
    recompute: Recompute,
    activations_bytes: usize,
    memory_bytes_total: usize,
}

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<()> {
    let Parts { sizes, shape, chunk_rows, tokens, device, recompute } = match &args.preset {
        Some(name) => from_preset(args, name)?,
        None => from_config(args)?,
    };
    let model = Model::new(sizes);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if args.threads == 0 { cores() } else { args.threads };
    let device = device::resolve(device);
    let memory_with = |recompute| {
        let workspace = Workspace::new(&model.config, shape, chunk_rows, Purpose::Train(recompute));
        memory_plan(device, &model.config, &model.table, &workspace, threads)
    };
    let choice = |recompute| {
        let memory = memory_with(recompute);
        Choice { recompute, activations_bytes: memory.activations, memory_bytes_total: memory.total() }
    };
    let memory = memory_with(recompute);
    let rate = args.tokens_per_s.filter(|r| r.is_finite() && *r > 0.0);
    if rate != args.tokens_per_s {
        return Err(Error::refused("--tokens-per-s must be a positive number"));
    }
    let plan = Plan {
        parameters: model.config.parameters(),
        flops_per_token: model.config.flops_per_token(shape.time),
        seq_len: shape.time,
        micro_batch: shape.batch,
        recompute,
        memory_bytes_total: memory.total(),
        memory_bytes: memory,
        memory_by_recompute: Recompute::ALL.map(choice).into(),
        tokens,
        tokens_per_s: rate,
        days: tokens.zip(rate).map(|(t, r)| t as f64 / r / 86400.0),
    };
    if args.json {
        return print_json(&plan);
    }
    crate::console::print(&plan.to_string())
}

/// What a plan is made from.
struct Parts {
    sizes: ModelConfig,
    shape: Shape,
    chunk_rows: usize,
    tokens: Option<u64>,
    device: DeviceName,
    recompute: Recompute,
}

fn from_preset(args: &PlanArgs, name: &str) -> Result<Parts> {
    let sizes = preset(name).ok_or_else(|| {
        let names: Vec<_> = crate::model::PRESETS.iter().map(|p| p.0).collect();
        Error::refused(format!("--preset {name} is not known; choose one of {}", names.join(", ")))
    })?;
    let longest = sizes.max_position_embeddings;
    let time = args.seq_len.unwrap_or(longest);
    if time == 0 || time > longest || args.micro == 0 || args.chunk_rows == 0 {
        return Err(Error::refused(format!(
            "--seq-len must be 1 to {longest}, --micro and --chunk-rows at least 1; found {time}, {} and {}",
            args.micro, args.chunk_rows
        )));
    }
    Ok(Parts {
        sizes,
        shape: Shape { batch: args.micro, time },
        chunk_rows: args.chunk_rows,
        tokens: None,
        device: args.device,
        recompute: args.recompute,
    })
}

fn from_config(args: &PlanArgs) -> Result<Parts> {
    let config = Config::load(args.config.as_deref(), &args.set)?;
    let sizes = match (&config.start, config.model_config()?) {
        (Some(start), _) => Source::open(&start.from)?.config().clone(),
        (None, Some(sizes)) => sizes,
        (None, None) => return Err(Error::refused("no model: name a preset, its sizes, or start.from")),
    };
    let time = config.seq_len(&sizes)?;
    let tokens = config.total_tokens(time);
    Ok(Parts {
        sizes,
        shape: Shape { batch: config.batch.micro, time },
        chunk_rows: config.head.chunk_rows,
        tokens: Some(tokens),
        device: config.device,
        recompute: config.recompute,
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "parameters        {:>14}", self.parameters)?;
        writeln!(
            f,
            "FLOPs per token   {:>14.4} GFLOP (6 per matmul parameter, causal attention at half of T², T = {})",
            self.flops_per_token / 1e9,
            self.seq_len
        )?;
        write!(f, "{}", self.memory_bytes)?;
        writeln!(f, "train.recompute      activations     memory in all")?;
        for choice in &self.memory_by_recompute {
            let megabytes = [choice.activations_bytes, choice.memory_bytes_total].map(|b| b as f64 / 1e6);
            let chosen = if choice.recompute == self.recompute { "  as above" } else { "" };
            let name = choice.recompute;
            writeln!(f, "  {name:<16}{:>11.1} MB {:>14.1} MB{chosen}", megabytes[0], megabytes[1])?;
        }
        if let Some(tokens) = self.tokens {
            writeln!(f, "tokens            {tokens:>14}")?;
        }
        if let (Some(rate), Some(days)) = (self.tokens_per_s, self.days) {
            writeln!(f, "time              {days:>14.3} days at {rate} tokens/s")?;
        }
        Ok(())
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("moments", self.moments),
            ("activations", self.activations),
            ("logits", self.logits),
            ("scratch", self.scratch),
            ("memory in all", self.total()),
        ];
        rows.iter().try_for_each(|(name, bytes)| writeln!(f, "{name:<18}{:>14.1} MB", *bytes as f64 / 1e6))
    }
}
