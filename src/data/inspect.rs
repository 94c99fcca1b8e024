//! What is in a corpus, without reading it whole.
use rayon::prelude::*;
use serde::Serialize;

use super::corpus::Corpus;
use super::made_with::{USE_ITS_OWN, check_tokenizer};
use super::plane::WeightType;
use super::shard::Shard;
use super::text_tokenizer::TextTokenizer;
use super::weights::open_beside;
use crate::Result;

/// Documents whose lengths are looked at; of a larger corpus, that many evenly spaced ones.
const SAMPLED_DOCUMENTS: u64 = 1 << 20;
const FIRST_TOKENS: u64 = 32;

/// Summary of a corpus.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Each shard, in order.
    pub shards: Vec<ShardInspection>,
    /// Tokens of all shards.
    pub tokens: u64,
    /// Documents of all shards; a shard without an index counts as one.
    pub documents: u64,
    /// `Corpus::fingerprint`, 32 hexadecimal digits.
    pub fingerprint: String,
    /// Bytes of text per token, where `data tokenize` made all shards.
    pub bytes_per_token: Option<f64>,
    /// Quantiles of the tokens per document.
    pub lengths: LengthQuantiles,
    /// The first tokens of the first shard.
    pub first_tokens: Vec<u32>,
    /// The same as text, when a tokenizer was given.
    pub first_text: Option<String>,
}

/// One shard of an `Inspection`.
#[derive(Clone, Debug, Serialize)]
pub struct ShardInspection {
    /// The file of tokens.
    pub path: String,
    /// Name of the layout, such as `megatron`.
    pub format: String,
    /// The stored integer type.
    pub dtype: String,
    /// Number of tokens in the file.
    pub tokens: u64,
    /// Number of documents in the file.
    pub documents: u64,
    /// What the weights in the plane beside it are stored as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightType>,
}

/// Tokens per document: the smallest length that at least that share of the documents does not exceed.
#[derive(Clone, Debug, Serialize)]
pub struct LengthQuantiles {
    /// Number of documents that the quantiles are of.
    pub sampled: u64,
    /// Tokens of the shortest document.
    pub min: u64,
    /// 1 % are not longer.
    pub p01: u64,
    /// 25 % are not longer.
    pub p25: u64,
    /// Half are not longer.
    pub p50: u64,
    /// 75 % are not longer.
    pub p75: u64,
    /// 99 % are not longer.
    pub p99: u64,
    /// Tokens of the longest document.
    pub max: u64,
}

/// Looks at headers, document lengths and the first tokens. Refused when an index entry or a first token is not valid,
/// when a plane of weights does not belong to its shard, and when the data were made with another tokenizer.
pub fn inspect(corpus: &Corpus, tokenizer: Option<&TextTokenizer>) -> Result<Inspection> {
    check_tokenizer([corpus].into_iter().filter(|_| tokenizer.is_some()), tokenizer, USE_ITS_OWN)?;
    let mut first_tokens = Vec::new();
    if let Some(shard) = corpus.shards().first() {
        first_tokens.resize(shard.tokens().min(FIRST_TOKENS) as usize, 0);
        shard.read(0, &mut first_tokens, tokenizer.map_or(u32::MAX, TextTokenizer::vocab_size))?;
    }
    Ok(Inspection {
        shards: corpus.shards().iter().map(describe).collect::<Result<_>>()?,
        tokens: corpus.tokens(),
        documents: corpus.documents(),
        fingerprint: format!("{:032x}", corpus.fingerprint()),
        bytes_per_token: corpus.bytes_per_token()?,
        lengths: lengths(corpus)?,
        first_text: tokenizer.map(|t| t.decode(&first_tokens)).transpose()?,
        first_tokens,
    })
}

fn describe(shard: &Shard) -> Result<ShardInspection> {
    Ok(ShardInspection {
        path: shard.path().display().to_string(),
        format: shard.format().to_string(),
        dtype: shard.dtype().to_string(),
        tokens: shard.tokens(),
        documents: shard.documents(),
        weights: open_beside(shard)?.map(|(plane, _)| plane.kind.weights),
    })
}

fn lengths(corpus: &Corpus) -> Result<LengthQuantiles> {
    let stride = corpus.documents().div_ceil(SAMPLED_DOCUMENTS).max(1);
    let each = corpus.shards().par_iter().map(|shard| {
        // At least one of every shard, so that many small shards are all seen.
        let documents = (0..shard.documents()).step_by(usize::try_from(stride).unwrap_or(usize::MAX));
        documents.map(|d| shard.document(d).map(|(start, end)| end - start)).collect::<Result<Vec<u64>>>()
    });
    let mut lengths = each.collect::<Result<Vec<_>>>()?.concat();
    lengths.sort_unstable();
    // The rank of a quantile, from 1.
    let at = |percent: usize| {
        let rank = (lengths.len() * percent).div_ceil(100).max(1);
        lengths.get(rank - 1).copied().unwrap_or(0)
    };
    Ok(LengthQuantiles {
        sampled: lengths.len() as u64,
        min: at(0),
        p01: at(1),
        p25: at(25),
        p50: at(50),
        p75: at(75),
        p99: at(99),
        max: at(100),
    })
}
