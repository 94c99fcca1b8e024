//! A run that starts from a checkpoint of another: what it takes over, where it goes on in its data, and what its precision
//! makes of the weights.
use super::lineage::{is_of_run, seeds_of};
use super::run_config::SavedKeys;
use super::source::OpenModel;
use crate::checkpoint::{Fingerprints, Manifest, RunState};
use crate::config::{Config, DataStart, OptimizerStart};
use crate::data::TextTokenizer;
use crate::model::Precision;
use crate::{Error, Result};
use serde_json::{Value, json};

/// The position in the data of step 0: behind that of the checkpoint where `start.data` says so. Refused where the
/// checkpoint's position means nothing in this run's data.
pub fn first_sample(
    config: &Config,
    seq_len: usize,
    fingerprints: &Fingerprints,
    before: Option<&Manifest>,
) -> Result<u64> {
    let Some(start) = config.start.as_ref().filter(|start| start.data == DataStart::Continue) else {
        return Ok(0);
    };
    let Some(before) = before.filter(|before| is_of_run(before)) else {
        return Err(Error::refused(format!(
            "start.data is \"continue\", and {} has no position in the data; set start.data = \"restart\", or start \
             from a checkpoint of a run",
            start.from.display()
        )));
    };
    let Manifest { model, state, .. } = before;
    let saved = SavedKeys::of(&state.run_config)?.data;
    let saved_seq_len = saved.seq_len.unwrap_or(model.max_position_embeddings);
    let [seed, split_seed] = seeds_of(before)?;
    let pairs: [(&str, Value, Value); 5] = [
        ("the fingerprint of the corpus", json!(state.fingerprints.corpus), json!(fingerprints.corpus)),
        ("data.seed", json!(seed), json!(config.data_seed())),
        ("data.split_seed", json!(split_seed), json!(config.split_seed())),
        ("data.seq_len", json!(saved_seq_len), json!(seq_len)),
        (
            "data.validation_fraction",
            json!(saved.validation_fraction),
            json!(config.data.validation_fraction),
        ),
    ];
    let differences: Vec<String> = pairs
        .into_iter()
        .filter(|(_, was, is)| was != is)
        .map(|(key, was, is)| format!("{key} is {was} in the run that is continued and {is} now"))
        .collect();
    if differences.is_empty() {
        return Ok(state.sample);
    }
    Err(Error::refused(format!(
        "start.data is \"continue\", and {}; its position in the data means nothing here: restore what changed, or set \
         start.data = \"restart\"",
        differences.join("; ")
    )))
}

/// Says what becomes of weights, and of moments where they are kept, that come in another precision.
pub fn tell_precision(source: &OpenModel, precision: Precision, keep: bool) -> Result<()> {
    let (dir, what) = (source.dir().display(), if keep { "weights and moments" } else { "weights" });
    match (source.has_f32_weights()?, precision.has_f32_state()) {
        (true, false) => log::info!(
            "note: train.precision is \"bf16\": the {what} in {dir} are rounded to bf16, but not the weights of norms and \
             biases"
        ),
        (false, true) if source.manifest().is_some() => log::info!(
            "note: the {what} in {dir} were kept in bf16 (train.precision); from here on they are f32"
        ),
        _ => {}
    }
    Ok(())
}

/// Refuses moments of a model that has none.
pub fn check_optimizer(source: &OpenModel, optimizer: OptimizerStart) -> Result<()> {
    match source {
        OpenModel::HuggingFace { dir, .. } if optimizer == OptimizerStart::Keep => {
            Err(Error::refused(format!(
                "start.optimizer is \"keep\", and the Hugging Face directory {} has no optimizer state; set \
             start.optimizer = \"reset\", or start from a rewarm checkpoint",
                dir.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Says what of a new phase comes from where: `chain_steps` were taken with its moments, and its own state begins as `state`.
pub fn tell_taken(
    source: &OpenModel,
    config: &Config,
    state: &RunState,
    chain_steps: u64,
    tokenizer: Option<&TextTokenizer>,
) {
    let (mut taken, mut anew) = (vec!["weights".to_owned()], Vec::new());
    let mut sort = |is_taken: bool, what: String| if is_taken { taken.push(what) } else { anew.push(what) };
    let keeps = config.keeps_moments();
    sort(keeps, "moments".into());
    let counters = format!("counters ({} updates, {chain_steps} steps of the chain)", state.applied);
    sort(keeps, counters);
    if config.ema.is_some() {
        sort(keeps && source.has_average(), "moving average".into());
    }
    let goes_on = config.start.as_ref().is_some_and(|start| start.data == DataStart::Continue);
    sort(goes_on, format!("position in the data (sample {})", state.sample));
    if let Some(tokenizer) = tokenizer {
        let own = source.dir().join("tokenizer.json").display().to_string() == tokenizer.name();
        sort(own, if own { "tokenizer".into() } else { format!("tokenizer ({})", tokenizer.name()) });
    }
    log::info!("from {}: {}", source.dir().display(), taken.join(", "));
    if !anew.is_empty() {
        log::info!("not from there: {}", anew.join(", "));
    }
}
