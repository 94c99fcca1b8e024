//! The note that `data tokenize` leaves beside a shard: `<prefix>.json`.
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::hashes::ContentHashes;
use super::megatron::with_suffix;
use super::plane::NotedWeights;
use crate::{Error, Result};

/// What a shard was made from and with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizedInfo {
    /// Version of this note, 1. Its presence marks the file as ours.
    pub rewarm_tokenized: u32,
    /// XXH3-128 of the bytes of the `tokenizer.json`, 32 hexadecimal digits.
    pub tokenizer_hash: String,
    /// `TextTokenizer::identity`; older notes have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_identity: Option<String>,
    /// One more than the largest id of the tokenizer.
    pub vocab_size: u32,
    /// The token appended to each document.
    pub eod: Option<u32>,
    /// The stored integer type.
    pub dtype: String,
    /// Bytes of text (UTF-8, after JSON is decoded) that became tokens: of the documents written.
    pub input_bytes: u64,
    /// Number of documents that were written.
    pub documents: u64,
    /// Documents left out because their text gives no token.
    #[serde(default)]
    pub without_tokens: u64,
    /// Tokens written, end-of-document tokens included.
    pub tokens: u64,
    /// Hashes of the files as they were written; older notes have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentHashes>,
    /// The plane of weights that belongs to the shard, `<prefix>.weights`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<NotedWeights>,
}

impl TokenizedInfo {
    /// The note of the shard `prefix`.bin; `None` when there is none, or when `prefix`.json is something else.
    pub fn load(prefix: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = with_suffix(prefix.as_ref(), ".json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::input("read", &path)(e)),
        };
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text) else { return Ok(None) };
        if value.get("rewarm_tokenized").is_none() {
            return Ok(None);
        }
        let info: Self = serde_json::from_value(value).map_err(|e| {
            Error::refused(format!(
                "{}: {e}; the note is damaged, tokenize again or remove it",
                path.display()
            ))
        })?;
        if info.rewarm_tokenized != 1 {
            return Err(Error::refused(format!(
                "{} has version {}, expected 1; read it with the rewarm that wrote it",
                path.display(),
                info.rewarm_tokenized
            )));
        }
        Ok(Some(info))
    }

    /// Whether both shards were made with the same tokenizer, as far as the notes alone can say it.
    pub(crate) fn is_of_one_tokenizer_with(&self, other: &Self) -> bool {
        let identity = |info: &Self| info.tokenizer_identity.clone();
        self.tokenizer_hash == other.tokenizer_hash
            || identity(self).is_some_and(|own| identity(other) == Some(own))
    }

    /// Bytes of text per token, end-of-document tokens included.
    pub fn bytes_per_token(&self) -> f64 {
        self.input_bytes as f64 / self.tokens.max(1) as f64
    }
}
