//! Encodes with GPT-2 style byte-level BPE (GPT-2, GPT-NeoX, Pythia, our own) many times faster than `tokenizers`,
//! to the same ids.
//!
//! Two things cost the time there: a backtracking regular expression, and strings with alignments that nobody reads.
//! Here the split is `words.rs`, and words already seen are looked up; a new word is merged by `tokenizers`' own model.
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::{Model, NormalizedString, Normalizer, PreTokenizerWrapper, Tokenizer};
use xxhash_rust::xxh3::xxh3_64;

use super::words::Words;
use crate::{Error, Result};

/// Words remembered per thread, and the longest of them in bytes: at most about 20 MB.
const CACHE_WORDS: usize = 1 << 16;
const CACHE_WORD_BYTES: usize = 64;

/// What the fast path needs to know of a tokenizer.
#[derive(Debug)]
pub(crate) struct FastBpe {
    nfc: bool,
    /// Added tokens looked for before normalization.
    raw: AddedTokens,
    /// Added tokens looked for after it.
    normalized: AddedTokens,
    /// Whether the text may be cut before a space that follows a non-space and the pieces encoded alone: no word, no
    /// composition of NFC and no added token reaches over such a place.
    pub(crate) cuttable: bool,
    /// GPT-2's printable stand-in for each byte.
    stand_in: [char; 256],
}

impl FastBpe {
    /// `None` unless the tokenizer is exactly of the kind that is proven equal by the tests here.
    pub(crate) fn recognise(tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return None };
        let Some(PreTokenizerWrapper::ByteLevel(split)) = tokenizer.get_pre_tokenizer() else { return None };
        let nfc = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        debug_assert!(
            bpe.dropout.is_none() && tokenizer.get_post_processor().is_none(),
            "switched off before"
        );
        if !split.use_regex || split.add_prefix_space || tokenizer.get_encode_special_tokens() {
            return None;
        }
        let (mut raw, mut normalized) = (AddedTokens::default(), AddedTokens::default());
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            if token.single_word || token.lstrip || token.rstrip || token.content.is_empty() {
                return None;
            }
            // A content that NFC would change has two spellings; leave such a tokenizer to the library.
            if token.normalized && nfc && !is_nfc(&token.content) {
                return None;
            }
            if token.normalized { &mut normalized } else { &mut raw }.tokens.push((token.content, id));
        }
        let reaches_over =
            |tokens: &AddedTokens| tokens.tokens.iter().any(|(text, _)| cut_after(text, 0) < text.len());
        let cuttable = !reaches_over(&raw) && !reaches_over(&normalized);
        Some(Self { nfc, raw: raw.ready(), normalized: normalized.ready(), cuttable, stand_in: stand_ins() })
    }

    /// Appends the ids of `text` to `out`.
    pub(crate) fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        cache: &mut WordCache,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        self.raw.split(text, out, |text, out| {
            if !self.nfc || is_nfc(text) {
                return self.encode_normalized(tokenizer, text, cache, out);
            }
            let mut normalized = NormalizedString::from(text);
            if let Some(normalizer) = tokenizer.get_normalizer() {
                normalizer.normalize(&mut normalized).map_err(failed)?;
            }
            self.encode_normalized(tokenizer, normalized.get(), cache, out)
        })
    }

    fn encode_normalized(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        cache: &mut WordCache,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        self.normalized.split(text, out, |text, out| {
            for word in Words::new(text) {
                if cache.get(word, out) {
                    continue;
                }
                let start = out.len();
                let shown: String = word.bytes().map(|b| self.stand_in[usize::from(b)]).collect();
                let tokens = tokenizer.get_model().tokenize(&shown).map_err(failed)?;
                out.extend(tokens.iter().map(|token| token.id));
                cache.put(word, &out[start..]);
            }
            Ok(())
        })
    }
}

pub(crate) fn failed(e: tokenizers::Error) -> Error {
    Error::refused(format!("the tokenizer refuses the text: {e}; check tokenizer.json"))
}

/// The first place after byte `at` (a character boundary) where a space follows a non-space; the end if there is none.
pub(crate) fn cut_after(text: &str, at: usize) -> usize {
    let mut after_word = false;
    for (i, byte) in text.bytes().enumerate().skip(at) {
        let space = matches!(byte, b' ' | b'\n');
        if space && after_word {
            return i;
        }
        // A byte above 127 may end a Unicode space: not a place to cut.
        after_word = byte.is_ascii_graphic();
    }
    text.len()
}

/// True only for text that NFC leaves alone: below U+0300 nothing combines and nothing decomposes under NFC.
fn is_nfc(text: &str) -> bool {
    text.is_ascii() || text.chars().all(|c| c < '\u{300}')
}

/// Strings that are tokens wherever they appear, leftmost first, then longest.
#[derive(Debug, Default)]
struct AddedTokens {
    /// Longest first.
    tokens: Vec<(String, u32)>,
    /// First bytes of all of them, to pass over the rest quickly.
    starts: Vec<u8>,
}

impl AddedTokens {
    fn ready(mut self) -> Self {
        self.tokens.sort_by_key(|(content, id)| (std::cmp::Reverse(content.len()), *id));
        self.starts = self.tokens.iter().filter_map(|(content, _)| content.bytes().next()).collect();
        self.starts.sort_unstable();
        self.starts.dedup();
        self
    }

    /// Pushes the ids of the tokens in `text` and hands what lies between them to `plain`.
    fn split(
        &self,
        text: &str,
        out: &mut Vec<u32>,
        mut plain: impl FnMut(&str, &mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        let (mut done, mut at) = (0, 0);
        while !self.starts.is_empty()
            && let Some(ahead) = text.as_bytes()[at..].iter().position(|b| self.starts.contains(b))
        {
            at += ahead;
            let rest = &text.as_bytes()[at..];
            match self.tokens.iter().find(|(content, _)| rest.starts_with(content.as_bytes())) {
                Some((content, id)) => {
                    plain(&text[done..at], out)?;
                    out.push(*id);
                    at += content.len();
                    done = at;
                }
                None => at += 1,
            }
        }
        plain(&text[done..], out)
    }
}

/// The words of a text in GPT-2's printable spelling: what BPE is trained on.
pub(crate) fn spelled_words(text: &str) -> Vec<String> {
    static STAND_IN: LazyLock<[char; 256]> = LazyLock::new(stand_ins);
    Words::new(text).map(|word| word.bytes().map(|b| STAND_IN[usize::from(b)]).collect()).collect()
}

/// GPT-2's table: printable Latin-1 bytes stand for themselves, the others for U+0100 and up, in order.
fn stand_ins() -> [char; 256] {
    let mut next = 256u32;
    std::array::from_fn(|byte| {
        let own = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        if own {
            return char::from(byte as u8);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}

/// Ids of words already encoded. Emptied when full, so its memory is bounded on any text.
#[derive(Debug, Default)]
pub(crate) struct WordCache {
    /// Word to its range in `ids`.
    words: HashMap<Box<str>, (u32, u32), BuildHasherDefault<WordHasher>>,
    ids: Vec<u32>,
}

impl WordCache {
    // Asked for every word: as a call of its own it is 4 % of what tokenizing executes.
    #[inline(always)]
    fn get(&self, word: &str, out: &mut Vec<u32>) -> bool {
        let Some(&(start, end)) = self.words.get(word) else { return false };
        out.extend_from_slice(&self.ids[start as usize..end as usize]);
        true
    }

    fn put(&mut self, word: &str, ids: &[u32]) {
        if word.len() > CACHE_WORD_BYTES {
            return;
        }
        if self.words.len() >= CACHE_WORDS {
            self.words.clear();
            self.ids.clear();
        }
        // At most 2^16 words of 64 bytes, and no word has more ids than bytes: 2^22 ids.
        let start = self.ids.len() as u32;
        self.ids.extend_from_slice(ids);
        self.words.insert(word.into(), (start, self.ids.len() as u32));
    }
}

#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    // The end mark of `str`: says nothing about the word.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
