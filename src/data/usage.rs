//! What the phases of a lineage have done with documents: which they trained on, and which they held out.
//!
//! Shards are known by their fingerprints, which paths are no part of, so a record holds wherever the data lie now.
use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::shard::Shard;
use super::split::{Side, Split};

/// One side of a split of every shard of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    side: Side,
    #[serde(flatten)]
    split: Split,
    /// Fingerprints, in hex.
    shards: BTreeSet<String>,
}

/// What was trained on, and what was held out to be evaluated on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    trained: Vec<Part>,
    held_out: Vec<Part>,
}

/// Documents of a corpus that were already put to the other use.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedDocuments {
    /// How many.
    pub documents: u64,
    /// Of so many that the corpus is asked for.
    pub of: u64,
    /// The file that the first of them lie in.
    pub path: String,
    /// How the documents of the corpus were divided then.
    pub split: Split,
}

fn name_of(shard: &Shard) -> String {
    format!("{:032x}", shard.fingerprint())
}

impl Usage {
    /// Notes that a side of a corpus is trained on.
    pub fn trains_on(&mut self, corpus: &Corpus, side: Side, split: Split) {
        add(&mut self.trained, Part::of(corpus.shards().iter(), side, split));
    }

    /// Notes that a side of a corpus is evaluated on. Of whole shards, those that are trained on are not held out.
    pub fn holds_out(&mut self, corpus: &Corpus, side: Side, split: Split) {
        let open = |shard: &&Shard| side != Side::All || !self.trains(shard);
        let shards: Vec<&Shard> = corpus.shards().iter().filter(open).collect();
        add(&mut self.held_out, Part::of(shards.into_iter(), side, split));
    }

    /// Whether anything of a shard is trained on.
    pub fn trains(&self, shard: &Shard) -> bool {
        let name = name_of(shard);
        self.trained.iter().any(|part| part.shards.contains(&name))
    }

    /// Adds what another phase has done.
    pub fn extend(&mut self, other: Self) {
        other.trained.into_iter().for_each(|part| add(&mut self.trained, part));
        other.held_out.into_iter().for_each(|part| add(&mut self.held_out, part));
    }

    /// What of these shards was held out before and is on this side of this split.
    pub fn held_out_of(&self, shards: &[&Shard], side: Side, split: Split) -> Option<SharedDocuments> {
        overlap(&self.held_out, shards, Part::of([].into_iter(), side, split))
    }

    /// What of these shards was trained on before and is on this side of this split.
    pub fn trained_of(&self, shards: &[&Shard], side: Side, split: Split) -> Option<SharedDocuments> {
        overlap(&self.trained, shards, Part::of([].into_iter(), side, split))
    }
}

impl Part {
    fn of<'a>(shards: impl Iterator<Item = &'a Shard>, side: Side, split: Split) -> Self {
        let whole = side == Side::All || (side == Side::Train && split.fraction == 0.0);
        let (side, split) = if whole { (Side::All, Split::NONE) } else { (side, split) };
        Self { side, split, shards: shards.map(name_of).collect() }
    }

    fn has(&self, key: u64, document: u64) -> bool {
        match self.side {
            Side::All => true,
            Side::Train => !self.split.holds_out(key, document),
            Side::Validation => self.split.holds_out(key, document),
        }
    }

    /// Whether no document can be in both: the two sides of one split, or of two of which one holds out a superset. Then
    /// none has to be looked at.
    fn is_apart_from(&self, other: &Self) -> bool {
        let (train, held) = match (self.side, other.side) {
            (Side::Train, Side::Validation) => (self.split, other.split),
            (Side::Validation, Side::Train) => (other.split, self.split),
            _ => return false,
        };
        train.seed == held.seed && held.fraction <= train.fraction
    }
}

fn add(list: &mut Vec<Part>, part: Part) {
    if part.shards.is_empty() {
        return;
    }
    match list.iter_mut().find(|known| known.side == part.side && known.split == part.split) {
        Some(known) => known.shards.extend(part.shards),
        None => list.push(part),
    }
}

/// The documents of `shards` that `now` has and the first of the earlier parts with any of them has, too.
fn overlap(before: &[Part], shards: &[&Shard], now: Part) -> Option<SharedDocuments> {
    before.iter().filter(|part| !part.is_apart_from(&now)).find_map(|part| {
        let (mut documents, mut of, mut path) = (0, 0, None);
        for shard in shards.iter().filter(|shard| part.shards.contains(&name_of(shard))) {
            let (then_key, now_key) = (part.split.key(shard), now.split.key(shard));
            let count = |document: u64| {
                let asked = now.has(now_key, document);
                (u64::from(asked && part.has(then_key, document)), u64::from(asked))
            };
            let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
            let (shared, asked) = (0..shard.documents()).into_par_iter().map(count).reduce(|| (0, 0), sum);
            if shared > 0 {
                path.get_or_insert_with(|| shard.path().display().to_string());
            }
            documents += shared;
            of += asked;
        }
        path.map(|path| SharedDocuments { documents, of, path, split: part.split })
    })
}

#[cfg(test)]
mod tests {
    use super::super::shard::Format;
    use super::super::writer::ShardWriter;
    use super::*;

    /// A shard of one document for each of these lengths.
    fn corpus(dir: &std::path::Path, name: &str, documents: u64) -> Corpus {
        let prefix = dir.join(name);
        let mut writer = ShardWriter::create(&prefix, 100).unwrap();
        for document in 0..documents {
            writer.push(&[document as u32 % 7, name.len() as u32, 3]).unwrap();
        }
        writer.finish().unwrap();
        let shard = Shard::open(&prefix.with_extension("bin"), Format::Megatron).unwrap();
        Corpus::from_shards(vec![shard]).unwrap()
    }

    fn shards(corpus: &Corpus) -> Vec<&Shard> {
        corpus.shards().iter().collect()
    }

    #[test]
    fn documents_on_both_sides_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (pile, other) = (corpus(dir.path(), "pile", 4000), corpus(dir.path(), "other", 100));
        let split = |fraction, seed| Split { fraction, seed };
        let mut before = Usage::default();
        before.trains_on(&pile, Side::Train, split(0.1, 7));
        before.holds_out(&pile, Side::Validation, split(0.1, 7));
        let held = |f, seed| before.trained_of(&shards(&pile), Side::Validation, split(f, seed));
        let trained = |f, seed| before.held_out_of(&shards(&pile), Side::Train, split(f, seed));
        // The same split, and what lies within it.
        assert_eq!((held(0.1, 7), trained(0.1, 7)), (None, None));
        assert_eq!((held(0.05, 7), trained(0.2, 7)), (None, None));
        // Another key mixes both ways; so does another fraction, one way.
        for found in [held(0.1, 8), held(0.2, 7), trained(0.1, 8), trained(0.05, 7), trained(0.0, 7)] {
            let found = found.unwrap();
            assert!(found.documents > 100 && found.of >= found.documents, "{found:?}");
            assert!(found.path.ends_with("pile.bin") && found.split == split(0.1, 7));
        }
        // Nine tenths of a tenth of another key.
        let nine = held(0.1, 8).unwrap();
        assert!((nine.documents as f64 / nine.of as f64 - 0.9).abs() < 0.05, "{nine:?}");
        assert_eq!(before.trained_of(&shards(&other), Side::All, Split::NONE), None);
        assert_eq!(before.trained_of(&shards(&pile), Side::All, Split::NONE).unwrap().of, 4000);
    }

    #[test]
    fn a_record_grows_by_what_is_new_and_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (pile, other) = (corpus(dir.path(), "pile", 40), corpus(dir.path(), "other", 40));
        let split = Split { fraction: 0.25, seed: 7 };
        let mut first = Usage::default();
        first.trains_on(&pile, Side::Train, split);
        first.holds_out(&pile, Side::Validation, split);
        // A named set of what is trained on is not held out.
        first.holds_out(&pile, Side::All, Split::NONE);
        let mut chain = first.clone();
        chain.extend(first.clone());
        assert_eq!(chain, first);
        let mut second = Usage::default();
        second.trains_on(&other, Side::All, Split::NONE);
        chain.extend(second);
        assert!(chain.trains(&other.shards()[0]) && !first.trains(&other.shards()[0]));
        let text = serde_json::to_string(&chain).unwrap();
        assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), chain);
    }
}
