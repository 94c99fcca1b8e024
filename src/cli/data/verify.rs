//! `rewarm data verify`: every fault of token shards.
use crate::Result;
use crate::cli::common::print_pretty;
use crate::console::print;
use crate::data::{PlaneSummary, Progress, TextTokenizer, Verification, verify};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `rewarm data verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Shards (.bin, .npy), prefixes or folders; raw-u16:PATH or raw-u32:PATH for tokens without a header.
    #[arg(required = true)]
    data: Vec<String>,
    /// Tokens must be below N [default: what data tokenize noted beside the shard].
    #[arg(long, value_name = "N")]
    vocab_size: Option<u32>,
    /// A tokenizer.json: tokens must be in its vocabulary, and the shards must have been made with it.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> Result<()> {
    let tokenizer = args.tokenizer.as_ref().map(TextTokenizer::load).transpose()?;
    let mut progress = Progress::counting("verifying");
    let found = verify(&args.data, args.vocab_size, tokenizer.as_ref(), &mut progress);
    progress.finish();
    let found = found?;
    if args.json {
        print_pretty(&found)?
    } else {
        print_verification(&found)?
    }
    found.into_result().map(|_| ())
}

fn print_verification(found: &Verification) -> Result<()> {
    let odd = found.oddities.iter().map(|oddity| format!("note: {oddity}"));
    let mut lines: Vec<String> = odd.chain(found.faults.iter().map(|fault| fault.message.clone())).collect();
    let listed = found.faults.len() as u64;
    if listed < found.faults_total {
        lines.push(format!("and {} more faults", found.faults_total - listed));
    }
    lines.push(format!(
        "{} shards, {} documents, {} tokens, largest token {}, {} faults",
        found.shards, found.documents, found.tokens, found.largest_token, found.faults_total
    ));
    if found.without_hashes > 0 {
        lines.push(format!(
            "{} of them carry no hashes of their content, as `data tokenize` writes them: whether they are as they were \
             written cannot be said",
            found.without_hashes
        ));
    }
    lines.extend(found.weights.iter().map(PlaneSummary::line));
    if let Some(hash) = &found.content_hash {
        lines.push(format!("content hash (XXH3-128): {hash}"));
    }
    print(&lines.join("\n"))
}
