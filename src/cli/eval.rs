//! `rewarm eval`: loss, perplexity and bits per byte on named sets.
use super::{print_json, with_threads};
use crate::backend;
use crate::checkpoint::Buffers;
use crate::console::print;
use crate::data::{Corpus, Side, Split};
use crate::device::{self, DeviceName};
use crate::model::{Model, Purpose, Workspace};
use crate::ops::{Ops, Shape};
use crate::train::{Evaluation, Source};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `rewarm eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// Hugging Face directory, run directory (its newest step) or step directory
    model: PathBuf,
    /// A validation set: NAME=PATH[,PATH...], or just PATH
    #[arg(long, value_name = "NAME=PATHS", required = true)]
    data: Vec<String>,
    /// Tokens of a sequence [default: all that the model was made for]
    #[arg(long, value_name = "T")]
    seq_len: Option<usize>,
    /// Sequences of each set, evenly spread; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    sequences: usize,
    /// Sequences computed at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..65536))]
    batch: u32,
    /// Where to compute: cpu, cuda:N, emulated, auto
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print one JSON object per set
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &EvalArgs) -> Result<()> {
    with_threads(args.threads, || evaluate(args))
}

fn evaluate(args: &EvalArgs) -> Result<()> {
    let (model, workspace, mut ops) = Source::read(&args.model, |source| load(args, source))?;
    let time = workspace.shape.time;
    let sets =
        args.data.iter().map(|spec| open_set(spec, time, args.sequences)).collect::<Result<Vec<_>>>()?;
    for set in sets {
        let result = set.run(&model, &mut *ops, &workspace)?;
        if args.json {
            print_json(&result)?;
            continue;
        }
        let bytes = result.bits_per_byte.map_or(String::new(), |b| format!("  {b:.4} bits/byte"));
        print(&format!(
            "{}: loss {:.4}  perplexity {:.2}{bytes}  ({} tokens)",
            result.eval, result.loss, result.perplexity, result.tokens
        ))?;
    }
    Ok(())
}

/// The model with its weights.
fn load(args: &EvalArgs, source: &Source) -> Result<(Model, Workspace, Box<dyn Ops>)> {
    let model = Model::new(source.config().clone());
    let longest = model.config.max_position_embeddings;
    let time = args.seq_len.unwrap_or(longest);
    if time == 0 || time > longest {
        return Err(Error::refused(format!(
            "--seq-len {time}: the model takes sequences of 1 to {longest} tokens"
        )));
    }
    let shape = Shape { batch: args.batch as usize, time };
    let workspace = Workspace::new(&model.config, shape, 1024, Purpose::Evaluate);
    let device = device::resolve(args.device);
    let mut ops = backend::open(device, &model.config, &model.table, &workspace)?;
    ops.load_state(&mut |w, _, _| source.load(&model.table, Buffers { w, moments: None }))?;
    Ok((model, workspace, ops))
}

/// A set by its specification. A `=` inside of a path needs a name before it.
fn open_set(spec: &str, time: usize, sequences: usize) -> Result<Evaluation> {
    let (name, paths) = spec.split_once('=').unwrap_or((spec, spec));
    let paths: Vec<&str> = paths.split(',').collect();
    let corpus = Arc::new(Corpus::open(&paths)?);
    Evaluation::new(name, corpus, Side::All, Split::NONE, time, sequences)
}
