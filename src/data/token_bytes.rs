//! How many bytes of text each token stands for: what turns the loss of any part of a text into bits per byte.
//!
//! Exact where a tokenizer is byte-level BPE (GPT-2, GPT-NeoX, Pythia, our own): there every token is a run of bytes. Of
//! other kinds nothing is said here, since their tokens do not add up to the text.
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::corpus::Corpus;
use super::text_tokenizer::{END_OF_TEXT, TextTokenizer};
use super::tokenized::TokenizedInfo;
use crate::files::folder_of;
use crate::{Error, Result};

/// No token has this id.
const UNKNOWN: u32 = u32::MAX;

/// Bytes of text by id. What marks an end or is special stands for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBytes(Vec<u32>);

impl TokenBytes {
    /// Of a `tokenizer.json`; `ends` are the tokens appended to documents. `None` unless it is byte-level BPE that keeps
    /// every byte of a text (NFC, as Pythia has it, counts the bytes of the normalized text).
    pub fn new(json: &[u8], ends: &[u32]) -> Option<Self> {
        let json: Value = serde_json::from_slice(json).ok()?;
        let model = &json["model"];
        let absent = |value: &Value| value.is_null() || value == "";
        let plain = model["type"] == "BPE"
            && model["byte_fallback"] != true
            && absent(&model["continuing_subword_prefix"])
            && absent(&model["end_of_word_suffix"])
            && keeps_bytes(&json["normalizer"], "normalizers", &|n| n["type"] == "NFC")
            && !json["decoder"].is_null()
            && keeps_bytes(&json["decoder"], "decoders", &|d| d["type"] == "ByteLevel")
            && keeps_bytes(&json["pre_tokenizer"], "pretokenizers", &splits_only)
            && json["pre_tokenizer"].to_string().contains("\"ByteLevel\"");
        if !plain {
            return None;
        }
        let mut bytes = Vec::new();
        let mut set = |id: u64, length: usize| -> Option<()> {
            let (id, length) = (usize::try_from(id).ok()?, u32::try_from(length).ok()?);
            // An id far beyond the vocabulary is damage.
            if id >= 1 << 28 {
                return None;
            }
            if bytes.len() <= id {
                bytes.resize(id + 1, UNKNOWN);
            }
            bytes[id] = length;
            Some(())
        };
        for (token, id) in model["vocab"].as_object()? {
            // One character for each byte.
            set(id.as_u64()?, token.chars().count())?;
        }
        let mut ends: Vec<u64> = ends.iter().map(|id| u64::from(*id)).collect();
        for token in json["added_tokens"].as_array()? {
            let (id, content) = (token["id"].as_u64()?, token["content"].as_str()?);
            let marks = token["special"] == true || ends.contains(&id);
            // Such a token takes blanks with it that it does not spell.
            if !marks && (token["lstrip"] == true || token["rstrip"] == true) {
                return None;
            }
            set(id, if marks { 0 } else { content.len() })?;
            ends.retain(|end| *end != id);
        }
        if let Some(id) = model["vocab"][END_OF_TEXT].as_u64().filter(|id| ends.contains(id)) {
            set(id, 0)?;
            ends.retain(|end| *end != id);
        }
        // An end that texts contain, too: which of both an id is cannot be told.
        ends.is_empty().then_some(Self(bytes))
    }

    /// Of the `tokenizer.json` beside the shards, where all of them were made with it by `data tokenize`; else of `known`,
    /// the tokenizer of the model that reads them.
    pub fn of_corpus(corpus: &Corpus, known: Option<&TextTokenizer>) -> Result<Option<Self>> {
        let notes = corpus.tokenized()?;
        let mut ends: Vec<u32> = notes.iter().flatten().filter_map(|note| note.eod).collect();
        if let Some(json) = json_beside(corpus, &notes)? {
            return Ok(Self::new(&json, &ends));
        }
        let Some(known) = known else { return Ok(None) };
        if notes.iter().any(Option::is_none) {
            // What a shard from elsewhere ends its documents with, where the tokenizer has it.
            ends.extend(known.eod(None));
        }
        Ok(Self::new(known.json(), &ends))
    }

    /// Bytes of text that `tokens` stand for; `None` where one is not of the tokenizer.
    pub fn sum(&self, tokens: &[u32]) -> Option<u64> {
        tokens.iter().try_fold(0, |sum, token| {
            let bytes = self.0.get(*token as usize).filter(|bytes| **bytes != UNKNOWN)?;
            Some(sum + u64::from(*bytes))
        })
    }
}

/// The `tokenizer.json` beside the shards, where all have a note and it is the one that the notes name.
fn json_beside(corpus: &Corpus, notes: &[Option<TokenizedInfo>]) -> Result<Option<Vec<u8>>> {
    let Some(notes) = notes.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let Some(first) = notes.first() else { return Ok(None) };
    if !notes.iter().all(|note| note.is_of_one_tokenizer_with(first)) {
        return Ok(None);
    }
    let mut before = None;
    for shard in corpus.shards() {
        let path = folder_of(shard.path()).join("tokenizer.json");
        if before.as_ref() == Some(&path) {
            continue;
        }
        match std::fs::read(&path) {
            Ok(json) if format!("{:032x}", xxh3_128(&json)) == first.tokenizer_hash => return Ok(Some(json)),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::input("read", &path)(e)),
            _ => before = Some(path),
        }
    }
    Ok(None)
}

/// Whether a part of a tokenizer, or each in its sequence, is one that `keeps`. None at all keeps everything.
fn keeps_bytes(part: &Value, list: &str, keeps: &dyn Fn(&Value) -> bool) -> bool {
    match part["type"].as_str() {
        None => part.is_null(),
        Some("Sequence") => {
            part[list].as_array().is_some_and(|parts| parts.iter().all(|p| keeps_bytes(p, list, keeps)))
        }
        Some(_) => keeps(part),
    }
}

/// Whether a pre-tokenizer cuts and neither adds nor removes.
fn splits_only(part: &Value) -> bool {
    match part["type"].as_str() {
        Some("ByteLevel") => part["add_prefix_space"] == false,
        Some("Digits") => true,
        Some("Split" | "Punctuation") => part["behavior"] != "Removed",
        _ => false,
    }
}
