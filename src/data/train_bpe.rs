//! A byte-level BPE vocabulary of one's own, of the same kind as Pythia's.
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, Trainer};

use super::fast_bpe::spelled_words;
use super::text_tokenizer::{END_OF_TEXT, TextTokenizer};
use crate::{Error, Result};

/// 256 bytes and `<|endoftext|>`.
pub const VOCAB_MIN: u32 = 257;

/// Learns a vocabulary of at most `vocab_size` tokens: `<|endoftext|>` is 0 as in Pythia's, then the 256 bytes, then
/// merges seen at least twice. Text with too few different words gives a smaller vocabulary. The result depends on
/// the texts only, not on their order or the number of threads.
pub fn train_bpe(
    mut texts: impl Iterator<Item = Result<String>> + Send,
    vocab_size: u32,
) -> Result<TextTokenizer> {
    train_on(&mut texts, vocab_size)
}

/// Compiled once, whatever iterator the texts come from.
fn train_on(
    texts: &mut (dyn Iterator<Item = Result<String>> + Send),
    vocab_size: u32,
) -> Result<TextTokenizer> {
    if vocab_size < VOCAB_MIN {
        return Err(Error::refused(format!(
            "a vocabulary of {vocab_size} tokens was asked for, expected at least {VOCAB_MIN}: 256 bytes and {END_OF_TEXT}"
        )));
    }
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size as usize)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut error = None;
    let texts = texts.map_while(|text| text.map_err(|e| error = Some(e)).ok());
    // The library's own splitter gives the same words, many times slower.
    let fed = trainer.feed(texts, |text| Ok(spelled_words(text)));
    if let Some(e) = error {
        return Err(e);
    }
    let tokenizer = fed
        .and_then(|()| assemble(&trainer))
        .map_err(|e| Error::failed(format!("training the tokenizer failed: {e}")))?;
    let json =
        tokenizer.to_string(true).map_err(|e| Error::failed(format!("cannot write the tokenizer: {e}")))?;
    TextTokenizer::from_json(json.into_bytes())
}

fn assemble(trainer: &BpeTrainer) -> tokenizers::Result<Tokenizer> {
    let mut model = BPE::default();
    let special = trainer.train(&mut model)?;
    let byte_level = || ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(byte_level()));
    tokenizer.with_decoder(Some(byte_level()));
    tokenizer.with_post_processor(Some(byte_level()));
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer)
}
