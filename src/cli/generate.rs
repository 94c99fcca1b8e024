//! `rewarm generate`: text that continues a prompt.
use super::common::with_threads;
use super::tokenizer::of_model;
use crate::data::TextTokenizer;
use crate::device::{self, DeviceName};
use crate::generate::{Generator, Sampling};
use crate::model::TokenIds;
use crate::train::OpenModel;
use crate::{Error, Result};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `rewarm generate`.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// Hugging Face directory, run directory (its newest step) or step directory
    model: PathBuf,
    /// Text to continue; empty: a new one
    #[arg(long, default_value = "\n")]
    prompt: String,
    /// New tokens at most [default: 128, or what the model's context has room for]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Divides the logits; 0 always takes the most likely token
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Only the K most likely tokens; 0: all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Only the most likely tokens that together reach probability P
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Key of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A tokenizer.json [default: the one beside the model]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Where to compute: cpu, cuda:N, emulated, auto
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Threads; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the command.
pub fn run(args: &GenerateArgs) -> Result<()> {
    with_threads(args.threads, || generate(args))
}

fn generate(args: &GenerateArgs) -> Result<()> {
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    sampling.validate()?;
    let (tokenizer, prompt, mut generator, ends) = OpenModel::read(&args.model, |source| load(args, source))?;
    let mut out = std::io::stdout().lock();
    let mut printed = Printer { tokenizer: &tokenizer, tokens: prompt.clone(), shown: String::new() };
    write_out(&mut out, &args.prompt)?;
    printed.shown = tokenizer.decode(&prompt)?;
    let mut failure = None;
    let count = generator.longest() - prompt.len();
    generator.generate(&prompt, count, sampling, &ends, |token| {
        match printed.push(token).and_then(|text| write_out(&mut out, &text)) {
            Ok(()) => true,
            Err(e) => {
                failure = Some(e);
                false
            }
        }
    })?;
    write_out(&mut out, "\n")?;
    failure.map_or(Ok(()), Err)
}

/// The tokenizer, the prompt in tokens, the model, and the tokens that end a text.
fn load(args: &GenerateArgs, source: &OpenModel) -> Result<(TextTokenizer, Vec<u32>, Generator, TokenIds)> {
    let Some(tokenizer) = of_model(source, args.tokenizer.as_deref())? else {
        return Err(Error::refused(format!(
            "there is no tokenizer.json in {}; name the model's with --tokenizer FILE",
            source.dir().display()
        )));
    };
    tokenizer.check_fits(source.config().vocab_size as u32)?;
    let ends = source.end_tokens()?;
    let mut prompt = tokenizer.encode(&args.prompt)?;
    if prompt.is_empty() {
        // The beginning of a text, for models that were trained on documents with a token between them.
        let begins = source.config().bos_token_id.or(ends.as_slice().first().copied());
        prompt.extend(begins);
    }
    if prompt.is_empty() {
        return Err(Error::refused(
            "--prompt gives no token, and the model's config.json names none that texts begin or end with; give a prompt",
        ));
    }
    let room = source.config().max_position_embeddings.saturating_sub(prompt.len()).max(1);
    let longest = prompt.len() + args.max_tokens.unwrap_or(room.min(128));
    let generator = Generator::load(source, longest, device::resolve(args.device))?;
    Ok((tokenizer, prompt, generator, ends))
}

/// Turns tokens into text as they come: a character may take several tokens.
struct Printer<'a> {
    tokenizer: &'a TextTokenizer,
    tokens: Vec<u32>,
    shown: String,
}

impl Printer<'_> {
    /// What the token adds to the text; empty while a character is incomplete.
    fn push(&mut self, token: u32) -> Result<String> {
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens)?;
        match text.strip_prefix(&self.shown) {
            Some(new) if !new.ends_with('\u{fffd}') => {
                let new = new.to_string();
                self.shown = text;
                Ok(new)
            }
            _ => Ok(String::new()),
        }
    }
}

fn write_out(out: &mut impl Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("write", "standard output"))
}
