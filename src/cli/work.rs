//! The arguments that say what is measured: a model, and for `bench train`, `bench checkpoint` and `profile` its training
//! steps.
use super::common::one_of;
use crate::backend::{check_precision, default_precision};
use crate::bench::{Workload, memory_available};
use crate::config::{Config, Optim};
use crate::device::{self, DeviceName};
use crate::files::{Disk, Draft};
use crate::model::{ModelConfig, PRESETS, Precision, Recompute, preset};
use crate::train::OpenModel;
use crate::{Error, Result};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// Which model, where, and on how much at once.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Run configuration (TOML): its model, data, batch and device
    #[arg(value_name = "FILE", conflicts_with_all = ["preset", "shape"])]
    config: Option<PathBuf>,
    /// Override a key of the configuration
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    set: Vec<String>,
    /// A published size instead of a configuration
    #[arg(long, value_name = "NAME", conflicts_with = "shape")]
    preset: Option<String>,
    /// One of the shapes that are compared with PyTorch; small (L4 d256 h8 V4096 T256 B8) where nothing is named,
    /// pythia-70m (T512 B4)
    #[arg(long, value_parser = ["small", "pythia-70m"])]
    shape: Option<String>,
    /// Where to compute: cpu, cuda:N, emulated, auto
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Tokens of a sequence
    #[arg(long, value_name = "T")]
    seq_len: Option<usize>,
    /// Sequences of a micro-batch
    #[arg(long, value_name = "B")]
    micro: Option<usize>,
    /// Rows of logits at once
    #[arg(long, value_name = "ROWS")]
    chunk_rows: Option<usize>,
    /// What is kept in which format: f32 (everything; only on a cpu), mixed (bf16 activations, f32 master weights and
    /// moments), bf16 (weights and moments in bf16, too) [default: f32 on a cpu, mixed on a GPU]
    #[arg(long, value_name = "WHAT", value_parser = one_of::<Precision>())]
    precision: Option<Precision>,
    /// Threads; 0: all cores
    #[arg(long)]
    threads: Option<usize>,
}

/// Which steps.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Micro-batches of a step
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// What the backward pass computes again
    #[arg(long, value_name = "WHAT", value_parser = one_of::<Recompute>())]
    recompute: Option<Recompute>,
    /// Never let a product of a GPU sum the gradient of a bias (cuBLASLt's BGRADB)
    #[arg(long)]
    separate_bias_gradients: bool,
    /// Token shards instead of random tokens; a configuration names its own
    #[arg(long, value_name = "SHARDS")]
    data: Vec<String>,
    /// Random tokens, whatever the configuration names
    #[arg(long, conflicts_with = "data")]
    synthetic: bool,
}

impl ModelArgs {
    /// What was named, and with how many threads.
    pub fn workload(&self) -> Result<(Workload, usize)> {
        let (named, threads) = match (&self.config, &self.preset) {
            (Some(path), _) => from_config(path, &self.sets())?,
            (_, Some(name)) => (self.computed(from_preset(name)?), 0),
            _ => (self.computed(shape(self.shape.as_deref().unwrap_or("small"))?), 0),
        };
        let device = named.device;
        let workload = Workload {
            time: self.seq_len.unwrap_or(named.time),
            micro: self.micro.unwrap_or(named.micro),
            chunk_rows: self.chunk_rows.or(named.chunk_rows),
            available: memory_available(device)?,
            ..named
        };
        let longest = workload.sizes.max_position_embeddings;
        let (time, micro, chunk_rows) = (workload.time, workload.micro, workload.chunk_rows.unwrap_or(1));
        if time == 0 || time > longest || micro == 0 || chunk_rows == 0 {
            return Err(Error::refused(format!(
                "--seq-len must be 1 to {longest}, --micro and --chunk-rows at least 1; found {time}, {micro} and \
                 {chunk_rows}"
            )));
        }
        check_precision(device, workload.precision)?;
        check_size(&workload)?;
        Ok((workload, self.threads.unwrap_or(threads)))
    }

    /// A named shape, on the device and in the precision that are asked for.
    fn computed(&self, named: Workload) -> Workload {
        let device = device::resolve(self.device.unwrap_or(named.device));
        let precision = self.precision.unwrap_or_else(|| default_precision(device));
        Workload { device, precision, ..named }
    }

    /// Overrides of a configuration: its precision, where it states none, is its device's.
    fn sets(&self) -> Vec<String> {
        let device = self.device.map(|device| format!("device={device}"));
        let precision = self.precision.map(|precision| format!("train.precision={precision}"));
        self.set.iter().cloned().chain(device).chain(precision).collect()
    }
}

/// Refuses a step whose tokens cannot be counted in an i32, as kernels do.
fn check_size(w: &Workload) -> Result<()> {
    let tokens = w.micro.checked_mul(w.accumulation).and_then(|n| n.checked_mul(w.time));
    if tokens.is_some_and(|n| n > 0 && n < 1 << 31) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} micro-batches of {} sequences of {} tokens make no step; it holds at least one token and fewer than 2^31",
        w.accumulation, w.micro, w.time
    )))
}

impl WorkArgs {
    /// What is to be measured, and with how many threads.
    pub fn workload(&self) -> Result<(Workload, usize)> {
        let (named, threads) = self.model.workload()?;
        let data = match &self.data[..] {
            _ if self.synthetic => Vec::new(),
            [] => named.data,
            given => given.to_vec(),
        };
        let workload = Workload {
            accumulation: self.accumulate.unwrap_or(named.accumulation),
            recompute: self.recompute.unwrap_or(named.recompute),
            separate_bias_gradients: self.separate_bias_gradients || named.separate_bias_gradients,
            data,
            ..named
        };
        check_size(&workload)?;
        Ok((workload, threads))
    }
}

/// A workload of one model with everything else as it is by default.
fn defaults(model: &str, sizes: ModelConfig, time: usize, micro: usize) -> Workload {
    let device = DeviceName::Cpu;
    Workload {
        model: model.into(),
        sizes,
        device,
        time,
        micro,
        accumulation: 1,
        precision: default_precision(device),
        separate_bias_gradients: false,
        recompute: Recompute::None,
        chunk_rows: None,
        available: None,
        optim: Optim::default(),
        data: Vec::new(),
    }
}

/// The sizes of a published model.
pub fn sizes_of(name: &str) -> Result<ModelConfig> {
    preset(name).ok_or_else(|| {
        let names: Vec<_> = PRESETS.iter().map(|p| p.0).collect();
        let near = |known: &&&str| (1e6 * strsim::jaro_winkler(known, name)) as u64;
        Error::refused(format!(
            "--preset {name} is not known; nearest is {}, choose one of {}",
            names.iter().max_by_key(near).unwrap_or(&""),
            names.join(", ")
        ))
    })
}

fn from_preset(name: &str) -> Result<Workload> {
    let sizes = sizes_of(name)?;
    let time = sizes.max_position_embeddings;
    Ok(defaults(name, sizes, time, 4))
}

/// The two shapes of `tools/bench_pytorch.py`.
fn shape(name: &str) -> Result<Workload> {
    let base = sizes_of("pythia-70m")?;
    if name == "pythia-70m" {
        return Ok(defaults(name, base, 512, 4));
    }
    let small = ModelConfig {
        vocab_size: 4096,
        hidden_size: 256,
        num_hidden_layers: 4,
        intermediate_size: 1024,
        ..base
    };
    Ok(defaults(name, small, 256, 8))
}

/// And the threads it asks for.
fn from_config(path: &Path, set: &[String]) -> Result<(Workload, usize)> {
    let config = Config::load(Some(path), set)?;
    let sizes = match (&config.start, config.model_config()?) {
        (Some(start), _) => OpenModel::open(&start.from)?.config().clone(),
        (None, Some(sizes)) => sizes,
        (None, None) => return Err(Error::refused("no model: name a preset, its sizes, or start.from")),
    };
    let model = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let workload = Workload {
        time: config.seq_len(&sizes)?,
        model,
        sizes,
        device: config.device,
        micro: config.batch.micro,
        accumulation: config.batch.sequences / config.batch.micro, // it divides
        precision: config.precision,
        separate_bias_gradients: config.separate_bias_gradients,
        recompute: config.recompute,
        chunk_rows: config.head.chunk_rows,
        available: None,
        optim: config.optim.clone(),
        data: config.data.train.clone(),
    };
    Ok((workload, config.threads))
}

/// Refuses a file that cannot be written, before the work for it is done. What is there is left alone.
pub fn check_writable(path: &Path) -> Result<()> {
    let refused = |e| Error::refused(format!("cannot write {}: {e}; name another file", path.display()));
    if path.exists() {
        OpenOptions::new().append(true).open(path).map(drop).map_err(refused)
    } else {
        // Not the file itself: were it made and deleted, what another process wrote meanwhile would go with it.
        Draft::create(&Disk, path).map(drop).map_err(refused)
    }
}
