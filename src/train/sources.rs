//! The data of a run as its configuration names them: sources, validation sets, and the tokenizer that made them.
use super::evaluate::Evaluation;
use super::source::Source;
use crate::checkpoint::{Companions, NamedFile};
use crate::config::{Config, HELDOUT, MixtureSource};
use crate::console::note;
use crate::data::{self, Corpus, Order, Shard, Side, Sources, Split, TextTokenizer};
use crate::model::ModelConfig;
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// Every source, with the documents to train on.
pub fn open_sources(config: &Config, time: usize) -> Result<Sources> {
    let split = split(config);
    let side = if split.fraction > 0.0 { Side::Train } else { Side::All };
    let sources = config.data.sources();
    let mixed = sources.len() > 1;
    let open = |(name, paths): (&str, &[String])| {
        let order = Corpus::open(paths).and_then(|c| Order::new(Arc::new(c), side, split, time, config.seed));
        let named = |e: Error| if mixed { e.within(&format!("source {name:?}")) } else { e };
        Ok(data::Source { name: name.to_owned(), order: order.map_err(named)? })
    };
    Sources::new(sources.into_iter().map(open).collect::<Result<_>>()?)
}

/// The validation sets of a configuration, for sequences of `time` tokens. Refused where it has none.
pub fn validation_sets(config: &Config, time: usize) -> Result<Vec<Evaluation>> {
    let sets = evaluations(config, &open_sources(config, time)?)?;
    if sets.is_empty() {
        return Err(Error::refused(
            "that configuration holds nothing out (data.validation_fraction is 0) and names no [[data.validation]]; name \
             a set with --data NAME=PATH",
        ));
    }
    Ok(sets)
}

/// The held-out documents of every source, then the named sets.
pub fn evaluations(config: &Config, sources: &Sources) -> Result<Vec<Evaluation>> {
    let (time, sequences) = (sources.seq_len(), config.eval.sequences);
    let mut sets = Vec::new();
    if config.data.validation_fraction > 0.0 {
        let mixture = config.data.mixture.iter().map(MixtureSource::heldout);
        let names = if config.data.mixture.is_empty() { vec![HELDOUT.to_owned()] } else { mixture.collect() };
        for (name, source) in names.iter().zip(sources.list()) {
            let corpus = source.order.corpus().clone();
            sets.push(Evaluation::new(name, corpus, Side::Validation, split(config), time, sequences)?);
        }
    }
    for set in &config.data.validation {
        let corpus = Arc::new(Corpus::open(&set.paths)?);
        warn_of_training_data(&set.name, &corpus, sources);
        sets.push(Evaluation::new(&set.name, corpus, Side::All, Split::NONE, time, sequences)?);
    }
    Ok(sets)
}

/// A source's own documents are held out by `data.validation_fraction`; a named set takes all of what it names.
fn warn_of_training_data(set: &str, corpus: &Corpus, sources: &Sources) {
    let trained = |wanted: &Shard| {
        let has = |s: &&data::Source| {
            s.order.corpus().shards().iter().any(|shard| shard.identity() == wanted.identity())
        };
        sources.list().iter().find(has)
    };
    let found = corpus.shards().iter().find_map(|shard| Some((shard.path(), trained(shard)?)));
    if let Some((path, source)) = found {
        note(&format!(
            "warning: the validation set {set:?} reads {}, which is trained on (source {:?}); data.validation_fraction \
             holds documents out",
            path.display(),
            source.name
        ));
    }
}

fn split(config: &Config) -> Split {
    Split { fraction: config.data.validation_fraction, seed: config.seed }
}

/// What goes with the weights into every checkpoint: the files beside the model started from, and the tokenizer that is
/// configured, or that model's, or the data's.
pub fn companions(
    config: &Config,
    sources: &Sources,
    source: Option<&Source>,
    sizes: &ModelConfig,
) -> Result<Vec<NamedFile>> {
    let mut companions = source.map_or(Ok(Companions::default()), |s| Companions::read(s.dir()))?;
    if let Some(path) = &config.data.tokenizer {
        companions.set_tokenizer(path)?;
    } else if source.is_none()
        && let Some(path) = tokenizer_of_data(sources)?
    {
        companions.set_tokenizer(&path)?;
    }
    companions.into_files(sizes)
}

/// The tokenizer beside the first corpus, if its shards were made by us.
fn tokenizer_of_data(sources: &Sources) -> Result<Option<PathBuf>> {
    let Some(corpus) = sources.corpora().next() else { return Ok(None) };
    let noted = corpus.tokenized()?.into_iter().next().flatten().is_some();
    let beside =
        corpus.shards().first().and_then(|s| s.path().parent()).map(|dir| dir.join("tokenizer.json"));
    Ok(beside.filter(|path| noted && path.exists()))
}

/// Refuses a tokenizer with ids that the model does not have, and data made with another tokenizer. Gives the
/// tokenizer's fingerprint, empty without one.
pub fn check_tokenizer(files: &[(String, Vec<u8>)], sources: &Sources, vocab: usize) -> Result<String> {
    let infos = sources.corpora().map(Corpus::tokenized).collect::<Result<Vec<_>>>()?;
    let infos: Vec<_> = infos.into_iter().flatten().flatten().collect();
    for info in &infos {
        if info.vocab_size as usize > vocab {
            return Err(Error::refused(format!(
                "the data were made with a tokenizer of {} tokens, the model has a vocabulary of {vocab}; use data \
                 made with the model's tokenizer, or a model with model.vocab_size >= {0}",
                info.vocab_size
            )));
        }
    }
    let Some((_, json)) = files.iter().find(|f| f.0 == "tokenizer.json") else { return Ok(String::new()) };
    let tokenizer = TextTokenizer::from_json(json.clone())?;
    tokenizer.check_fits(vocab as u32)?;
    infos.iter().try_for_each(|info| info.check_tokenizer(&tokenizer))?;
    Ok(format!("{:032x}", tokenizer.hash()))
}
