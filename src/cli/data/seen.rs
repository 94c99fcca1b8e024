//! `rewarm data where`: the documents that a step of a run reads, and the steps that read a document.
use crate::cli::common::print_pretty;
use crate::config::Documents;
use crate::console::print;
use crate::data::{Excerpt, Order, Shard, Sources, TextTokenizer, Turn};
use crate::train::{History, check_documents};
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::path::PathBuf;

/// Arguments of `rewarm data where`.
#[derive(Debug, Args)]
pub struct WhereArgs {
    /// A run directory, one of its steps, or a run configuration (TOML), whose run has not begun
    run: PathBuf,
    /// A step as the log counts them: 1 is the first
    #[arg(long, value_name = "N", required_unless_present = "document", conflicts_with = "document")]
    step: Option<u64>,
    /// One row of its batch [default: all]; 0 is the first
    #[arg(long, value_name = "R", requires = "step")]
    row: Option<u64>,
    /// Show what was read as text, by the tokenizer of the run
    #[arg(long)]
    text: bool,
    /// A document, or several (a.bin:42..44, without the last): which steps read it
    #[arg(long, value_name = "SHARD:42", conflicts_with = "text")]
    document: Option<Documents>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A row of a step.
#[derive(Serialize)]
struct Row {
    step: u64,
    row: u64,
    /// Name of the source.
    source: String,
    /// Of the order of the source, as `data.skip` counts.
    sample: u64,
    /// Pass over the source, from 0.
    epoch: u64,
    documents: Vec<Part>,
}

/// Consecutive tokens of a document; ends are excluded.
#[derive(Serialize)]
struct Part {
    shard: String,
    document: u64,
    /// Inside of the document.
    tokens: [u64; 2],
    /// Inside of the shard.
    shard_tokens: [u64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Runs the command.
pub fn run(args: &WhereArgs) -> Result<()> {
    let history = History::open(&args.run, &[])?;
    let rows = match (&args.document, args.step) {
        (Some(documents), _) => readers(&history, documents)?,
        (None, step) => rows(&history, step.unwrap_or_default(), args)?,
    };
    if args.json {
        return print_pretty(&rows);
    }
    let (taken, steps) = history.steps();
    let mut text: String = rows.iter().map(Row::to_string).collect();
    if let Some(documents) = args.document.as_ref().filter(|_| rows.is_empty()) {
        text = format!("no step of the run reads {documents}; it has {steps}\n");
    } else if rows.last().is_some_and(|row| row.step > taken) {
        text += &format!("steps behind {taken} are not saved yet\n");
    }
    print(&text)
}

/// What a step reads.
fn rows(history: &History, step: u64, args: &WhereArgs) -> Result<Vec<Row>> {
    let tokenizer = args.text.then(|| match history.tokenizer() {
        Some(path) => TextTokenizer::load(path),
        None => Err(Error::refused(format!(
            "{} has no tokenizer, which --text needs; name one in data.tokenizer",
            args.run.display()
        ))),
    });
    let tokenizer = tokenizer.transpose()?;
    let (sources, turns) = history.rows(step)?;
    let count = turns.len();
    if let Some(row) = args.row.filter(|row| *row >= count as u64) {
        return Err(Error::refused(format!(
            "row {row} was asked for; step {step} has the rows 0 to {}",
            count - 1
        )));
    }
    let wanted = turns.into_iter().zip(0..).filter(|(_, row)| args.row.is_none_or(|wanted| wanted == *row));
    wanted.map(|(turn, row)| seen(sources, step, row, turn, tokenizer.as_ref())).collect()
}

fn seen(
    sources: &Sources,
    step: u64,
    row: u64,
    turn: Turn,
    tokenizer: Option<&TextTokenizer>,
) -> Result<Row> {
    let Turn { source, sample } = turn;
    let source = &sources.list()[source];
    let part = |excerpt: &Excerpt| part(&source.order, *excerpt, tokenizer);
    let excerpts = source.order.excerpts(sample)?;
    let read = excerpts.iter().filter(|excerpt| !excerpt.padding);
    let documents = read.map(part).collect::<Result<_>>()?;
    let epoch = source.order.window_of(sample).0;
    Ok(Row { step, row, source: source.name.clone(), sample, epoch, documents })
}

fn part(
    order: &Order,
    Excerpt { place, tokens, .. }: Excerpt,
    tokenizer: Option<&TextTokenizer>,
) -> Result<Part> {
    let shard: &Shard = &order.corpus().shards()[place.shard];
    let text = |tokenizer: &TextTokenizer| {
        let mut read = vec![0; tokens as usize];
        shard.read(place.token, &mut read, tokenizer.vocab_size())?;
        tokenizer.decode(&read)
    };
    Ok(Part {
        shard: shard.path().display().to_string(),
        document: place.document,
        tokens: [place.offset, place.offset + tokens],
        shard_tokens: [place.token, place.token + tokens],
        text: tokenizer.map(text).transpose()?,
    })
}

/// Every row of the run with a token of these documents; of what it reads, those parts.
fn readers(history: &History, documents: &Documents) -> Result<Vec<Row>> {
    // The sources of some part of the run have the shard, or those of the present one say which shards there are.
    let mut found =
        history.all_sources().map(|sources| sources.find_shard(&documents.shard).map(|at| (sources, at)));
    let first = found.next().ok_or_else(|| Error::refused("the data of the run are gone"))?;
    let (sources, (source, shard)) = first.or_else(|why| found.find_map(Result::ok).ok_or(why))?;
    let shard = &sources.list()[source].order.corpus().shards()[shard];
    check_documents(documents, shard.documents())?;
    let (name, mut is_read) = (shard.path().display().to_string(), false);
    for document in documents.range.clone() {
        is_read |= positions(sources, documents, document)?.is_some();
    }
    if !is_read {
        return Err(Error::refused(format!(
            "document {} of {} is held out for validation: no step reads it",
            documents.range.start, documents.shard
        )));
    }
    let wanted = |sources: &Sources| {
        let Ok((source, _)) = sources.find_shard(&documents.shard) else { return Ok(None) };
        let all = documents.range.clone().map(|document| positions(sources, documents, document));
        let tokens = all.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Some((source, tokens)))
    };
    let mut rows = Vec::new();
    history.readers(wanted, |sources, step, row, turn| {
        let mut found = seen(sources, step, row, turn, None)?;
        found.documents.retain(|part| part.shard == name && documents.range.contains(&part.document));
        rows.push(found);
        Ok(())
    })?;
    Ok(rows)
}

/// Where a document lies in the side that is trained on, if it does.
fn positions(sources: &Sources, documents: &Documents, document: u64) -> Result<Option<Range<u64>>> {
    let (source, shard) = sources.find_shard(&documents.shard)?;
    sources.list()[source].order.positions_of(shard, document)
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { step, row, source, sample, epoch, documents } = self;
        writeln!(f, "step {step}, row {row}: sample {sample} of {source}, epoch {epoch}")?;
        for Part { shard, document, tokens: [start, end], text, .. } in documents {
            writeln!(f, "  {shard}:{document}, tokens {start}..{end}")?;
            if let Some(text) = text {
                writeln!(f, "    {text:?}")?;
            }
        }
        Ok(())
    }
}
