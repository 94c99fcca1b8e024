//! `rewarm eval`: loss, perplexity and bits per byte on the validation sets of a run, or on named ones; of several models
//! side by side.
mod compare;
mod score;
mod table;

use super::common::{print_json, with_threads};
use crate::console::print;
use crate::train::{EvalResult, OpenModel};
use crate::{Error, Result};
use compare::{compare, compare_steps};
use score::{Conditions, config_at, load, named_sets, score};
use std::path::PathBuf;

/// Arguments of `rewarm eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// Hugging Face directory, run directory (its newest step) or step directory; of several, a table in which each is
    /// compared with the first
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// The same table of all steps of one run, from the oldest on
    #[arg(long)]
    every_checkpoint: bool,
    #[command(flatten)]
    conditions: Conditions,
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
    let on = &args.conditions;
    let sets = named_sets(&on.data)?;
    let config = on.config.as_deref().map(config_at).transpose()?;
    match &args.models[..] {
        [run] if args.every_checkpoint => compare_steps((on, &sets[..], config), run, args.json),
        [model] => {
            let loaded = OpenModel::read(model, |source| load(on, source, config.as_ref()))?;
            score((on, &sets[..]), model, loaded, &mut |result| {
                if args.json { print_json(&result) } else { print(&shown(&result)) }
            })
        }
        models if args.every_checkpoint => Err(Error::refused(format!(
            "--every-checkpoint is of one run, and {} models are named; name one run directory, or the steps themselves \
             without the flag",
            models.len()
        ))),
        models => compare((on, &sets[..], config), models, args.json),
    }
}

fn shown(r: &EvalResult) -> String {
    let error = r.standard_error.map_or(String::new(), |e| format!(" ± {e:.4}"));
    let bytes = r.bits_per_byte.map_or(String::new(), |b| format!("  {b:.4} bits/byte"));
    let ends = r.by_end.map_or(String::new(), |by| {
        format!("  ends of texts {:.4}, the rest {:.4}", by.loss_end_of_text, by.loss_within_text)
    });
    format!(
        "{}: loss {:.4}{error}  perplexity {:.2}{bytes}{ends}  ({} tokens)",
        r.eval, r.loss, r.perplexity, r.tokens
    )
}
