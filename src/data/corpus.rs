//! Shards in a fixed order: what a run trains on.
use std::collections::HashMap;
use std::path::PathBuf;

use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::shard::{Format, Shard, prefix_of};
use super::source;
use super::tokenized::TokenizedInfo;
use crate::{Error, Result};

/// An ordered list of opened shards.
#[derive(Debug)]
pub struct Corpus {
    shards: Vec<Shard>,
    tokens: u64,
    documents: u64,
    fingerprint: u128,
}

impl Corpus {
    /// Opens every shard that `specs` names, in that order, those of folders and what lies below them sorted by path.
    /// Accepted are a `.bin`, a `.idx`, their common prefix, a `.npy`, a folder, and `raw-u16:PATH` or `raw-u32:PATH` for
    /// headerless tokens. One file by two names is refused.
    ///
    /// Reads headers, sizes and a few samples of each shard, never whole files. The first fault is refused; what is odd
    /// is said on stderr.
    pub fn open<S: AsRef<str>>(specs: &[S]) -> Result<Self> {
        let mut shards = Vec::new();
        for shard in open_each(specs)? {
            shards.push(shard.1?);
        }
        tell_oddities(&shards);
        Self::from_shards(shards)
    }

    /// From shards that are already open.
    pub fn from_shards(shards: Vec<Shard>) -> Result<Self> {
        if shards.is_empty() {
            return Err(Error::refused("no data were named; name at least one shard or folder"));
        }
        let too_large = || Error::refused("the shards hold more than 2^64 tokens; name fewer");
        let mut hash = Xxh3::new();
        let (mut tokens, mut documents) = (0u64, 0u64);
        for shard in &shards {
            tokens = tokens.checked_add(shard.tokens()).ok_or_else(too_large)?;
            documents = documents.checked_add(shard.documents()).ok_or_else(too_large)?;
            hash.update(&shard.fingerprint().to_le_bytes());
        }
        Ok(Self { shards, tokens, documents, fingerprint: hash.digest128() })
    }

    /// The shards, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Tokens of all shards.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Documents of all shards; a shard without an index counts as one.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// XXH3-128 over the shards' fingerprints in order: formats, sizes and samples of the content, not paths. See
    /// `data/fingerprint.rs` for what it covers and what only `data verify` can see.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// What `data tokenize` noted beside each shard; `None` where a shard came from elsewhere.
    pub fn tokenized(&self) -> Result<Vec<Option<TokenizedInfo>>> {
        self.shards.iter().map(|shard| TokenizedInfo::load(prefix_of(shard.path()))).collect()
    }

    /// Input bytes per token, end-of-document tokens included: turns a loss per token into bits per byte. `None`
    /// unless every shard was written by `data tokenize`.
    pub fn bytes_per_token(&self) -> Result<Option<f64>> {
        let infos = self.tokenized()?;
        let bytes: Option<f64> = infos.iter().map(|info| info.as_ref().map(|i| i.input_bytes as f64)).sum();
        Ok(bytes.map(|bytes| bytes / self.tokens as f64))
    }
}

/// A line for each shard that is odd, of many shards for the first ones.
fn tell_oddities(shards: &[Shard]) {
    const TOLD: usize = 5;
    let mut odd = shards.iter().filter_map(Shard::oddity);
    odd.by_ref().take(TOLD).for_each(|oddity| log::warn!("{oddity}"));
    match odd.count() {
        0 => {}
        more => log::warn!("{more} more shards are odd; `rewarm data verify` lists them"),
    }
}

/// Opens every shard on its own, so that `verify` can list all faults. Only a fault in the naming is an error.
pub(crate) fn open_each<S: AsRef<str>>(specs: &[S]) -> Result<Vec<(PathBuf, Result<Shard>)>> {
    let mut sources: Vec<(PathBuf, Format)> = Vec::new();
    for spec in specs {
        sources.extend(source::resolve(spec.as_ref())?);
    }
    let opened: Vec<(PathBuf, Result<Shard>)> =
        sources.into_par_iter().map(|(path, format)| (path.clone(), Shard::open(&path, format))).collect();
    let mut seen = HashMap::new();
    for shard in opened.iter().flat_map(|(_, shard)| shard) {
        if let Some(other) = seen.insert(shard.identity(), shard.path()) {
            let also =
                if other == shard.path() { String::new() } else { format!(" (as {}, too)", other.display()) };
            return Err(Error::refused(format!(
                "{} is named twice{also}; name each shard once, repeating data is what epochs and mixture weights are for",
                shard.path().display()
            )));
        }
    }
    Ok(opened)
}
