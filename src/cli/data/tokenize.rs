//! `rewarm data tokenize`: text to token shards, and how much the tokens count.
use super::tokenized::print_tokenized;
use crate::cli::common::one_of;
use crate::data::{
    Chat, ChatFiles, Encoding, InputOptions, Inputs, OnError, PlaneKind, Progress, TextFormat, TextTokenizer,
    WeightField, WeightType, tokenize_each, train_bpe,
};
use crate::files::folder_of;
use crate::stop::{self, Idle};
use crate::{Error, Result};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// The field or column with a number by which all tokens of a document count: writes PREFIX.weights, for
    /// data.loss_weights.
    #[arg(long, value_name = "NAME")]
    weights_field: Option<String>,
    /// What weights are stored as: f16, or u8 for whole numbers up to 255.
    #[arg(long, value_name = "TYPE", default_value_t = WeightType::F16, value_parser = one_of::<WeightType>())]
    weights_type: WeightType,
    /// Negative weights are meant: training makes such tokens less likely.
    #[arg(long, requires = "weights_field")]
    unlikelihood: bool,
    /// The field with a conversation, a list of {role, content} or {from, value}: its text is what the chat template makes of
    /// it, and of that only what the assistant says counts, by PREFIX.weights.
    #[arg(long, value_name = "FIELD", conflicts_with = "field")]
    chat: Option<String>,
    /// A template of Jinja [default: the one beside the tokenizer, chat_template.jinja or in tokenizer_config.json]
    #[arg(long, value_name = "FILE", requires = "chat")]
    chat_template: Option<PathBuf>,
    /// Whose messages count, separated by commas [default: what the template marks by {% generation %}, else assistant]
    #[arg(long, value_name = "ROLES", requires = "chat", value_delimiter = ',')]
    train_roles: Vec<String>,
}

/// Runs the command; results go to stdout, progress to stderr.
pub fn run(args: TokenizeArgs) -> Result<()> {
    stop::listen(Idle { code: None, message: "the same command goes on from here" }, None)?;
    let extensions = args.extension.iter().map(|e| e.trim_start_matches('.').to_string()).collect();
    let wanted = wanted_tokenizer(&args)?;
    let plane = plane_kind(&args)?;
    let chat = args.chat.as_ref().map(|field| chat(field, &args, &wanted)).transpose()?.map(Arc::new);
    let weight = plane.zip(args.weights_field).map(|(kind, field)| WeightField { field, kind });
    let (format, on_error) = (args.format, args.on_error);
    let options = InputOptions { extensions, field: args.field, format, on_error, weight, chat };
    let mut inputs = Inputs::find(&args.inputs, &options)?;
    let tokenizer = match wanted {
        Wanted::Given(tokenizer, _) => *tokenizer,
        Wanted::Trained(vocab_size) => {
            inputs.keep_streams(existing_folder(&args.output))?;
            train(&inputs, vocab_size, args.train_mib)?
        }
    };
    let eod = if args.no_eod { None } else { Some(tokenizer.eod(args.eod_token.as_deref())?) };
    let mut documents = inputs.documents();
    let mut progress = Progress::following("tokenizing", inputs.bytes(), documents.consumed());
    let mut counts = documents.token_counts();
    let encoding = Encoding { tokenizer: &tokenizer, eod, plane };
    let result = tokenize_each(documents.weighed(), encoding, &args.output, &mut |bytes, tokens| {
        progress.add(bytes);
        counts.add(tokens);
    });
    progress.finish();
    print_tokenized(&args.output, &result?, &documents, counts.tokens())
}

/// Which weights are written beside the tokens; none where nobody asks.
fn plane_kind(args: &TokenizeArgs) -> Result<Option<PlaneKind>> {
    let asked = args.weights_field.is_some() || args.chat.is_some();
    if !asked && args.weights_type != WeightType::F16 {
        return Err(Error::refused(
            "--weights-type says how weights are stored; name them with --weights-field or --chat",
        ));
    }
    Ok(asked.then_some(PlaneKind { weights: args.weights_type, unlikelihood: args.unlikelihood }))
}

fn chat(field: &str, args: &TokenizeArgs, wanted: &Wanted) -> Result<Chat> {
    let folder = match wanted {
        Wanted::Given(_, folder) => Some(folder.as_path()),
        Wanted::Trained(_) => None,
    };
    Chat::new(field, ChatFiles::find(args.chat_template.as_deref(), folder)?, &args.train_roles)
}

enum Wanted {
    /// One, and the folder it is in.
    Given(Box<TextTokenizer>, PathBuf),
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
    let folder = if given.is_dir() { given.as_path() } else { folder_of(given) };
    Ok(Wanted::Given(Box::new(TextTokenizer::load(given)?), folder.to_path_buf()))
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
