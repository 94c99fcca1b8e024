//! A byte-level BPE vocabulary of one's own, of the same kind as Pythia's.
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use super::text_tokenizer::{END_OF_TEXT, TextTokenizer};
use crate::{Error, Result};

/// 256 bytes and `<|endoftext|>`.
pub const VOCAB_MIN: u32 = 257;

/// Learns a vocabulary of at most `vocab_size` tokens: `<|endoftext|>` is 0 as in Pythia's, then the 256 bytes, then
/// merges seen at least twice. Text with too few different words gives a smaller vocabulary. The result depends on
/// the texts only, not on their order or the number of threads.
pub fn train_bpe(
    texts: impl Iterator<Item = Result<String>> + Send,
    vocab_size: u32,
) -> Result<TextTokenizer> {
    if vocab_size < VOCAB_MIN {
        return Err(Error::refused(format!(
            "a vocabulary of {vocab_size} tokens was asked for, expected at least {VOCAB_MIN}: 256 bytes and {END_OF_TEXT}"
        )));
    }
    let byte_level = || ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(byte_level()));
    tokenizer.with_decoder(Some(byte_level()));
    tokenizer.with_post_processor(Some(byte_level()));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(vocab_size as usize)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let mut error = None;
    let texts = texts.map_while(|text| text.map_err(|e| error = Some(e)).ok());
    let trained = tokenizer.train(&mut trainer, texts).map(|_| ());
    if let Some(e) = error {
        return Err(e);
    }
    trained.map_err(|e| Error::failed(format!("training the tokenizer failed: {e}")))?;
    let json =
        tokenizer.to_string(true).map_err(|e| Error::failed(format!("cannot write the tokenizer: {e}")))?;
    debug_assert!(matches!(tokenizer.get_model(), ModelWrapper::BPE(_)));
    TextTokenizer::from_json(json.into_bytes())
}
