//! `rewarm data tokenize`: text to token shards.
use crate::cli::common::one_of;
use crate::console::print;
use crate::data::{
    Documents, InputOptions, Inputs, OnError, Progress, TextFormat, TextTokenizer, TokenizedInfo,
    tokenize_each, train_bpe,
};
use crate::files::write_whole;
use crate::stop::{self, Idle};
use crate::{Error, Result};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `rewarm data tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Text, JSON and JSON lines, plain or packed as .gz or .zst, and Parquet: files, folders, pipes; - is the standard input.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Where to write: PREFIX.bin, .idx, .hashes and .json, and tokenizer.json in the same folder. Stopped or killed, the same
    /// command goes on from what PREFIX.bin.part keeps.
    #[arg(short, long, value_name = "PREFIX")]
    output: PathBuf,
    /// A Hugging Face tokenizer.json, or the folder it is in [default: the one where the output goes]
    #[arg(long, value_name = "FILE", conflicts_with = "vocab_size")]
    tokenizer: Option<PathBuf>,
    /// Train a byte-level BPE of N tokens on the input.
    #[arg(long, value_name = "N")]
    vocab_size: Option<u32>,
    /// Train the BPE on the first N MiB of the input.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "vocab_size")]
    train_mib: u64,
    /// The token that ends a document [default: <|endoftext|>].
    #[arg(long, value_name = "TOKEN", conflicts_with = "no_eod")]
    eod_token: Option<String>,
    /// Do not mark the ends of documents.
    #[arg(long)]
    no_eod: bool,
    /// From folders take only files with this extension (may be repeated).
    #[arg(long, value_name = "EXT")]
    extension: Vec<String>,
    /// The field of JSON objects, or the column of Parquet, that holds the text; dots lead into objects, as in meta.text.
    #[arg(long, default_value = "text")]
    field: String,
    /// Lines without a text, and files in folders that cannot be read: skip and count them, or stop at the first.
    #[arg(long, value_name = "WHAT", default_value_t = OnError::Skip, value_parser = one_of::<OnError>())]
    on_error: OnError,
    /// How documents lie in files: auto (by name and content), text (a file is one), jsonl (a line is one), json.
    #[arg(long, default_value_t = TextFormat::Auto, value_parser = one_of::<TextFormat>())]
    format: TextFormat,
}

/// Runs the command; results go to stdout, progress to stderr.
pub fn run(args: TokenizeArgs) -> Result<()> {
    stop::listen(Idle { code: None, message: "the same command goes on from here" }, None)?;
    let extensions = args.extension.iter().map(|e| e.trim_start_matches('.').to_string()).collect();
    let wanted = wanted_tokenizer(&args)?;
    let options =
        InputOptions { extensions, field: args.field, format: args.format, on_error: args.on_error };
    let mut inputs = Inputs::find(&args.inputs, &options)?;
    let tokenizer = match wanted {
        Wanted::Given(tokenizer) => *tokenizer,
        Wanted::Trained(vocab_size) => {
            inputs.keep_streams(existing_folder(&args.output))?;
            train(&inputs, vocab_size, args.train_mib)?
        }
    };
    let eod = if args.no_eod { None } else { Some(tokenizer.eod(args.eod_token.as_deref())?) };
    let mut documents = inputs.documents();
    let mut progress = Progress::following("tokenizing", inputs.bytes(), documents.consumed());
    let mut counts = documents.token_counts();
    let result = tokenize_each(&mut documents, &tokenizer, eod, &args.output, &mut |bytes, tokens| {
        progress.add(bytes);
        counts.add(tokens);
    });
    progress.finish();
    print_tokenized(&args.output, &result?, &documents, counts.tokens())
}

enum Wanted {
    Given(Box<TextTokenizer>),
    /// One of that many tokens.
    Trained(u32),
}

/// The tokenizer that is named, or the one of the folder where the output goes. One that is trained to be refused there
/// is refused before.
fn wanted_tokenizer(args: &TokenizeArgs) -> Result<Wanted> {
    let beside = args.output.with_file_name("tokenizer.json");
    let given = match (&args.tokenizer, args.vocab_size) {
        (Some(named), _) => named,
        (None, Some(_)) if beside.exists() => {
            return Err(Error::refused(format!(
                "--vocab-size trains a tokenizer, and {} is there already; leave --vocab-size out to use that one, or write \
                 to another folder",
                beside.display()
            )));
        }
        (None, Some(vocab_size)) => return Ok(Wanted::Trained(vocab_size)),
        (None, None) if !beside.exists() => return Err(no_tokenizer(args)),
        (None, None) => {
            // Nobody may be listening.
            let _ = writeln!(std::io::stderr(), "tokenizer: {}, where the output goes", beside.display());
            &beside
        }
    };
    Ok(Wanted::Given(Box::new(TextTokenizer::load(given)?)))
}

fn no_tokenizer(args: &TokenizeArgs) -> Error {
    let input = args.inputs.first().map_or("TEXT".into(), |path| path.display().to_string());
    let command = format!("rewarm data tokenize {input} -o {}", args.output.display());
    Error::refused(format!(
        "no tokenizer was named; use that of the model that will be trained: `{command} --tokenizer MODEL/tokenizer.json`, \
         or train one on the texts for a new model: `{command} --vocab-size 8192`"
    ))
}

/// The nearest folder above that is there.
fn existing_folder(path: &Path) -> &Path {
    let above = path.ancestors().skip(1).find(|folder| folder.is_dir());
    above.unwrap_or(Path::new("."))
}

fn train(inputs: &Inputs, vocab_size: u32, train_mib: u64) -> Result<TextTokenizer> {
    let limit = train_mib.saturating_mul(1 << 20);
    let total = inputs.bytes().map_or(limit, |bytes| bytes.min(limit));
    let mut progress = Progress::bytes("training the tokenizer", total);
    let mut seen = 0u64;
    let texts = inputs.documents().take_while(|text| {
        let goes_on = seen < limit;
        let bytes = text.as_ref().map_or(0, |t| t.len() as u64);
        seen = seen.saturating_add(bytes);
        progress.add(bytes);
        goes_on
    });
    let tokenizer = train_bpe(texts, vocab_size);
    progress.finish();
    tokenizer
}

fn print_tokenized(prefix: &Path, info: &TokenizedInfo, documents: &Documents, tokens: &[u64]) -> Result<()> {
    let mut lines = Vec::new();
    lines.push(format!(
        "{}.bin and .idx: {} documents, {} tokens ({})",
        prefix.display(),
        info.documents,
        info.tokens,
        info.dtype
    ));
    lines.push(format!(
        "from {} files, {} bytes of text: {:.3} bytes per token, ends of documents included; vocabulary {}",
        documents.files(),
        info.input_bytes,
        info.bytes_per_token(),
        info.vocab_size
    ));
    if info.without_tokens > 0 {
        lines.push(format!("left out: {} documents whose text gives no token", info.without_tokens));
    }
    lines.extend(documents.left_out().lines().iter().map(|line| format!("left out: {line}")));
    lines.extend(documents.mended().lines().iter().map(|line| format!("changed: {line}")));
    if documents.sources().len() > 1 {
        lines.extend(documents.sources().iter().zip(tokens).map(|(source, tokens)| {
            let dropped =
                if source.dropped > 0 { format!(", {} dropped", source.dropped) } else { String::new() };
            format!(
                "{}: {} documents, {tokens} tokens, {} bytes of text{dropped}",
                source.path.display(),
                source.documents,
                source.bytes
            )
        }));
    }
    lines.extend(write_dropped(prefix, documents)?);
    print(&lines.join("\n"))
}

/// Writes down, beside a shard, which lines gave no document, and says where; nothing where all did.
fn write_dropped(prefix: &Path, documents: &Documents) -> Result<Option<String>> {
    if documents.dropped().is_empty() {
        return Ok(None);
    }
    let mut name = prefix.as_os_str().to_owned();
    name.push(".dropped.jsonl");
    let path = PathBuf::from(name);
    let mut text = String::new();
    for dropped in documents.dropped() {
        let line = serde_json::to_string(dropped)
            .map_err(|e| Error::failed(format!("cannot write {}: {e}", path.display())))?;
        text += &line;
        text.push('\n');
    }
    write_whole(&path, text.as_bytes())?;
    let all: u64 = documents.sources().iter().map(|source| source.dropped).sum();
    let kept = documents.dropped().len() as u64;
    let first = if kept < all { format!("the first {kept} of ") } else { String::new() };
    Ok(Some(format!("{}: file, line and reason of {first}{all} dropped lines", path.display())))
}
