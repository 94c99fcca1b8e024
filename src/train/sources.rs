//! The data of a run as its configuration names them: sources, validation sets, and the tokenizer that made them.
use super::evaluate::Evaluation;
use super::source::OpenModel;
use crate::checkpoint::{Companions, NamedFile};
use crate::config::Config;
use crate::data::{
    self, Arrangement, Boundaries, Corpus, LossWeights, Order, Shard, Side, Sources, Split, TextTokenizer,
};
use crate::model::ModelConfig;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TOKENIZER: &str = "tokenizer.json";

/// Every source, with the documents to train on.
pub fn open_sources(config: &Config, time: usize) -> Result<Sources> {
    let split = split(config);
    let side = if split.fraction > 0.0 { Side::Train } else { Side::All };
    let sources = config.data.sources();
    let (mixed, window) = (sources.len() > 1, config.window(time)?);
    let open = |(i, (name, paths)): (usize, (&str, &[String]))| {
        let source = config.data.mixture.get(i);
        let seed = source.and_then(|source| source.seed).unwrap_or(config.data_seed());
        let arrangement = source.map_or(Arrangement::Shuffled, |source| source.order.clone());
        let subset = source.and_then(|source| source.subset);
        let order = Corpus::open(paths)
            .and_then(|corpus| {
                Order::arranged(Arc::new(corpus), side, split, (time, window), seed, arrangement)
            })
            .and_then(|order| if let Some(tokens) = subset { order.subset(tokens.0) } else { Ok(order) });
        let named = |e: Error| if mixed { e.within(&format!("source {name:?}")) } else { e };
        Ok(data::Source { name: name.to_owned(), order: order.map_err(named)? })
    };
    Sources::new(sources.into_iter().enumerate().map(open).collect::<Result<_>>()?)
}

/// Says how full the windows of sources are whose documents are packed.
pub fn tell_packing(sources: &Sources) -> Result<()> {
    for data::Source { name, order } in sources.list().iter().filter(|source| source.order.is_packed()) {
        let (tokens, padding) = (order.tokens(), order.padding()?);
        log::info!(
            "{name}: documents are packed into {} windows of {} tokens, of which {:.2} % are padding that counts for nothing",
            order.windows(),
            order.key().window,
            100.0 * padding as f64 / tokens as f64
        );
    }
    Ok(())
}

/// The validation sets of a configuration, for sequences of `time` tokens of a model with this tokenizer. Refused where it
/// has none.
pub fn validation_sets(
    config: &Config,
    time: usize,
    tokenizer: Option<&TextTokenizer>,
) -> Result<Vec<Evaluation>> {
    let sets = evaluations(config, &open_sources(config, time)?, tokenizer)?;
    if sets.is_empty() {
        return Err(Error::refused(
            "that configuration holds nothing out (data.validation_fraction is 0) and names no [[data.validation]]; name \
             a set with --data NAME=PATH",
        ));
    }
    Ok(sets)
}

/// The held-out documents of every source, then the named sets. `tokenizer` is the model's.
pub fn evaluations(
    config: &Config,
    sources: &Sources,
    tokenizer: Option<&TextTokenizer>,
) -> Result<Vec<Evaluation>> {
    let (time, sequences) = (sources.seq_len(), config.eval.sequences);
    let mut sets = Vec::new();
    for ((name, role), source) in config.data.heldout().into_iter().zip(sources.list()) {
        let corpus = source.order.corpus().clone();
        let (side, split) = (Side::Validation, split(config));
        let held_out = Evaluation::new(&name, corpus, side, split, time, sequences, tokenizer)?;
        sets.push(held_out.with_role(role));
    }
    for set in &config.data.validation {
        let corpus = Arc::new(Corpus::open(&set.paths)?);
        warn_of_training_data(&set.name, &corpus, sources);
        let (side, split) = (Side::All, Split::NONE);
        let named = Evaluation::new(&set.name, corpus, side, split, time, sequences, tokenizer)?;
        sets.push(named.with_role(set.role));
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
        log::warn!(
            "the validation set {set:?} reads {}, which is trained on (source {:?}); data.validation_fraction \
             holds documents out",
            path.display(),
            source.name
        );
    }
}

/// How the documents of every source are divided.
pub fn split(config: &Config) -> Split {
    Split { fraction: config.data.validation_fraction, seed: config.split_seed() }
}

/// Who looks at the documents of a run whose tokenizer this is.
pub fn boundaries(config: &Config, tokenizer: Option<&TextTokenizer>) -> Boundaries {
    config.data.boundaries(tokenizer.and_then(|tokenizer| tokenizer.eod(None).ok()))
}

/// The weights of the losses of every source, where the run asks for them. Refused where no source has any.
pub fn loss_weights(config: &Config, sources: &Sources) -> Result<Vec<Option<LossWeights>>> {
    if !config.data.loss_weights {
        return Ok(Vec::new());
    }
    let weights = sources.corpora().map(LossWeights::open).collect::<Result<Vec<_>>>()?;
    if weights.iter().all(Option::is_none) {
        return Err(Error::refused(
            "data.loss_weights is true, and no shard of the training data has weights; write PREFIX.weights beside \
             PREFIX.bin, or leave the key out",
        ));
    }
    Ok(weights)
}

/// What the weights of all sources are known by; none where none are asked for.
pub fn weights_name(weights: &[Option<LossWeights>]) -> Option<String> {
    let fingerprints = weights.iter().map(|of| of.as_ref().map_or(0, LossWeights::fingerprint));
    let name: Vec<String> = fingerprints.map(|fingerprint| format!("{fingerprint:032x}")).collect();
    (!name.is_empty()).then(|| name.join(" "))
}

/// Refuses other weights than those that the run has had, and says which it has.
pub fn settle_weights(weights: &[Option<LossWeights>], step: u64, known: &mut Option<String>) -> Result<()> {
    let now = weights_name(weights);
    if step > 0 && *known != now {
        return Err(Error::refused(
            "the weights of the loss (PREFIX.weights beside the shards) are others than those that the run was trained with; \
             put them back, or start a new phase from this checkpoint with `rewarm train`",
        ));
    }
    *known = now;
    Ok(())
}

/// Where the run's tokenizer lies: the one that is configured, or that of the model started from, or of the data.
pub fn tokenizer_path(
    config: &Config,
    sources: &Sources,
    source: Option<&OpenModel>,
) -> Result<Option<PathBuf>> {
    match (&config.data.tokenizer, source) {
        (Some(named), _) if named.is_dir() => Ok(Some(named.join(TOKENIZER))),
        (Some(named), _) => Ok(Some(named.clone())),
        (None, Some(source)) => Ok(Some(source.dir().join(TOKENIZER)).filter(|path| path.exists())),
        (None, None) => tokenizer_of_data(sources),
    }
}

/// What goes with the weights into every checkpoint: the files beside the model started from, and the tokenizer at
/// `path`.
pub fn companions(
    path: Option<&Path>,
    source: Option<&OpenModel>,
    sizes: &ModelConfig,
) -> Result<Vec<NamedFile>> {
    let mut companions = source.map_or(Ok(Companions::default()), |s| Companions::read(s.dir()))?;
    if let Some(path) = path.filter(|path| source.is_none_or(|s| s.dir().join(TOKENIZER) != *path)) {
        companions.set_tokenizer(path)?;
    }
    companions.into_plain_files(sizes)
}

/// The tokenizer beside the first corpus, if its shards were made by us.
fn tokenizer_of_data(sources: &Sources) -> Result<Option<PathBuf>> {
    let Some(corpus) = sources.corpora().next() else { return Ok(None) };
    let noted = corpus.tokenized()?.into_iter().next().flatten().is_some();
    let beside = corpus.shards().first().and_then(|s| s.path().parent()).map(|dir| dir.join(TOKENIZER));
    Ok(beside.filter(|path| noted && path.exists()))
}

/// The run's tokenizer among its files.
pub fn tokenizer(files: &[NamedFile], path: Option<&Path>) -> Result<Option<TextTokenizer>> {
    let json = files.iter().find(|f| f.0 == TOKENIZER).map(|f| f.1.clone());
    json.zip(path).map(|(json, path)| TextTokenizer::from_file(path, json)).transpose()
}

/// Refuses a tokenizer with ids that the model does not have, and data, of training and of validation, that were made
/// with another one.
pub fn check_tokenizer(
    tokenizer: Option<&TextTokenizer>,
    corpora: &[&Corpus],
    source: Option<&OpenModel>,
    vocab: usize,
) -> Result<()> {
    let infos = corpora.iter().map(|c| c.tokenized()).collect::<Result<Vec<_>>>()?;
    for info in infos.iter().flatten().flatten() {
        if info.vocab_size as usize > vocab {
            return Err(Error::refused(format!(
                "the data were made with a tokenizer of {} tokens, the model has a vocabulary of {vocab}; use data \
                 made with the model's tokenizer, or a model with model.vocab_size >= {0}",
                info.vocab_size
            )));
        }
    }
    let Some(tokenizer) = tokenizer else {
        let advice = "name the model's in data.tokenizer, and tokenize the other texts again with it";
        return data::check_tokenizer(corpora.iter().copied(), None, advice);
    };
    tokenizer.check_fits(vocab as u32)?;
    let again = format!("tokenize the texts again with --tokenizer {}", tokenizer.name());
    let advice = match source {
        Some(_) => again,
        None => format!("{again}, or name the one of the data in data.tokenizer"),
    };
    data::check_tokenizer(corpora.iter().copied(), Some(tokenizer), &advice)
}

/// Refuses a `data.tokenizer` that is another one than that of the model started from: what the model knows of an id is
/// what its own tokenizer gives the id to.
pub fn keep_tokenizer(config: &Config, source: &OpenModel) -> Result<()> {
    let own = source.dir().join(TOKENIZER);
    let Some(named) = config.data.tokenizer.as_ref().filter(|_| own.exists()) else { return Ok(()) };
    let (named, own) = (TextTokenizer::load(named)?, TextTokenizer::load(own)?);
    if named.identity() == own.identity() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "data.tokenizer names {}, which is another tokenizer than {} of the model started from: they differ in {}, and the \
         model's ids would stand for other texts; leave data.tokenizer out, and tokenize the texts with --tokenizer {1}; a \
         model of another tokenizer begins from scratch, without start.from",
        named.name(),
        own.name(),
        named.difference(&own)
    )))
}

/// The fingerprint of the tokenizer that a run goes on with from `step_dir`, where it is `was`: the tokenizer's identity.
/// Checkpoints of before identities have the hash of the bytes of their own `tokenizer.json`. Refused when it is another.
pub fn resumed_fingerprint(was: &str, step_dir: &Path, now: Option<&TextTokenizer>) -> Result<String> {
    // A run without one stays without.
    let Some(now) = now.filter(|_| !was.is_empty()) else { return Ok(was.into()) };
    if [now.identity(), now.hash_hex()].iter().any(|known| known == was) {
        return Ok(now.identity());
    }
    let then = TextTokenizer::load(step_dir)?;
    if then.hash_hex() == was && then.identity() == now.identity() {
        return Ok(now.identity());
    }
    Err(Error::refused(format!(
        "the run was trained with the tokenizer {}, and {} is another one: they differ in {}; set data.tokenizer to the \
         former, or start a new phase from this checkpoint with `rewarm train`",
        then.name(),
        now.name(),
        then.difference(now)
    )))
}
