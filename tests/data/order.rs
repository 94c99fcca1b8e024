//! Order and split: exact on tiny corpora, bijective on all.
use std::collections::HashSet;
use std::sync::Arc;

use crate::support::*;
use proptest::prelude::*;
use rewarm::data::{Batch, Corpus, Order, Side, Split, Stream, fill_batch, fill_windows};
use tempfile::tempdir;

const VOCAB: u32 = 65_536;

fn order(corpus: &Arc<Corpus>, side: Side, split: Split, seq_len: usize, seed: u64) -> Order {
    Order::new(corpus.clone(), side, split, seq_len, seed).unwrap()
}

fn sample(order: &Order, s: u64) -> Vec<u32> {
    let mut out = vec![0; order.seq_len() + 1];
    order.read(s, &mut out, VOCAB).unwrap();
    out
}

/// Two shards, 25 tokens 0..25 in 6 documents.
fn tiny() -> (tempfile::TempDir, Arc<Corpus>) {
    let dir = tempdir().unwrap();
    let documents: Vec<Vec<u16>> =
        [0..3, 3..4, 4..10, 10..12, 12..20, 20..25].into_iter().map(Iterator::collect).collect();
    megatron(dir.path(), "a", &documents[..3]);
    megatron(dir.path(), "b", &documents[3..]);
    let corpus = Arc::new(open(dir.path()));
    (dir, corpus)
}

#[test]
fn a_tiny_corpus_exactly() {
    let (_dir, corpus) = tiny();
    let order = order(&corpus, Side::All, Split::NONE, 4, 42);
    assert_eq!((order.windows(), order.tokens()), (6, 25));
    let mut out = [0; 5];
    for window in 0..6u32 {
        order.read_window(window.into(), &mut out, VOCAB).unwrap();
        assert_eq!(out, std::array::from_fn(|i| 4 * window + i as u32));
    }
    mentions(&refusal(order.read_window(6, &mut out, VOCAB)), &["window 6", "there are 6"]);
    // The order itself is a promise: a change would break every resumed run.
    let visited: Vec<u64> = (0..18).map(|s| order.window_of(s).1).collect();
    assert_eq!(visited, ORDER_OF_SEED_42);
    for s in 0..18 {
        let at = order.locate(s).unwrap();
        assert_eq!((at.epoch, at.window), (s / 6, order.window_of(s).1));
        assert_eq!(sample(&order, s)[0] as u64, 4 * at.window);
        let (start, _) = corpus.shards()[at.shard].document(at.document).unwrap();
        assert_eq!(start + at.offset, at.token);
        assert_eq!(at.token + if at.shard == 0 { 0 } else { 10 }, 4 * at.window);
    }
}

const ORDER_OF_SEED_42: [u64; 18] = [5, 3, 2, 4, 1, 0, 5, 2, 1, 0, 3, 4, 5, 2, 0, 3, 1, 4];

#[test]
fn samples_past_the_epoch_and_far_out() {
    let (_dir, corpus) = tiny();
    let order = order(&corpus, Side::All, Split::NONE, 4, 1);
    for epoch in [0, 1, 2, 1_000_000_000, u64::MAX / 6 - 1] {
        let windows: HashSet<u64> = (0..6).map(|i| order.window_of(epoch * 6 + i).1).collect();
        assert_eq!(windows.len(), 6);
        assert!((0..6).all(|i| order.window_of(epoch * 6 + i).0 == epoch));
    }
    let epochs: HashSet<Vec<u64>> =
        (0..20).map(|e| (0..6).map(|i| order.window_of(e * 6 + i).1).collect()).collect();
    assert!(epochs.len() > 15, "epochs repeat each other");
    sample(&order, u64::MAX);
}

#[test]
fn seeds_and_corpora_give_different_orders() {
    let dir = tempdir().unwrap();
    megatron(dir.path(), "a", &counting(500, 20, 0));
    let corpus = Arc::new(open(dir.path()));
    let visit = |corpus: &Arc<Corpus>, seed| -> Vec<u64> {
        let order = order(corpus, Side::All, Split::NONE, 8, seed);
        (0..order.windows()).map(|s| order.window_of(s).1).collect()
    };
    let first = visit(&corpus, 1);
    assert_eq!(first, visit(&Arc::new(open(dir.path())), 1));
    assert_ne!(first, visit(&corpus, 2));
    megatron(dir.path(), "a", &counting(500, 20, 1));
    assert_ne!(first, visit(&Arc::new(open(dir.path())), 1));
}

#[test]
fn too_few_tokens_are_refused() {
    let (_dir, corpus) = tiny();
    let new = |seq_len| Order::new(corpus.clone(), Side::All, Split::NONE, seq_len, 0);
    assert_eq!(new(24).unwrap().windows(), 1);
    mentions(&refusal(new(25)), &["25 tokens", "25 + 1"]);
    mentions(&refusal(new(0)), &["sequence length is 0"]);
    mentions(&refusal(new(usize::MAX)), &["25 tokens"]);
}

#[test]
fn a_split_is_disjoint_complete_and_by_document() {
    let dir = tempdir().unwrap();
    // Several blocks of 1024 documents in the first shard.
    megatron(dir.path(), "a", &counting(3000, 9, 0));
    megatron(dir.path(), "b", &counting(50, 9, 20_000));
    let corpus = Arc::new(open(dir.path()));
    let split = Split { fraction: 0.1, seed: 5 };
    let side = |side| {
        let stream = Stream::new(corpus.clone(), side, split).unwrap();
        let mut documents = HashSet::new();
        let mut tokens = vec![0; stream.tokens() as usize];
        stream.read(0, &mut tokens, VOCAB).unwrap();
        for position in 0..stream.tokens() {
            let at = stream.locate(position).unwrap();
            documents.insert((at.shard, at.document));
            let mut token = [0];
            corpus.shards()[at.shard].read(at.token, &mut token, VOCAB).unwrap();
            assert_eq!(token[0], tokens[position as usize]);
        }
        (documents, stream.tokens())
    };
    let (train, train_tokens) = side(Side::Train);
    let (held_out, held_out_tokens) = side(Side::Validation);
    assert!(train.is_disjoint(&held_out));
    assert_eq!(train.len() + held_out.len(), 3050);
    assert_eq!(train_tokens + held_out_tokens, corpus.tokens());
    // Five standard deviations of a binomial of 3050 × 0.1.
    assert!((held_out.len() as f64 - 305.0).abs() < 83.0, "{}", held_out.len());

    // A shard's documents keep their side when other shards come or go.
    let alone = Arc::new(open(&dir.path().join("b")));
    let stream = Stream::new(alone, Side::Validation, split).unwrap();
    let documents: HashSet<_> = (0..stream.tokens()).map(|p| stream.locate(p).unwrap().document).collect();
    assert_eq!(documents, held_out.iter().filter(|(shard, _)| *shard == 1).map(|(_, d)| *d).collect());
}

#[test]
fn sides_of_a_split_feed_orders() {
    let dir = tempdir().unwrap();
    megatron(dir.path(), "a", &counting(2000, 30, 0));
    let corpus = Arc::new(open(dir.path()));
    let split = Split { fraction: 0.05, seed: 0 };
    let train = order(&corpus, Side::Train, split, 16, 3);
    let mut stream = vec![0; train.tokens() as usize];
    Stream::new(corpus.clone(), Side::Train, split).unwrap().read(0, &mut stream, VOCAB).unwrap();
    for s in 0..train.windows() {
        let start = 16 * train.window_of(s).1 as usize;
        assert_eq!(sample(&train, s), &stream[start..start + 17]);
    }
}

#[test]
fn splits_that_leave_nothing_are_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.bin");
    std::fs::write(&path, [0; 64]).unwrap();
    let corpus = Arc::new(Corpus::open(&[format!("raw-u16:{}", path.display())]).unwrap());
    let new = |side, fraction| Stream::new(corpus.clone(), side, Split { fraction, seed: 0 });
    mentions(
        &refusal(new(Side::Validation, 0.01)),
        &["leaves no tokens for validation", "counts as one document"],
    );
    mentions(&refusal(new(Side::Validation, 0.0)), &["leaves no tokens for validation"]);
    for fraction in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        mentions(&refusal(new(Side::Train, fraction)), &["fraction", "less than 1"]);
    }
    assert_eq!(new(Side::Train, 0.0).unwrap().tokens(), 32);
}

#[test]
fn batches_of_any_size_give_the_same_sequences() {
    let (_dir, corpus) = tiny();
    let order = order(&corpus, Side::All, Split::NONE, 4, 9);
    let (mut whole, mut part) = (Batch::default(), Batch::default());
    fill_batch(&order, 3, 8, VOCAB, &mut whole).unwrap();
    assert_eq!((whole.tokens.len(), whole.targets.len()), (32, 32));
    for i in 0..8 {
        fill_batch(&order, 3 + i as u64, 1, VOCAB, &mut part).unwrap();
        assert_eq!(part.tokens, whole.tokens[4 * i..4 * i + 4]);
        assert_eq!(part.targets, whole.targets[4 * i..4 * i + 4]);
        assert!(part.tokens.iter().zip(&part.targets).all(|(a, b)| a + 1 == *b));
    }
    fill_windows(&order, 1, 2, VOCAB, &mut part).unwrap();
    assert_eq!(part.tokens, (4..12).collect::<Vec<_>>());
    mentions(&refusal(fill_windows(&order, 5, 2, VOCAB, &mut part)), &["window 6"]);
    mentions(&refusal(fill_batch(&order, 0, 6, 24, &mut part)), &["token 14", "is 24", "b.bin"]);
}

#[test]
fn a_damaged_document_index_is_refused_by_the_split_and_not_needed_without() {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "a", &counting(10, 5, 0));
    let lengths: Vec<usize> = counting(10, 5, 0).iter().map(Vec::len).collect();
    let mut idx = Idx::new(8, 2, &lengths);
    idx.pointers[4] = idx.pointers[8];
    std::fs::write(prefix.with_extension("idx"), idx.bytes()).unwrap();
    let corpus = Arc::new(open(&prefix));
    let split = Split { fraction: 0.001, seed: 0 };
    mentions(&refusal(Stream::new(corpus.clone(), Side::Train, split)), &["document 4", "a.idx"]);
    order(&corpus, Side::All, Split::NONE, 4, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn each_epoch_visits_each_window_once(documents in 1usize..200, seq_len in 1usize..9, seed: u64, epoch in 0u64..1000) {
        let dir = tempdir().unwrap();
        let prefix = megatron(dir.path(), "a", &counting(documents + 9, 12, 0));
        let order = Order::new(Arc::new(open(&prefix)), Side::All, Split::NONE, seq_len, seed).unwrap();
        let n = order.windows();
        prop_assert_eq!(n, (order.tokens() - 1) / seq_len as u64);
        let seen: HashSet<Vec<u32>> = (0..n).map(|i| sample(&order, epoch * n + i)).collect();
        prop_assert_eq!(seen.len() as u64, n);
    }
}
