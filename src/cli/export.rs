//! `rewarm export`: a checkpoint as a Hugging Face directory.
use crate::checkpoint::{self, Buffers, Dtype, MAX_SHARD_BYTES};
use crate::model::ParamTable;
use crate::train::Source;
use crate::{Error, Result};
use std::path::PathBuf;

/// Arguments of `rewarm export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Run directory (its newest step), step directory or Hugging Face directory
    model: PathBuf,
    /// The new directory
    output: PathBuf,
    /// The moving average that train.ema kept, instead of the weights
    #[arg(long)]
    ema: bool,
    /// Element type of the weights [default: that of the model, f32 for checkpoints]
    #[arg(long, value_parser = ["f32", "f16", "bf16"])]
    dtype: Option<String>,
    /// Largest weight file, in bytes; more are split and indexed
    #[arg(long, value_name = "BYTES", default_value_t = MAX_SHARD_BYTES)]
    max_shard_bytes: u64,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<()> {
    Source::read(&args.model, |source| write(args, source))?;
    crate::console::print(&args.output.display().to_string())
}

fn write(args: &ExportArgs, source: &Source) -> Result<()> {
    let dtype = match args.dtype.as_deref() {
        None => source.dtype(),
        Some("f32") => Dtype::F32,
        Some("f16") => Dtype::F16,
        Some("bf16") => Dtype::Bf16,
        Some(other) => return Err(Error::refused(format!("--dtype {other}: expected f32, f16 or bf16"))),
    };
    let config = source.config();
    let table = ParamTable::new(config);
    let mut w = vec![0.0; table.total];
    if args.ema {
        source.load_ema(&table, &mut w)?;
    } else {
        source.load(&table, Buffers { w: &mut w, moments: None })?;
    }
    let tokenizer = Some(source.dir());
    let base = Some(source.raw_config());
    checkpoint::export(&args.output, config, &table, &w, dtype, base, tokenizer, args.max_shard_bytes)
}
