//! The work before and after the runs: tokenizer, shards, and text from the models.
use super::corpus::Side;
use super::recipe::Recipe;
use crate::Result;
use crate::data::{Progress, TextTokenizer, TokenizedInfo, tokenize_documents, train_bpe};
use crate::device::DeviceName;
use crate::generate::{Generator, Sampling};
use crate::train::OpenModel;
use std::path::Path;

/// Trains one vocabulary on the first documents of both sides, so that neither is spelled in the other's words.
pub fn tokenizer(sides: [&Side; 2], recipe: &Recipe) -> Result<TextTokenizer> {
    let texts = sides.into_iter().flat_map(|side| {
        let mut left = recipe.tokenizer_bytes;
        side.train.iter().take_while(move |text| {
            let more = left > 0;
            left = left.saturating_sub(text.len());
            more
        })
    });
    let texts: Vec<Result<String>> = texts.map(|text| Ok(text.clone())).collect();
    train_bpe(texts.into_iter(), recipe.vocab_size)
}

/// Writes `data/NAME` and `data/NAME-validation`; what is said of the first comes back.
pub fn write_side(dir: &Path, name: &str, side: Side, tokenizer: &TextTokenizer) -> Result<TokenizedInfo> {
    let eod = Some(tokenizer.eod(None)?);
    let write = |name: String, texts: Vec<String>| {
        let prefix = dir.join("data").join(name);
        tokenize_documents(texts.into_iter().map(Ok), tokenizer, eod, &prefix, &mut Progress::hidden())
    };
    write(format!("{name}-validation"), side.validation)?;
    write(name.to_string(), side.train)
}

/// A text that the model of a run continues.
pub fn continue_text(run_dir: &Path, prompt: &str, seed: u64) -> Result<String> {
    let source = OpenModel::open(run_dir)?;
    let tokenizer = TextTokenizer::load(source.dir())?;
    let longest = source.config().max_position_embeddings;
    let mut tokens = tokenizer.encode(prompt)?;
    tokens.truncate(longest / 2);
    let mut generator = Generator::load(&source, longest, DeviceName::Cpu)?;
    let sampling = Sampling { temperature: 0.7, top_k: 0, top_p: 0.95, seed };
    let (count, ends) = (longest - tokens.len(), source.end_tokens()?);
    let mut new = Vec::with_capacity(count);
    generator.generate(&tokens, count, sampling, &ends, |token| {
        new.push(token);
        true
    })?;
    tokens.extend(new);
    // The last token may be the first bytes of a character.
    Ok(tokenizer.decode(&tokens)?.trim_end_matches('\u{fffd}').trim_end().to_string())
}
