//! What a run is made of before memory is spent on it.
use super::evaluate::Evaluation;
use super::source::OpenModel;
use super::sources::{
    boundaries, check_tokenizer, companions, evaluations, loss_weights, open_sources, tokenizer,
    tokenizer_path,
};
use crate::checkpoint::Fingerprints;
use crate::config::Config;
use crate::data::{Boundaries, LossWeights, Sources, TextTokenizer};
use crate::model::{Model, ModelConfig};
use crate::schedule::{Quantities, Schedule};
use crate::{Error, Result};
use xxhash_rust::xxh3::xxh3_128;

/// What a session is made of before memory is spent on it.
pub struct Parts {
    pub config: Config,
    pub model: Model,
    pub sources: Sources,
    pub documents: Boundaries,
    /// Of every source, where the loss is weighted.
    pub weights: Vec<Option<LossWeights>>,
    pub evaluations: Vec<Evaluation>,
    pub schedule: Schedule,
    pub quantities: Quantities,
    pub fingerprints: Fingerprints,
    pub tokenizer: Option<TextTokenizer>,
    pub extra_files: Vec<(String, Vec<u8>)>,
}

impl Parts {
    /// Opens and checks everything that a configuration names.
    pub fn open(
        config: Config,
        sizes: ModelConfig,
        source: Option<&OpenModel>,
        previous: Option<f64>,
    ) -> Result<Self> {
        let time = config.seq_len(&sizes)?;
        let (schedule, quantities) = (config.compile_schedule(time, previous)?, config.quantities(time)?);
        let sources = open_sources(&config, time)?;
        let path = tokenizer_path(&config, &sources, source)?;
        let extra_files = companions(path.as_deref(), source, &sizes)?;
        let tokenizer = tokenizer(&extra_files, path.as_deref())?;
        let documents = boundaries(&config, tokenizer.as_ref());
        sources.corpora().try_for_each(|corpus| documents.check(corpus))?;
        let weights = loss_weights(&config, &sources)?;
        let evaluations = evaluations(&config, &sources, tokenizer.as_ref())?;
        let weighted = config.data.loss_weights;
        let as_trained = |set: Evaluation| set.with_documents(documents)?.with_weights(weighted);
        let evaluations = evaluations.into_iter().map(as_trained);
        let evaluations = evaluations.collect::<Result<Vec<_>>>()?;
        let corpora: Vec<_> = sources.corpora().chain(evaluations.iter().map(Evaluation::corpus)).collect();
        check_tokenizer(tokenizer.as_ref(), &corpora, source, sizes.vocab_size)?;
        let model_json =
            serde_json::to_vec(&sizes).map_err(|e| Error::failed(format!("model sizes: {e}")))?;
        let fingerprints = Fingerprints {
            model: format!("{:032x}", xxh3_128(&model_json)),
            tokenizer: tokenizer.as_ref().map_or(String::new(), TextTokenizer::identity),
            corpus: format!("{:032x}", sources.fingerprint()),
        };
        let model = Model::new(sizes)
            .with_average(config.ema.is_some())
            .with_precision(config.precision)
            .with_separate_bias_gradients(config.separate_bias_gradients);
        Ok(Self {
            config,
            model,
            sources,
            documents,
            weights,
            evaluations,
            schedule,
            quantities,
            fingerprints,
            tokenizer,
            extra_files,
        })
    }
}
