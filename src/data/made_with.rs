//! Whether data were made with the tokenizer that a model speaks.
use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::corpus::Corpus;
use super::megatron::with_suffix;
use super::shard::{Shard, prefix_of};
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use crate::{Error, Result};

/// What settles it for who only looks at data.
pub(crate) const USE_ITS_OWN: &str = "name the tokenizer.json beside the data with --tokenizer";

/// The tokenizer of a shard, as far as its note and the `tokenizer.json` beside it say.
pub(crate) struct Maker {
    prefix: PathBuf,
    info: TokenizedInfo,
    /// The file beside the shard, where it is the one that the note names. Read when it is asked for.
    beside: OnceCell<Option<TextTokenizer>>,
}

impl Maker {
    /// `prefix`.bin is the shard whose note `info` is.
    pub(crate) fn of(prefix: &Path, info: &TokenizedInfo) -> Self {
        Self { prefix: prefix.to_path_buf(), info: info.clone(), beside: OnceCell::new() }
    }

    /// Refused when the shard was made with another tokenizer than `tokenizer`; `advice` says what settles it.
    pub(crate) fn check(&self, tokenizer: &TextTokenizer, advice: &str) -> Result<()> {
        if self.info.tokenizer_hash == tokenizer.hash_hex() || self.identity() == Some(tokenizer.identity()) {
            return Ok(());
        }
        let differ = self.beside().map(|own| format!(": they differ in {}", own.difference(tokenizer)));
        Err(Error::refused(format!(
            "{} was made with another tokenizer ({}) than {} ({}){}; {advice}",
            self.shard(),
            self.name(),
            tokenizer.name(),
            tokenizer.identity(),
            differ.unwrap_or_default()
        )))
    }

    fn is_made_as(&self, other: &Self) -> bool {
        self.info.tokenizer_hash == other.info.tokenizer_hash
            || self.identity().is_some_and(|own| other.identity() == Some(own))
    }

    fn beside(&self) -> Option<&TextTokenizer> {
        let info = &self.info;
        let named = |t: &TextTokenizer| {
            // Notes of before identities carry the hash of the file's bytes alone.
            info.tokenizer_identity
                .as_ref()
                .map_or(t.hash_hex() == info.tokenizer_hash, |i| *i == t.identity())
        };
        let load = || TextTokenizer::load(self.prefix.with_file_name("tokenizer.json")).ok().filter(named);
        self.beside.get_or_init(load).as_ref()
    }

    fn identity(&self) -> Option<String> {
        self.info.tokenizer_identity.clone().or_else(|| self.beside().map(TextTokenizer::identity))
    }

    fn shard(&self) -> String {
        with_suffix(&self.prefix, ".bin").display().to_string()
    }

    /// Its file, or what the note says of it.
    fn name(&self) -> String {
        match (self.beside(), &self.info.tokenizer_identity) {
            (Some(own), _) => format!("{}, {}", own.name(), own.identity()),
            (None, Some(identity)) => identity.clone(),
            (None, None) => format!("the hash of its file is {}", self.info.tokenizer_hash),
        }
    }
}

/// Refuses corpora made with another tokenizer than the model's, or, where that is not known, with several. Shards that
/// `data tokenize` did not make say nothing of theirs. `advice` says what settles it.
pub fn check_tokenizer<'a>(
    corpora: impl IntoIterator<Item = &'a Corpus>,
    tokenizer: Option<&TextTokenizer>,
    advice: &str,
) -> Result<()> {
    let (mut seen, mut first) = (HashSet::new(), None::<Maker>);
    for shard in corpora.into_iter().flat_map(Corpus::shards) {
        let prefix = prefix_of(shard.path());
        let Some(info) = TokenizedInfo::load(&prefix)? else { continue };
        // A folder of shards has one tokenizer: it is read once.
        let folder = prefix.parent().map(Path::to_path_buf);
        if !seen.insert((folder, info.tokenizer_hash.clone(), info.tokenizer_identity.clone())) {
            continue;
        }
        let maker = Maker::of(&prefix, &info);
        match (tokenizer, &first) {
            (Some(tokenizer), _) => maker.check(tokenizer, advice)?,
            (None, Some(first)) if !first.is_made_as(&maker) => {
                return Err(Error::refused(format!(
                    "{} and {} were made with different tokenizers ({}; {}); {advice}",
                    first.shard(),
                    maker.shard(),
                    first.name(),
                    maker.name()
                )));
            }
            (None, Some(_)) => {}
            (None, None) => first = Some(maker),
        }
    }
    Ok(())
}

/// Whether any of the shards says what it was made with.
pub fn any_noted<'a>(corpora: impl IntoIterator<Item = &'a Corpus>) -> Result<bool> {
    for shard in corpora.into_iter().flat_map(Corpus::shards).map(Shard::path) {
        if TokenizedInfo::load(prefix_of(shard))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
