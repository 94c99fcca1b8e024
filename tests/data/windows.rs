//! Windows longer than samples, parts of windows, and other arrangements than a shuffled one.
use std::collections::HashSet;
use std::sync::Arc;

use crate::support::*;
use proptest::prelude::*;
use rewarm::data::{Arrangement, Batch, Corpus, Order, Side, Split, fill_batch};
use tempfile::{TempDir, tempdir};

const VOCAB: u32 = 65_536;

/// Documents of tokens that count up over the corpus.
fn corpus(documents: usize) -> (TempDir, Arc<Corpus>) {
    let dir = tempdir().unwrap();
    megatron(dir.path(), "a", &counting(documents / 2, 30, 0));
    let first = open(dir.path()).tokens() as u16;
    megatron(dir.path(), "b", &counting(documents - documents / 2, 30, first));
    let corpus = Arc::new(open(dir.path()));
    (dir, corpus)
}

fn order(corpus: &Arc<Corpus>, seq_len: usize, window: usize, seed: u64) -> Order {
    Order::new(corpus.clone(), Side::All, Split::NONE, seq_len, seed).unwrap().windowed(window).unwrap()
}

fn arranged(corpus: &Arc<Corpus>, split: Split, arrangement: &str) -> rewarm::Result<Order> {
    let side = if split.fraction > 0.0 { Side::Train } else { Side::All };
    Order::arranged(corpus.clone(), side, split, (4, 4), 1, arrangement.parse().unwrap())
}

fn targets(order: &Order, samples: std::ops::Range<u64>) -> Vec<i32> {
    let mut batch = Batch::default();
    fill_batch(order, samples.start, (samples.end - samples.start) as usize, VOCAB, &mut batch).unwrap();
    assert!(batch.tokens.iter().zip(&batch.targets).all(|(token, target)| token + 1 == *target));
    batch.targets
}

/// Four windows of six pairs, read in samples of four: what lies where they are joined.
#[test]
fn samples_join_windows_and_epochs() {
    let (_dir, corpus) = corpus(3);
    assert!(corpus.tokens() >= 25, "{}", corpus.tokens());
    let order = order(&corpus, 4, 6, 42);
    let (windows, epoch) = (order.windows(), order.epoch_tokens());
    assert_eq!((windows, epoch), ((corpus.tokens() - 1) / 6, 6 * windows));
    let visits: Vec<u64> = (0..2 * windows).map(|i| order.window_of(3 * i / 2 + i % 2).1).collect();
    let mut batch = Batch::default();
    fill_batch(&order, 0, 3, VOCAB, &mut batch).unwrap();
    let at = |visit: usize, i: u64| (6 * visits[visit] + i) as i32;
    // Sample 1 has the end of the first window and the beginning of the second.
    assert_eq!(batch.tokens[4..8], [at(0, 4), at(0, 5), at(1, 0), at(1, 1)]);
    assert_eq!(batch.targets[4..8], [at(0, 5), at(0, 6), at(1, 1), at(1, 2)]);
    let mut out = [0; 6];
    order.read(1, &mut out, VOCAB).unwrap();
    assert_eq!(out.map(|token| token as i32), [at(0, 4), at(0, 5), at(0, 6), at(1, 0), at(1, 1), at(1, 2)]);
    let excerpts = order.excerpts(1).unwrap();
    assert_eq!(excerpts.iter().map(|excerpt| excerpt.tokens).sum::<u64>(), 6);
    let pieces = order.pieces(1);
    assert_eq!(pieces.iter().map(|piece| (piece.epoch, piece.targets)).collect::<Vec<_>>(), [(0, 2), (0, 2)]);
}

#[test]
fn windows_and_subsets_that_cannot_be() {
    let (_dir, corpus) = corpus(10);
    let new = || Order::new(corpus.clone(), Side::All, Split::NONE, 4, 0).unwrap();
    mentions(&refusal(new().windowed(100_000)), &["one window takes 100000 + 1", "data.window"]);
    for tokens in [0, 3, 1_000_000] {
        mentions(&refusal(new().subset(tokens)), &["its subset", "all of them have"]);
    }
}

/// Changes of a length in the middle: the pairs are those of one stream, whatever was read of it how.
#[test]
fn a_stream_goes_on_at_a_token_whatever_the_samples() {
    let (_dir, corpus) = corpus(30);
    let whole = targets(&order(&corpus, 1, 32, 5), 0..3000);
    let (mut at, mut read) = (0, Vec::new());
    for (seq_len, samples) in [(7, 20), (32, 11), (1, 3), (8, 100), (31, 40)] {
        let mut order = order(&corpus, seq_len, 32, 5);
        order.shift(at);
        read.extend(targets(&order, 0..samples));
        at += seq_len as u64 * samples;
    }
    assert_eq!(read, whole[..read.len()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_token_of_an_epoch_is_a_target_once(
        documents in 12usize..60, seq_len in 1usize..20, longer in 0usize..40, seed: u64, shift in 0u64..500, epoch in 0u64..3,
        part in 0.1f64..1.0, in_part: bool,
    ) {
        let (_dir, corpus) = corpus(documents);
        let mut order = order(&corpus, seq_len, seq_len + longer, seed);
        let all = order.epoch_tokens();
        if in_part {
            order = order.subset(((all as f64 * part) as u64).max((seq_len + longer) as u64)).unwrap();
        }
        let of_epoch = order.epoch_tokens();
        order.shift(shift);
        let samples = (of_epoch * (epoch + 1)).div_ceil(seq_len as u64);
        let read = targets(&order, 0..samples);
        let first = (epoch * of_epoch).saturating_sub(shift) as usize;
        let in_epoch = &read[first..((epoch + 1) * of_epoch).saturating_sub(shift) as usize];
        let distinct: HashSet<i32> = in_epoch.iter().copied().collect();
        prop_assert_eq!(distinct.len(), in_epoch.len());
        prop_assert!(distinct.iter().all(|target| (1..=all as i32).contains(target)));
        if shift == 0 || epoch > shift / of_epoch {
            prop_assert_eq!(distinct.len() as u64, of_epoch);
        }
        // Where a document is read is where it is said to be.
        let document = documents as u64 / 4;
        let tokens = order.positions_of(0, document).unwrap().unwrap();
        let mut said: Vec<u64> = (0..=epoch + 2 + shift / of_epoch).flat_map(|e| order.samples_of(e, tokens.clone())).flatten().collect();
        said.sort_unstable();
        said.dedup();
        let holds = |sample: &u64| {
            order.excerpts(*sample).unwrap().iter().any(|e| (e.place.shard, e.place.document) == (0, document))
        };
        let found: Vec<u64> = (0..samples).filter(holds).collect();
        said.retain(|sample| *sample < samples);
        prop_assert_eq!(said, found);
    }
}

/// Numbers beside each shard.
fn scores(dir: &TempDir, name: &str, numbers: &[f32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(dir.path().join(format!("{name}.quality.f32")), bytes).unwrap();
}

#[test]
fn documents_are_read_in_the_order_of_their_numbers() {
    let (dir, corpus) = corpus(3000);
    let numbers: Vec<f32> = (0..3000).map(|d| ((d * 7919) % 1000) as f32 / 8.0 - 50.0).collect();
    scores(&dir, "a", &numbers[..1500]);
    scores(&dir, "b", &numbers[1500..]);
    let split = Split { fraction: 0.1, seed: 3 };
    for (arrangement, split) in [
        ("sorted:quality", Split::NONE),
        ("sorted:-quality", split),
        ("stored", split),
        ("stored", Split::NONE),
    ] {
        let order = arranged(&corpus, split, arrangement).unwrap();
        let mut expected: Vec<usize> = (0..3000).collect();
        match arrangement {
            "sorted:quality" => expected.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b])),
            "sorted:-quality" => expected.sort_by(|a, b| numbers[*b].total_cmp(&numbers[*a])),
            _ => {}
        }
        let mut read: Vec<usize> = Vec::new();
        for sample in 0..order.windows() {
            for excerpt in order.excerpts(sample).unwrap() {
                let document = excerpt.place.shard * 1500 + excerpt.place.document as usize;
                if read.last() != Some(&document) {
                    read.push(document);
                }
            }
        }
        // The next epoch has the same order; what is held out is not in it.
        assert_eq!(order.excerpts(3).unwrap(), order.excerpts(order.windows() + 3).unwrap());
        if split.fraction > 0.0 {
            let held_out: HashSet<usize> = expected.iter().copied().filter(|d| !read.contains(d)).collect();
            expected.retain(|document| !held_out.contains(document));
            assert!((2500..2800).contains(&expected.len()), "{}", expected.len());
        }
        // The last documents may lie behind the last window.
        assert!(read.len() + 4 > expected.len() && read == expected[..read.len()], "{arrangement}");
        let place = read[1234];
        let tokens = order.positions_of(place / 1500, (place % 1500) as u64).unwrap().unwrap();
        let samples = order.samples_of(1, tokens).concat_ranges();
        assert!(samples.iter().all(|sample| {
            order
                .excerpts(*sample)
                .unwrap()
                .iter()
                .any(|e| e.place.shard * 1500 + e.place.document as usize == place)
        }));
    }
    // A position means something only under the same numbers.
    let key = |arrangement| arranged(&corpus, Split::NONE, arrangement).unwrap().key();
    let before = key("sorted:quality");
    assert!(before != key("sorted:-quality") && before != key("shuffled") && before == key("sorted:quality"));
    scores(&dir, "b", &numbers[..1500]);
    assert_ne!(before, key("sorted:quality"));
}

trait ConcatRanges {
    fn concat_ranges(self) -> Vec<u64>;
}

impl ConcatRanges for Vec<std::ops::Range<u64>> {
    fn concat_ranges(self) -> Vec<u64> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn numbers_that_cannot_be_sorted_by() {
    let (dir, corpus) = corpus(20);
    let refused = || refusal(arranged(&corpus, Split::NONE, "sorted:quality"));
    mentions(&refused(), &["a.quality.f32"]);
    scores(&dir, "a", &[1.0; 10]);
    scores(&dir, "b", &[1.0; 9]);
    mentions(&refused(), &["b.quality.f32 has 36 bytes", "10 documents", "one number for every document"]);
    scores(&dir, "b", &[f32::NAN; 10]);
    mentions(&refused(), &["b.quality.f32: document 0", "NaN"]);
    assert!("sorted:".parse::<Arrangement>().is_err());
}

/// The first windows of the order of all, in another order in each epoch.
#[test]
fn a_subset_is_shuffled_among_itself() {
    let (_dir, corpus) = corpus(60);
    let all = order(&corpus, 8, 8, 9);
    let part = order(&corpus, 8, 8, 9).subset(8 * 20 + 5).unwrap();
    assert_eq!(part.windows(), 20);
    let of = |order: &Order, epoch: u64| -> Vec<u64> {
        (0..20).map(|i| order.window_of(epoch * part.windows() + i).1).collect()
    };
    let sorted = |mut windows: Vec<u64>| {
        windows.sort_unstable();
        windows
    };
    let first: Vec<u64> = (0..20).map(|i| all.window_of(i).1).collect();
    for epoch in 0..4 {
        assert_eq!(sorted(of(&part, epoch)), sorted(first.clone()));
    }
    assert!(of(&part, 0) != of(&part, 1) && of(&part, 1) != of(&part, 2));
}
