//! Whether data were made with the tokenizer that a model speaks.
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::corpus::Corpus;
use super::shard::{Shard, prefix_of};
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use crate::{Error, Result};

/// What settles it for who only looks at data.
pub(crate) const USE_ITS_OWN: &str = "name the tokenizer.json beside the data with --tokenizer";

/// The tokenizer of a shard, as far as its note and the `tokenizer.json` beside it say.
pub(crate) struct Maker {
    shard: PathBuf,
    hash: String,
    identity: Option<String>,
    /// The file beside the shard, where it is the one that the note names.
    beside: Option<TextTokenizer>,
}

impl Maker {
    /// `prefix`.bin is the shard whose note `info` is.
    pub(crate) fn of(prefix: &Path, info: &TokenizedInfo) -> Self {
        let named = |t: &TextTokenizer| {
            // Notes of before identities carry the hash of the file's bytes alone.
            info.tokenizer_identity
                .as_ref()
                .map_or(t.hash_hex() == info.tokenizer_hash, |i| *i == t.identity())
        };
        let beside = TextTokenizer::load(prefix.with_file_name("tokenizer.json")).ok().filter(named);
        let identity = info.tokenizer_identity.clone().or(beside.as_ref().map(TextTokenizer::identity));
        let shard = super::megatron::with_suffix(prefix, ".bin");
        Self { shard, hash: info.tokenizer_hash.clone(), identity, beside }
    }

    /// Refused when the shard was made with another tokenizer than `tokenizer`; `advice` says what settles it.
    pub(crate) fn check(&self, tokenizer: &TextTokenizer, advice: &str) -> Result<()> {
        if self.is(&tokenizer.hash_hex(), Some(&tokenizer.identity())) {
            return Ok(());
        }
        let differ = match &self.beside {
            Some(beside) => format!(": their {} differ", beside.difference(tokenizer)),
            None => String::new(),
        };
        Err(Error::refused(format!(
            "{} was made with another tokenizer ({}) than {} ({}){differ}; {advice}",
            self.shard.display(),
            self.name(),
            tokenizer.name(),
            tokenizer.identity()
        )))
    }

    fn is(&self, hash: &str, identity: Option<&String>) -> bool {
        self.hash == hash || identity.is_some() && self.identity.as_ref() == identity
    }

    /// Its file, or what the note says of it.
    fn name(&self) -> String {
        let file = self.beside.as_ref().map(|t| format!("{}, {}", t.name(), t.identity()));
        let identity =
            || self.identity.clone().unwrap_or_else(|| format!("the hash of its file is {}", self.hash));
        file.unwrap_or_else(identity)
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
            (None, Some(first)) if !first.is(&maker.hash, maker.identity.as_ref()) => {
                return Err(Error::refused(format!(
                    "{} and {} were made with different tokenizers ({}; {}); {advice}",
                    first.shard.display(),
                    maker.shard.display(),
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
