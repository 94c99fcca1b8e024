//! Text to token ids and back: a `tokenizer.json` with its identity.
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_128;

use super::fast_bpe::{FastBpe, WordCache, cut_after, failed};
use crate::{Error, Result};

/// The token that ends a document in GPT-2, GPT-NeoX and Pythia vocabularies.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A longer text is encoded in parallel pieces of about this size.
const PIECE_BYTES: usize = 1 << 18;

/// A tokenizer of Hugging Face's `tokenizers`, shared freely between threads.
pub struct TextTokenizer {
    inner: Tokenizer,
    fast: Option<FastBpe>,
    json: Vec<u8>,
    vocab_size: u32,
    /// One per thread that encodes; taken and given back.
    caches: Mutex<Vec<WordCache>>,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`, or the one in a folder.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            path.push("tokenizer.json");
        }
        let json = std::fs::read(&path).map_err(Error::input("read", &path))?;
        Self::from_json(json).map_err(|e| Error::refused(format!("{}: {e}", path.display())))
    }

    /// From the content of a `tokenizer.json`.
    pub fn from_json(json: Vec<u8>) -> Result<Self> {
        // The library panics on merges that lead out of the vocabulary.
        let inner = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(&json)))
            .map_err(|_| "its merges do not fit its vocabulary".to_string())
            .and_then(|result| result.map_err(|e| e.to_string()))
            .map_err(|e| {
                Error::refused(format!("not a valid tokenizer.json ({e}); download or train it again"))
            })?;
        let largest = inner.get_vocab(true).into_values().max();
        let Some(vocab_size) = largest.and_then(|id| id.checked_add(1)) else {
            return Err(Error::refused("the tokenizer has no usable vocabulary; download or train it again"));
        };
        let fast = FastBpe::recognise(&inner);
        Ok(Self { inner, fast, json, vocab_size, caches: Mutex::default() })
    }

    /// One more than the largest id: the smallest vocabulary of a model that can be fed with it.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// XXH3-128 of the `tokenizer.json`.
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.json)
    }

    /// The content of the `tokenizer.json`.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Whether the fast path is used; ids are the same either way.
    pub fn is_fast(&self) -> bool {
        self.fast.is_some()
    }

    /// Ids of a text. Nothing is added at its ends; added tokens spelled out in it become their ids.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let Some(fast) = &self.fast else { return self.encode_slow(text) };
        if text.len() <= 2 * PIECE_BYTES || !fast.cuttable {
            return self.encode_piece(fast, text);
        }
        let pieces: Vec<Vec<u32>> = pieces(text)
            .into_par_iter()
            .map(|piece| self.encode_piece(fast, piece))
            .collect::<Result<_>>()?;
        Ok(pieces.concat())
    }

    fn encode_piece(&self, fast: &FastBpe, text: &str) -> Result<Vec<u32>> {
        let mut cache = self.lock().pop().unwrap_or_default();
        let mut ids = Vec::with_capacity(text.len() / 3);
        let result = fast.encode(&self.inner, text, &mut cache, &mut ids);
        self.lock().push(cache);
        result.map(|()| ids)
    }

    /// As `encode`, always by the library: what the fast path is compared with.
    pub fn encode_slow(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// The text of `ids`. Bytes that are not UTF-8 become U+FFFD; ids outside the vocabulary give nothing.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, false)
            .map_err(|e| Error::refused(format!("cannot decode tokens: {e}; check tokenizer.json")))
    }

    /// The id that ends a document: of `name`, or of `<|endoftext|>`. Refused when there is no such token.
    pub fn eod(&self, name: Option<&str>) -> Result<u32> {
        let name = name.unwrap_or(END_OF_TEXT);
        self.inner.token_to_id(name).ok_or_else(|| {
            Error::refused(format!(
                "the tokenizer has no token {name:?} to end documents with; name one that it has (--eod-token), or leave \
                 documents unmarked (--no-eod)"
            ))
        })
    }

    /// Refused when an id of the tokenizer is outside a model's vocabulary.
    pub fn check_fits(&self, model_vocab: u32) -> Result<()> {
        if self.vocab_size <= model_vocab {
            return Ok(());
        }
        Err(Error::refused(format!(
            "the tokenizer has ids up to {}, the model's vocabulary has {model_vocab} rows (0..{model_vocab}); use the \
             tokenizer the model was made with, or a model with a larger vocabulary",
            self.vocab_size - 1
        )))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<WordCache>> {
        // A cache is complete after every word, so a panic elsewhere leaves nothing half done.
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A long text in pieces that can be encoded alone.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        // The cut lies before an ASCII space, so it is a character boundary.
        let (piece, after) = rest.split_at(cut_after(rest, PIECE_BYTES));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("vocab_size", &self.vocab_size)
            .field("hash", &format_args!("{:032x}", self.hash()))
            .field("fast", &self.is_fast())
            .finish()
    }
}
