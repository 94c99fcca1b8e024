//! Mixtures: every source in its own order, whatever becomes of shares and however samples are cut into batches.
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::support::*;
use proptest::prelude::*;
use rewarm::data::{
    Batch, Corpus, Dealt, LeftOut, Mixture, Order, Shares, Side, Source, Sources, Split, fill_batch,
};
use tempfile::tempdir;

const VOCAB: u32 = 65_536;
const SEQ_LEN: usize = 4;

fn source(name: &str, prefix: &Path) -> Source {
    let corpus = Arc::new(open(prefix));
    Source { name: name.into(), order: Order::new(corpus, Side::All, Split::NONE, SEQ_LEN, 3).unwrap() }
}

/// Sources of these many documents; no two share a token.
fn sources(folder: &Path, documents: &[usize]) -> Sources {
    let list = documents.iter().enumerate().map(|(i, count)| {
        let name = format!("s{i}");
        source(&name, &megatron(folder, &name, &counting(*count, 30, 10_000 * i as u16)))
    });
    Sources::new(list.collect()).unwrap()
}

fn mixture(folder: &Path, documents: &[usize], changes: &[(u64, Vec<f64>)]) -> Mixture {
    let origin = Dealt::nothing(documents.len());
    let shares = Shares::new(origin, changes).unwrap();
    let cursor = shares.seek(0);
    Mixture::new(sources(folder, documents), shares, vec![LeftOut::default(); documents.len()], cursor)
}

/// The next sequences, as batches of these sizes give them.
fn read(mixture: &mut Mixture, sizes: &[usize]) -> Vec<Vec<i32>> {
    let (mut batch, mut sequences) = (Batch::default(), Vec::new());
    for size in sizes {
        mixture.fill(*size, VOCAB, &mut batch).unwrap();
        assert!(batch.tokens.iter().zip(&batch.targets).all(|(token, target)| token + 1 == *target));
        sequences.extend(batch.tokens.chunks(SEQ_LEN).map(<[i32]>::to_vec));
    }
    sequences
}

#[test]
fn one_source_is_the_order_that_it_was() {
    let dir = tempdir().unwrap();
    let mut mixture = mixture(dir.path(), &[20], &[(0, vec![1.0])]);
    let order = source("s0", &dir.path().join("s0")).order;
    assert_eq!(mixture.sources().fingerprint(), order.corpus().fingerprint());
    let (mut expected, mut found) = (Batch::default(), Batch::default());
    for step in 0..50 {
        fill_batch(&order, step * 8, 8, VOCAB, &mut expected).unwrap();
        mixture.fill(8, VOCAB, &mut found).unwrap();
        assert_eq!(found, expected, "step {step}");
    }
}

#[test]
fn the_fingerprint_covers_all_sources_in_order() {
    let dir = tempdir().unwrap();
    let prefixes = ["a", "b", "c"]
        .map(|name| megatron(dir.path(), name, &counting(10, 30, u16::from(name.as_bytes()[0]) * 100)));
    let of = |chosen: &[usize]| {
        let list = chosen.iter().map(|i| source(&format!("s{i}"), &prefixes[*i])).collect();
        Sources::new(list).unwrap().fingerprint()
    };
    let all = [of(&[0]), of(&[0, 1]), of(&[1, 0]), of(&[0, 2]), of(&[0, 1, 2])];
    let different: std::collections::HashSet<u128> = all.into();
    assert_eq!(different.len(), all.len());
    let joined = Corpus::open(&[spec(&prefixes[0]), spec(&prefixes[1])].concat()).unwrap();
    assert_ne!(of(&[0, 1]), joined.fingerprint());
}

#[test]
fn a_shard_belongs_to_one_source() {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "a", &counting(10, 30, 0));
    let twice = Sources::new(vec![source("new", &prefix), source("replay", &prefix)]);
    mentions(&refusal(twice), &["a.bin", "new", "replay", "larger weight"]);
}

#[test]
fn a_token_that_the_model_does_not_have_is_refused_by_its_file() {
    let dir = tempdir().unwrap();
    let mut mixture = mixture(dir.path(), &[9, 9], &[(0, vec![0.5, 0.5])]);
    let error = refusal(mixture.fill(8, 10_000, &mut Batch::default()));
    mentions(&error, &["expected 0..10000", "s1.bin"]);
}

/// One change of weights: how many samples they hold for, and what they are.
fn changes(sources: usize) -> impl Strategy<Value = Vec<(u64, Vec<f64>)>> {
    let weight = prop_oneof![Just(0.0), 0.01..1.0];
    let weights = prop::collection::vec(weight, sources)
        .prop_filter("one is positive", |w| w.iter().any(|weight| *weight > 0.0));
    prop::collection::vec((1u64..150, weights), 1..5).prop_map(|stretches| {
        let mut first = 0;
        let start = |(length, weights): (u64, Vec<f64>)| {
            first += length;
            (first - length, weights)
        };
        stretches.into_iter().map(start).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_split_reads_the_same_and_no_epoch_repeats_or_drops(
        (documents, changes) in prop::collection::vec(4usize..20, 2..5)
            .prop_flat_map(|documents| (Just(documents.clone()), changes(documents.len()))),
        sizes in prop::collection::vec(1usize..20, 60),
    ) {
        let dir = tempdir().unwrap();
        let mut whole = mixture(dir.path(), &documents, &changes);
        let total = sizes.iter().sum::<usize>();
        let sequences = read(&mut whole, &[total]);
        prop_assert_eq!(&read(&mut mixture(dir.path(), &documents, &changes), &sizes), &sequences);

        // A part of them after a kill: from what a checkpoint knows, and from the shares alone.
        let half = sizes[..30].iter().sum::<usize>();
        let mut first = mixture(dir.path(), &documents, &changes);
        read(&mut first, &sizes[..30]);
        let text = serde_json::to_string(first.dealt()).unwrap();
        let shares = first.shares().clone();
        for cursor in [shares.at(serde_json::from_str(&text).unwrap()), shares.seek(half as u64)] {
            let mut rest = Mixture::new(sources(dir.path(), &documents), shares.clone(), first.left_out().to_vec(), cursor);
            prop_assert_eq!(&read(&mut rest, &[total - half])[..], &sequences[half..]);
        }

        // Tokens tell their source; in each epoch of a source every window comes once.
        let mut windows: HashMap<usize, Vec<Vec<i32>>> = HashMap::new();
        for sequence in sequences {
            windows.entry(sequence[0] as usize / 10_000).or_default().push(sequence);
        }
        for (i, source) in whole.sources().list().iter().enumerate() {
            let read = windows.remove(&i).unwrap_or_default();
            prop_assert_eq!(read.len() as u64, whole.dealt().taken[i]);
            for epoch in read.chunks(source.order.windows() as usize) {
                let mut distinct = epoch.to_vec();
                distinct.sort();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), epoch.len());
            }
        }
    }
}
