//! Where the sources of the phases before stand, and which of them a phase goes on with: known by what they contain, whatever
//! their names and places.
use super::account::account;
use super::progress::Progress;
use super::run_config::{SavedKeys, saved_config};
use super::sources::open_sources;
use crate::checkpoint::Manifest;
use crate::data::{Arrangement, Dealt, OrderKey, Source, Sources, Split, Standing, Usage};
use crate::{Error, Result};
use std::path::Path;

/// The sources of a phase, as those before it have left them.
#[derive(Debug)]
pub struct GoesOn {
    /// What they have given.
    pub dealt: Dealt,
    /// Whether each was read from before.
    pub known: Vec<bool>,
    /// Those before that are not among them.
    pub dropped: Vec<Standing>,
}

/// Where every source stands that the run of the checkpoint in `dir`, and those before it, have read from. `now` are sources
/// that may be the same.
pub fn standings_of(manifest: &Manifest, dir: &Path, now: Option<&Sources>) -> Result<Vec<Standing>> {
    let state = &manifest.state;
    let noted = Progress::read(state)?.standings;
    if !noted.is_empty() {
        return Ok(noted);
    }
    let saved = SavedKeys::of(&state.run_config)?.data;
    let count = saved.mixture.len().max(1);
    let dealt = account(state, count, 0)?.dealt;
    let seq_len = saved.seq_len.unwrap_or(manifest.model.max_position_embeddings);
    let corpora: Vec<(String, String)> = if count == 1 {
        vec![("train".into(), state.fingerprints.corpus.clone())]
    } else if let Some(now) =
        now.filter(|now| state.fingerprints.corpus == format!("{:032x}", now.fingerprint()))
    {
        now.list().iter().map(|source| (source.name.clone(), source.order.key().corpus)).collect()
    } else {
        // An earlier version noted the contents of all sources together.
        let run_dir = dir.parent().unwrap_or(Path::new(""));
        let sources = open_sources(&saved_config(&state.run_config, run_dir, &[])?, seq_len)?;
        if state.fingerprints.corpus != format!("{:032x}", sources.fingerprint()) {
            return Err(Error::refused(format!(
                "{} was saved by a version that did not note what each of its sources contains, and they have other contents \
                 now; restore them where they lay",
                dir.display()
            )));
        }
        return Ok(standings(&sources, &dealt));
    };
    let fraction = saved.validation_fraction.unwrap_or(0.0);
    let seed = saved.split_seed.unwrap_or(state.seed);
    let split = if fraction > 0.0 { Split { fraction, seed } } else { Split::NONE };
    let (seed, window) = (saved.seed.unwrap_or(state.seed), saved.window.unwrap_or(seq_len) as u64);
    let standing = |(i, (name, corpus))| Standing {
        name,
        // A version that knew of other arrangements noted them.
        key: OrderKey {
            corpus,
            seed,
            window,
            split,
            order: Arrangement::Shuffled,
            ranking: None,
            subset: None,
        },
        position: dealt.token(i, seq_len as u64),
        given: dealt.given(i, seq_len as u64),
    };
    Ok(corpora.into_iter().enumerate().map(standing).collect())
}

/// Where sources stand that this was dealt out to.
pub fn standings(sources: &Sources, dealt: &Dealt) -> Vec<Standing> {
    sources.list().iter().enumerate().map(|(i, source)| Standing::of(source, i, dealt)).collect()
}

/// Known sources go on where they stand, others begin where `begin` says, at a token of their order. Refused where a known
/// one has another order now.
pub fn go_on(
    sources: &Sources,
    before: Vec<Standing>,
    begin: impl Fn(usize) -> Result<u64>,
) -> Result<GoesOn> {
    let seq_len = sources.seq_len() as u64;
    let (mut left, mut known, mut at) = (before, Vec::new(), Vec::new());
    for (i, source) in sources.list().iter().enumerate() {
        let key = source.order.key();
        let same = |(_, standing): &(usize, &Standing)| standing.key.corpus == key.corpus;
        let likely = |(_, standing): &(usize, &Standing)| (standing.key == key, standing.name == source.name);
        let found = left.iter().enumerate().rev().filter(same).max_by_key(likely).map(|(found, _)| found);
        known.push(found.is_some());
        at.push(match found {
            Some(found) => {
                let standing = left.remove(found);
                check_order(source, &standing)?;
                (standing.position, standing.given)
            }
            None => (begin(i)?, 0),
        });
    }
    let elsewhere = left.iter().map(|standing| standing.given / seq_len).sum();
    Ok(GoesOn { dealt: Dealt::standing(&at, seq_len, elsewhere), known, dropped: left })
}

/// Refuses a position that means nothing in this order of the same contents.
pub fn check_order(source: &Source, standing: &Standing) -> Result<()> {
    let (was, is, seq_len) = (&standing.key, source.order.key(), source.order.seq_len() as u64);
    let mut differences = Vec::new();
    let mut compare = |key: &str, was: String, is: String| {
        if was != is {
            differences.push(format!("{key} is {was} in the run that is continued and {is} now"));
        }
    };
    compare("data.seed", was.seed.to_string(), is.seed.to_string());
    compare("data.validation_fraction", was.split.fraction.to_string(), is.split.fraction.to_string());
    compare("data.split_seed", was.split.seed.to_string(), is.split.seed.to_string());
    compare("its order", was.order.to_string(), is.order.to_string());
    let ranking = |key: &OrderKey| key.ranking.clone().unwrap_or("none".into());
    compare("the fingerprint of what it is sorted by", ranking(was), ranking(&is));
    let subset = |key: &OrderKey| {
        key.subset.map_or("none".into(), |windows| format!("{} tokens", windows * key.window))
    };
    compare("its subset", subset(was), subset(&is));
    let mut remedy = "restore what changed".to_owned();
    if was.window != is.window {
        // Without the key windows are as long as samples.
        let key = if is.window == seq_len { "data.seq_len" } else { "data.window" };
        compare(key, was.window.to_string(), is.window.to_string());
        remedy = match was.window {
            window if window >= seq_len => {
                format!(
                    "set data.window = {window}, as before, to go on at its token whatever data.seq_len is"
                )
            }
            window => format!(
                "a chain whose sequences shall grow begins with a data.window as long as the longest of them, and \
                 windows of {window} are shorter than sequences of {seq_len}"
            ),
        };
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "of the source {:?}, {}; its position in the data means nothing here: {remedy}, or begin its data anew in a new \
         phase (start.data = \"restart\")",
        source.name,
        differences.join("; ")
    )))
}

impl GoesOn {
    /// Says which sources are known, new and dropped, and where they are. `usage` is what phases before have trained on.
    pub fn tell(&self, sources: &Sources, usage: &Usage) {
        let seq_len = sources.seq_len() as u64;
        for (i, (source, known)) in sources.list().iter().zip(&self.known).enumerate() {
            let token = self.dealt.token(i, seq_len);
            let epochs = token as f64 / source.order.epoch_tokens() as f64;
            let place = format!("token {token} of its order, {epochs:.3} epochs");
            let (name, shards) = (&source.name, source.order.corpus().shards());
            log::info!(
                "source {name}: {}",
                if *known { "known, goes on at " } else { "new, begins at " }.to_owned() + &place
            );
            let seen = shards.iter().filter(|shard| !known && usage.trains(shard)).count();
            if seen > 0 {
                log::warn!(
                    "source {name} is new, and {seen} of its {} shards were trained on before, in other company: they are \
                     read again; a source that keeps its shards goes on where it is",
                    shards.len()
                );
            }
        }
        for Standing { name, position, .. } in &self.dropped {
            log::info!("source {name}: dropped, stays at token {position} of its order");
        }
    }
}
