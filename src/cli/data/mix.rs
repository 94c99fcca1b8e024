//! `rewarm data mix`: what every source of a run has given at some of its steps.
use crate::Result;
use crate::cli::common::print_pretty;
use crate::console::print;
use crate::data::Source;
use crate::train::History;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `rewarm data mix`.
#[derive(Debug, Args)]
pub struct MixArgs {
    /// A run configuration (TOML), or a run directory
    run: PathBuf,
    /// Override a key of the configuration
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// After so many steps (may be repeated) [default: after each quarter of the run]
    #[arg(long, value_name = "N")]
    step: Vec<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the sources have given after a step.
#[derive(Serialize)]
struct At {
    step: u64,
    /// In the order of the run.
    #[serde(skip)]
    names: Vec<String>,
    sources: BTreeMap<String, Given>,
}

/// What a source has given since the order of its data began.
#[derive(Serialize)]
struct Given {
    samples: u64,
    tokens: u64,
    /// How often it was gone through, what was left out included.
    epochs: f64,
}

/// Runs the command.
pub fn run(args: &MixArgs) -> Result<()> {
    let history = History::open(&args.run, &args.set)?;
    let (_, steps) = history.steps();
    let quarters = || {
        let mut quarters: Vec<u64> = (1..=4).map(|i| (steps as u128 * i / 4) as u64).collect();
        quarters.dedup();
        quarters
    };
    let wanted = if args.step.is_empty() { quarters() } else { args.step.clone() };
    let counts = wanted.into_iter().map(|step| at(&history, step)).collect::<Result<Vec<At>>>()?;
    if args.json {
        return print_pretty(&counts);
    }
    let mut lines = String::new();
    for At { step, names, sources } in &counts {
        lines += &format!("after step {step}\n");
        let all: u64 = sources.values().map(|given| given.samples).sum();
        for name in names {
            let Given { samples, tokens, epochs } = &sources[name];
            let share = 100.0 * *samples as f64 / all.max(1) as f64;
            lines +=
                &format!("  {name}: {samples} samples, {tokens} tokens, {epochs:.3} epochs, {share:.2} %\n");
        }
    }
    print(&lines)
}

fn at(history: &History, step: u64) -> Result<At> {
    let (sources, dealt) = history.given(step)?;
    let given = sources.list().iter().enumerate().map(|(i, Source { name, order })| {
        let seq_len = order.seq_len() as u64;
        let epochs = dealt.token(i, seq_len) as f64 / order.epoch_tokens() as f64;
        (name.clone(), Given { samples: dealt.taken[i], tokens: dealt.given(i, seq_len), epochs })
    });
    let names = sources.list().iter().map(|source| source.name.clone()).collect();
    Ok(At { step, names, sources: given.collect() })
}
