//! A run that starts from a checkpoint of another: what it takes over, where it goes on in its data, and what its precision
//! makes of the weights.
use super::limits;
use super::lineage::is_of_run;
use super::source::OpenModel;
use super::standings::{GoesOn, go_on, standings_of};
use crate::checkpoint::RunState;
use crate::config::{Config, DataStart, OptimizerStart};
use crate::data::{Sources, TextTokenizer};
use crate::model::Precision;
use crate::{Error, Result};

/// Where the sources of a phase go on, where `start.data` says that they do. Refused where none of them was read from before,
/// or where their positions mean nothing in this run's order of them.
pub fn goes_on(config: &Config, sources: &Sources, source: Option<&OpenModel>) -> Result<Option<GoesOn>> {
    let Some(start) = config.start.as_ref().filter(|start| start.data == DataStart::Continue) else {
        return Ok(None);
    };
    let Some((manifest, dir)) = source
        .and_then(|source| Some((source.manifest().filter(|manifest| is_of_run(manifest))?, source.dir())))
    else {
        return Err(Error::refused(format!(
            "start.data is \"continue\", and {} has no position in the data; set start.data = \"restart\", or start \
             from a checkpoint of a run",
            start.from.display()
        )));
    };
    let going =
        go_on(sources, standings_of(manifest, dir, Some(sources))?, |i| limits::begin(config, sources, i))?;
    if !going.known.contains(&true) {
        return Err(Error::refused(format!(
            "start.data is \"continue\", and no source is one that the run read from (the fingerprint of the corpus is {} \
             there and {:032x} here); name its data, or set start.data = \"restart\"",
            manifest.state.fingerprints.corpus,
            sources.fingerprint()
        )));
    }
    let offsets = config.data.mixture.iter().zip(&going.known);
    if let Some((named, _)) = offsets.into_iter().find(|(named, known)| **known && named.offset.is_some()) {
        return Err(Error::refused(format!(
            "the source {:?} was read from before: its offset and start.data = \"continue\" both say where it begins; \
             remove one",
            named.name
        )));
    }
    Ok(Some(going))
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
