//! `rewarm import`: a checkpoint of GPT-NeoX, moments included, as one of rewarm.
use crate::Result;
use crate::checkpoint::{Neox, Reached, check_new};
use crate::console::{note, print};
use crate::data::Usage;
use crate::train::Progress;
use std::path::PathBuf;

const AFTER: &str = "Weights are the optimizer's masters in f32, and are compared with those in half precision first. The new \
    directory is a checkpoint and a Hugging Face model: a phase that goes on with its moments has\n\n  \
    [start]\n  from = \"OUT\"\n  optimizer = \"keep\"\n\nGPT-NeoX computes GELU by tanh where bias-gelu-fusion is on, as it was for \
    Pythia, and the published config.json says erf: model.gelu = \"tanh\" goes on as it was trained.";

/// Arguments of `rewarm import`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct ImportArgs {
    /// Checkpoint of GPT-NeoX (layer_*, mp_rank_*, zero_pp_rank_*), or the folder that its global_step* is in
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The new directory; its parents are made where they are missing
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Hugging Face directory of this model, for what tensors do not say (config.json) and the tokenizer [default: the
    /// published Pythia of these sizes, no tokenizer]
    #[arg(long, value_name = "MODEL")]
    like: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ImportArgs) -> Result<()> {
    check_new(&args.output)?;
    let neox = Neox::open(&args.dir, args.like.as_deref())?;
    let Reached { steps, applied, lr, .. } = neox.reached();
    let rate = lr.map_or("not saved".into(), |lr| format!("{lr:e}"));
    note(&format!("{}: {}", neox.dir().display(), neox.describe()));
    note(&format!("{steps} steps, {applied} of them applied; last rate: {rate}"));
    let mut progress = Progress::after(None, 0, Usage::default());
    progress.lr = lr;
    neox.write(&args.output, progress.to_json())?;
    print(&args.output.display().to_string())
}
