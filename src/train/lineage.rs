//! What a phase has from the phases before it: the keys of its data, and which documents are no longer free.
use super::evaluate::Evaluation;
use super::progress::Progress;
use super::run_config::{SavedKeys, saved_config};
use super::source::OpenModel;
use super::sources::{evaluations, open_sources, split};
use crate::checkpoint::{Disk, Manifest, RunState};
use crate::config::{Config, DataStart, Overlap};
use crate::data::{Shard, SharedDocuments, Side, Sources, Split, Usage};
use crate::{Error, Result};
use std::path::Path;

/// The phases that checkpoints of earlier versions are followed back through: paths may lead round in a circle.
const PHASES_MAX: usize = 100;

/// The keys of the order and of the split of the run that a checkpoint is of.
pub fn seeds_of(manifest: &Manifest) -> Result<[u64; 2]> {
    let saved = SavedKeys::of(&manifest.state.run_config)?.data;
    Ok([saved.seed, saved.split_seed].map(|key| key.unwrap_or(manifest.state.seed)))
}

/// Whether a run of this program wrote a checkpoint. One that was imported has its weights and moments and no data.
pub fn is_of_run(manifest: &Manifest) -> bool {
    !manifest.state.run_config.is_null()
}

/// Gives the order and the split of a new phase their keys where none are given: those of the run that it starts from,
/// else `seed`; and its windows.
pub fn settle_seeds(config: &mut Config, source: Option<&OpenModel>) -> Result<()> {
    let seed = config.seed;
    let of_run = source.and_then(OpenModel::manifest).filter(|manifest| is_of_run(manifest));
    let before = of_run.map(seeds_of).transpose()?;
    let keys = [("data.seed", &mut config.data.seed), ("data.split_seed", &mut config.data.split_seed)];
    for ((key, given), inherited) in keys.into_iter().zip(before.unwrap_or([seed; 2])) {
        if given.is_none() && inherited != seed {
            log::info!("{key} is {inherited}, that of the run in start.from; seed is {seed}");
        }
        given.get_or_insert(inherited);
    }
    settle_window(config, of_run)
}

/// Gives a phase that goes on in its data the windows of the run that it starts from, where it has none of its own.
fn settle_window(config: &mut Config, of_run: Option<&Manifest>) -> Result<()> {
    let goes_on = config.start.as_ref().is_some_and(|start| start.data == DataStart::Continue);
    if let (true, None, Some(manifest)) = (goes_on, config.data.window, of_run) {
        config.data.window = SavedKeys::of(&manifest.state.run_config)?.data.window;
    }
    Ok(())
}

/// The last rate of the run of a checkpoint.
pub fn last_rate(source: Option<&OpenModel>) -> Result<Option<f64>> {
    let manifest = source.and_then(OpenModel::manifest);
    Ok(manifest.map(|manifest| Progress::read(&manifest.state)).transpose()?.and_then(|progress| progress.lr))
}

/// [`settle_seeds`] of a configuration whose model was not opened.
pub fn inherit_seeds(config: &mut Config) -> Result<()> {
    let source = config.start.as_ref().map(|start| OpenModel::open(&start.from)).transpose()?;
    settle_seeds(config, source.as_ref())
}

/// What a run does with the documents of its data.
pub fn usage_of(config: &Config, sources: &Sources, evaluations: &[Evaluation]) -> Usage {
    let mut usage = Usage::default();
    sources.corpora().for_each(|corpus| usage.trains_on(corpus, Side::Train, split(config)));
    for set in evaluations {
        let (side, split) = set.part;
        usage.holds_out(set.corpus(), side, split);
    }
    usage
}

/// What the run of a checkpoint and those before it did with documents; nothing of a model that is none of ours.
pub fn usage_before(source: Option<&OpenModel>) -> Result<Usage> {
    let checkpoint = source.and_then(|source| Some((source.manifest()?, source.dir())));
    checkpoint.map_or(Ok(Usage::default()), |(manifest, dir)| usage_until(manifest, dir, PHASES_MAX))
}

/// What the runs before one did, of whose checkpoints this is the state, as the checkpoint says that it began from.
pub fn usage_before_run(state: &RunState) -> Result<Usage> {
    usage_of_parent(state, PHASES_MAX)
}

/// As the checkpoint says it. One that an earlier version wrote does not: then its data are asked, and the checkpoint that
/// its run began from, over at most so many `phases`.
fn usage_until(manifest: &Manifest, dir: &Path, phases: usize) -> Result<Usage> {
    if let Some(usage) = Progress::read(&manifest.state)?.data_use {
        return Ok(usage);
    }
    let mut usage = usage_of_its_data(manifest, dir).unwrap_or_else(|why| {
        log::warn!(
            "{} does not say what its run trained on and held out (an earlier version wrote it), and its data cannot be \
             asked: {why}; that this phase keeps the two apart is not checked",
            dir.display()
        );
        Usage::default()
    });
    usage.extend(usage_of_parent(&manifest.state, phases)?);
    Ok(usage)
}

fn usage_of_parent(state: &RunState, phases: usize) -> Result<Usage> {
    let Some(dir) = state.parent.as_ref().filter(|_| phases > 0).map(Path::new) else {
        return Ok(Usage::default());
    };
    // A model that is none of ours has no manifest; a checkpoint that is gone has none any more.
    let Ok(manifest) = Manifest::read(&Disk, dir) else { return Ok(Usage::default()) };
    usage_until(&manifest, dir, phases - 1)
}

/// Of a run whose checkpoints do not say it, from its data, where those still lie where they lay.
fn usage_of_its_data(manifest: &Manifest, dir: &Path) -> Result<Usage> {
    let run_dir = dir.parent().unwrap_or(Path::new(""));
    let config = saved_config(&manifest.state.run_config, run_dir, &[])?;
    let sources = open_sources(&config, config.seq_len(&manifest.model)?)?;
    if format!("{:032x}", sources.fingerprint()) != manifest.state.fingerprints.corpus {
        return Err(Error::refused("they have other contents now"));
    }
    let sets = evaluations(&config, &sources, None)?;
    Ok(usage_of(&config, &sources, &sets))
}

/// Refuses a phase that would train on what was held out before it, or evaluate on what was trained on, unless
/// `data.overlap` allows it. A named set of what this phase trains on itself was warned of already.
pub fn check(config: &Config, sources: &Sources, evaluations: &[Evaluation], before: &Usage) -> Result<()> {
    let shards: Vec<&Shard> = sources.corpora().flat_map(|corpus| corpus.shards()).collect();
    if let Some(found) = before.held_out_of(&shards, Side::Train, split(config)) {
        let does = "this phase would train on";
        tell(config, &found, &format!("{does} {} that an earlier one held out", documents(&found)))?;
    }
    check_evaluations(config, sources, evaluations, before)
}

/// The latter half of it alone.
pub fn check_evaluations(
    config: &Config,
    sources: &Sources,
    evaluations: &[Evaluation],
    before: &Usage,
) -> Result<()> {
    let own = usage_of(config, sources, evaluations);
    for set in evaluations {
        let (side, split) = set.part;
        let asked = |shard: &&Shard| side != Side::All || !own.trains(shard);
        let shards: Vec<&Shard> = set.corpus().shards().iter().filter(asked).collect();
        if let Some(found) = before.trained_of(&shards, side, split) {
            let does = format!("the validation set {:?} would evaluate on", set.name);
            tell(config, &found, &format!("{does} {} that an earlier phase trained on", documents(&found)))?;
        }
    }
    Ok(())
}

fn documents(found: &SharedDocuments) -> String {
    format!("{} of {} documents (of {})", found.documents, found.of, found.path)
}

/// Refuses what was found, or, where that is allowed, says it.
fn tell(config: &Config, found: &SharedDocuments, what: &str) -> Result<()> {
    if config.data.overlap == Overlap::Allow {
        log::warn!("{what}; data.overlap is \"allow\"");
        return Ok(());
    }
    let Split { fraction, seed } = found.split;
    let then = match fraction {
        0.0 => "whole shards".to_owned(),
        _ => format!("by data.validation_fraction = {fraction}, data.split_seed = {seed}"),
    };
    Err(Error::refused(format!(
        "{what} ({then}); here data.validation_fraction is {}, data.split_seed {}: keep the split, use other data, or set \
         data.overlap = \"allow\" to do it all the same",
        config.data.validation_fraction,
        config.split_seed()
    )))
}
