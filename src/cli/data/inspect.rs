//! `rewarm data inspect`: what is in token shards.
use crate::Result;
use crate::cli::common::print_pretty;
use crate::config::Config;
use crate::console::print;
use crate::data::{Corpus, Inspection, TextTokenizer, inspect};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `rewarm data inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Shards (.bin, .npy), prefixes or folders; raw-u16:PATH or raw-u32:PATH for tokens without a header.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    data: Vec<String>,
    /// A run configuration (TOML): every source of its training data
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A tokenizer.json to show the first tokens as text.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &InspectArgs) -> Result<()> {
    let tokenizer = args.tokenizer.as_ref().map(TextTokenizer::load).transpose()?;
    let look = |paths: &[String]| inspect(&Corpus::open(paths)?, tokenizer.as_ref());
    let Some(config) = &args.config else {
        let found = look(&args.data)?;
        return if args.json { print_pretty(&found) } else { print_inspection(&found) };
    };
    let data = Config::load(Some(config), &[])?.data;
    let sources = data.sources().into_iter().map(|(name, paths)| Ok((name.to_owned(), look(paths)?)));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    if args.json {
        return print_pretty(&sources.into_iter().collect::<BTreeMap<_, _>>());
    }
    sources.iter().try_for_each(|(name, found)| {
        print(&format!("source {name}"))?;
        print_inspection(found)
    })
}

fn print_inspection(found: &Inspection) -> Result<()> {
    const SHOWN: usize = 20;
    let mut lines = Vec::new();
    for shard in found.shards.iter().take(SHOWN) {
        let weights = shard.weights.map_or(String::new(), |kind| format!(", weights beside it ({kind})"));
        lines.push(format!(
            "{}: {} {}, {} tokens, {} documents{weights}",
            shard.path, shard.format, shard.dtype, shard.tokens, shard.documents
        ));
    }
    if found.shards.len() > SHOWN {
        lines.push(format!("and {} more shards", found.shards.len() - SHOWN));
    }
    lines.push(format!(
        "total: {} tokens, {} documents, fingerprint {}",
        found.tokens, found.documents, found.fingerprint
    ));
    if let Some(ratio) = found.bytes_per_token {
        lines.push(format!("bytes of text per token: {ratio:.3}"));
    }
    let q = &found.lengths;
    lines.push(format!(
        "tokens per document ({} looked at): min {}, 1 % {}, 25 % {}, median {}, 75 % {}, 99 % {}, max {}",
        q.sampled, q.min, q.p01, q.p25, q.p50, q.p75, q.p99, q.max
    ));
    lines.push(format!("first tokens: {:?}", found.first_tokens));
    if let Some(text) = &found.first_text {
        lines.push(format!("first text: {text:?}"));
    }
    print(&lines.join("\n"))
}
