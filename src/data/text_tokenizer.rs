//! Text to token ids and back: a `tokenizer.json` with its identity.
use std::collections::BTreeMap;
use std::fmt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use tokenizers::models::ModelWrapper;
use tokenizers::{PostProcessorWrapper, Tokenizer};
use xxhash_rust::xxh3::xxh3_128;

use super::fast_bpe::{FastBpe, WordCache, cut_after, failed};
use super::identity::Identity;
use crate::error::one_line;
use crate::{Error, Result};

/// The token that ends a document in GPT-2, GPT-NeoX and Pythia vocabularies.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A longer text is encoded in parallel pieces of about this size.
const PIECE_BYTES: usize = 1 << 18;

/// No model has more rows in its embedding; ids are far below in every tokenizer there is.
const VOCAB_MAX: u32 = 1 << 24;

/// A tokenizer of Hugging Face's `tokenizers`, shared freely between threads.
///
/// Ids are those of the whole text and nothing else: what the file says of truncation, padding, tokens at the ends and
/// BPE dropout is kept in its content and never done.
pub struct TextTokenizer {
    inner: Tokenizer,
    fast: Option<FastBpe>,
    json: Vec<u8>,
    /// The file it came from.
    path: Option<PathBuf>,
    vocab_size: u32,
    identity: Identity,
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
        Self::from_file(&path, json)
    }

    /// From the content of the `tokenizer.json` at `path`.
    pub fn from_file(path: &Path, json: Vec<u8>) -> Result<Self> {
        let read = Self::from_json(json).map_err(|e| Error::refused(format!("{}: {e}", path.display())))?;
        Ok(Self { path: Some(path.to_path_buf()), ..read })
    }

    /// From the content of a `tokenizer.json`.
    pub fn from_json(json: Vec<u8>) -> Result<Self> {
        let mut inner = parse(&json).map_err(|e| {
            Error::refused(format!("not a valid tokenizer.json ({e}); download or train it again"))
        })?;
        let largest = inner.get_vocab(true).into_values().max();
        let vocab_size = match largest {
            Some(id) if id < VOCAB_MAX => id + 1,
            Some(id) => {
                return Err(Error::refused(format!(
                    "the tokenizer's largest id is {id}, expected less than {VOCAB_MAX}; download or train it again"
                )));
            }
            None => {
                return Err(Error::refused("the tokenizer has no vocabulary; download or train it again"));
            }
        };
        only_encoding(&mut inner);
        let (fast, identity) = (FastBpe::recognise(&inner), Identity::of(&inner)?);
        Ok(Self { inner, fast, json, path: None, vocab_size, identity, caches: Mutex::default() })
    }

    /// One more than the largest id: the smallest vocabulary of a model that can be fed with it.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// XXH3-128 of the bytes of the `tokenizer.json`: what notes and checkpoints of before [`Self::identity`] carry.
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.json)
    }

    /// [`Self::hash`] in 32 hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        format!("{:032x}", self.hash())
    }

    /// Which tokenizer it is, in 32 hexadecimal digits: equal when ids are, whoever wrote the file and however.
    pub fn identity(&self) -> String {
        self.identity.hex()
    }

    /// What two tokenizers differ in, for a person; empty when they are the same one.
    pub fn difference(&self, other: &Self) -> String {
        self.identity.difference(&other.identity)
    }

    /// The first id that both give to tokens that differ, and those tokens.
    pub fn conflict(&self, other: &Self) -> Option<(u32, [String; 2])> {
        let tokens = |of: &Self| -> BTreeMap<u32, String> {
            of.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect()
        };
        let mut theirs = tokens(other);
        tokens(self).into_iter().find_map(|(id, token)| {
            let there = theirs.remove(&id).filter(|there| *there != token)?;
            Some((id, [token, there]))
        })
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        self.path.as_ref().map_or("the tokenizer in use".into(), |path| path.display().to_string())
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

    /// As `encode`, with the byte of the text at which each token begins: of several tokens of one character, that
    /// character's. By the library, which is slower.
    pub fn encode_with_starts(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let encoding = self.inner.encode(text, false).map_err(failed)?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().iter().map(|(start, _)| *start).collect()))
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

/// The library's tokenizer, or why there is none. Its `from_bytes` is generic and would be compiled anew in every crate that
/// calls it; its `from_str` is compiled once.
fn parse(json: &[u8]) -> std::result::Result<Tokenizer, String> {
    let text = str::from_utf8(json).map_err(one_line)?;
    // The library panics on merges that lead out of the vocabulary.
    catch_unwind(|| text.parse())
        .map_err(|_| "its merges do not fit its vocabulary".to_string())?
        .map_err(|e: tokenizers::Error| one_line(e))
}

/// Switches off what a file may ask for besides the ids of a text.
fn only_encoding(tokenizer: &mut Tokenizer) {
    tokenizer.with_truncation(None).expect("only a length can be refused");
    tokenizer.with_padding(None);
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    if let ModelWrapper::BPE(bpe) = tokenizer.get_model()
        && bpe.dropout.is_some()
    {
        let mut bpe = bpe.clone();
        bpe.dropout = None;
        tokenizer.with_model(bpe);
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
            .field("identity", &self.identity())
            .field("fast", &self.is_fast())
            .finish()
    }
}
