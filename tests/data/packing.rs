//! `order = "packed"`: documents whole in windows, told apart by tokens that count up over the corpus.
use std::collections::HashSet;
use std::sync::Arc;

use crate::support::*;
use rewarm::data::{
    Batch, Boundaries, Corpus, Dealt, LeftOut, Mixture, Order, Shares, Side, Source, Sources, Split,
};
use tempfile::{TempDir, tempdir};

const VOCAB: u32 = 1 << 16;
const LONGEST: usize = 60;

/// Two shards, and the document of every token.
fn corpus() -> (TempDir, Arc<Corpus>, Vec<Vec<u16>>) {
    let dir = tempdir().unwrap();
    let documents = counting(1500, LONGEST, 0);
    megatron(dir.path(), "a", &documents[..700]);
    megatron(dir.path(), "b", &documents[700..]);
    let corpus = Arc::new(open(dir.path()));
    (dir, corpus, documents)
}

fn packed(corpus: &Arc<Corpus>, fraction: f64, (seq_len, window): (usize, usize), seed: u64) -> Order {
    let (side, split) = (if fraction > 0.0 { Side::Train } else { Side::All }, Split { fraction, seed: 5 });
    Order::arranged(corpus.clone(), side, split, (seq_len, window), seed, "packed".parse().unwrap()).unwrap()
}

/// The pairs of an epoch, cut into windows: tokens, targets, weights and where documents start in samples.
fn epoch(order: Order, epoch: u64) -> Batch {
    let (seq_len, pairs) = (order.seq_len(), order.epoch_tokens() as usize);
    let shares = Shares::new(Dealt::nothing(1), &[(0, vec![1.0])]).unwrap();
    let first = epoch * pairs as u64 / seq_len as u64;
    let skip = (epoch * pairs as u64 - first * seq_len as u64) as usize;
    let cursor = shares.seek(first);
    let sources = Sources::new(vec![Source { name: "only".into(), order }]).unwrap();
    let mixture = Mixture::new(sources, shares, vec![LeftOut::default()], cursor);
    let mut mixture = mixture.with_documents(Boundaries::new(true, false, None));
    let mut batch = Batch::default();
    mixture.fill((skip + pairs).div_ceil(seq_len), VOCAB, &mut batch).unwrap();
    for list in [&mut batch.tokens, &mut batch.targets, &mut batch.documents] {
        list.drain(..skip);
        list.truncate(pairs);
    }
    batch.weights.drain(..skip);
    batch.weights.truncate(pairs);
    batch
}

#[test]
fn documents_are_whole_and_every_token_is_a_target_once() {
    let (_dir, corpus, documents) = corpus();
    let of_token: Vec<usize> =
        documents.iter().enumerate().flat_map(|(d, document)| vec![d; document.len()]).collect();
    // Windows as long as samples, longer ones that samples join, and some that most documents do not fit into.
    for (fraction, seq_len, window) in
        [(0.0, 64, 64), (0.3, 64, 64), (0.0, 7, 64), (0.2, 50, 128), (0.0, 20, 20)]
    {
        let order = packed(&corpus, fraction, (seq_len, window), 1);
        let held: HashSet<usize> = {
            let of_shard = |d: usize| if d < 700 { (0, d) } else { (1, d - 700) };
            let is_held = |d: &usize| {
                let (shard, document) = of_shard(*d);
                order.positions_of(shard, document as u64).unwrap().is_none()
            };
            (0..documents.len()).filter(is_held).collect()
        };
        assert_eq!(held.is_empty(), fraction == 0.0);
        let trained: Vec<usize> = (0..of_token.len()).filter(|t| !held.contains(&of_token[*t])).collect();
        let padding = order.padding().unwrap();
        assert_eq!(order.epoch_tokens() + 1, trained.len() as u64 + padding);
        let (waste, most) = (padding as f64 / trained.len() as f64, if window < 64 { 0.2 } else { 0.02 });
        assert!(waste < most, "{waste} of {seq_len}, {window}");

        let batch = epoch(order, 1);
        let targets = batch.targets.iter().zip(&batch.weights).filter(|(_, weight)| **weight != 0.0);
        let mut seen: Vec<usize> = targets.map(|(target, _)| *target as usize).collect();
        seen.sort_unstable();
        // Each once, but the first of the first window of the corpus.
        seen.dedup();
        assert_eq!(
            (seen.len(), batch.weights.iter().filter(|w| **w != 0.0).count()),
            (trained.len() - 1, seen.len())
        );
        assert!(batch.weights.iter().all(|w| *w == 0.0 || *w == 1.0));
        assert!(seen.iter().all(|target| trained.binary_search(target).is_ok()));

        for tokens in batch.tokens.chunks(window) {
            for part in tokens.chunk_by(|a, b| of_token[*a as usize] == of_token[*b as usize]) {
                let document = &documents[of_token[part[0] as usize]];
                let is_padded = part.windows(2).any(|pair| pair[0] == pair[1]);
                let begins = part[0] == i32::from(document[0]);
                if document.len() <= window {
                    assert!(
                        begins && (part.len() == document.len() || is_padded),
                        "{part:?} of {document:?}"
                    );
                    assert!(part.len() >= document.len());
                } else {
                    assert_eq!(part[0], tokens[0], "a long document begins a window or goes on in one");
                }
            }
        }
    }
}

/// Which documents are beside each other is the same in every epoch, and another one with another seed.
#[test]
fn windows_stay_and_are_shuffled() {
    let (_dir, corpus, _) = corpus();
    let windows = |seed: u64, number: u64| {
        let batch = epoch(packed(&corpus, 0.0, (64, 64), seed), number);
        let windows: Vec<Vec<i32>> = batch.tokens.chunks(64).map(<[i32]>::to_vec).collect();
        windows
    };
    let sorted = |mut windows: Vec<Vec<i32>>| {
        windows.sort();
        windows
    };
    assert_eq!(windows(1, 0), windows(1, 0));
    assert_ne!(windows(1, 0), windows(1, 1));
    assert_eq!(sorted(windows(1, 0)), sorted(windows(1, 1)));
    assert_ne!(sorted(windows(1, 0)), sorted(windows(2, 0)));
}

/// Attention of a document sees its own tokens, and padding no other document than the one before it.
#[test]
fn documents_of_a_window_are_told_apart() {
    let (_dir, corpus, documents) = corpus();
    let first: HashSet<i32> = documents.iter().map(|document| document[0].into()).collect();
    let batch = epoch(packed(&corpus, 0.0, (64, 64), 3), 0);
    let mut padded = 0;
    for (tokens, starts) in batch.tokens.chunks(64).zip(batch.documents.chunks(64)) {
        let mut start = 0;
        for (row, token) in tokens.iter().enumerate() {
            let is_padding = row > 0 && tokens[row - 1] == *token;
            padded += usize::from(is_padding);
            start = if row > 0 && first.contains(token) && !is_padding { row } else { start };
            assert_eq!(starts[row], start as i32, "{tokens:?}");
        }
    }
    assert!(padded > 0);
}

/// Where a document lies leads to the samples that have it.
#[test]
fn samples_of_documents_are_found() {
    let (_dir, corpus, _) = corpus();
    for (seq_len, window) in [(64, 64), (7, 64), (20, 20)] {
        let mut order = packed(&corpus, 0.2, (seq_len, window), 1);
        order.shift(3);
        let rows = 2 * order.epoch_tokens() / seq_len as u64;
        let of_row = |row: u64| {
            let excerpts = order.excerpts(row).unwrap();
            let read = excerpts.into_iter().filter(|excerpt| !excerpt.padding);
            read.map(|excerpt| (excerpt.place.shard, excerpt.place.document)).collect::<HashSet<_>>()
        };
        let read: Vec<_> = (0..rows).map(of_row).collect();
        for (shard, document) in
            (0..700).step_by(37).map(|d| (0, d)).chain((0..800).step_by(41).map(|d| (1, d)))
        {
            let found = match order.positions_of(shard, document).unwrap() {
                Some(tokens) => {
                    (0..3).flat_map(|epoch| order.samples_of(epoch, tokens.clone())).flatten().collect()
                }
                None => Vec::new(),
            };
            let mut found: Vec<u64> = found.into_iter().filter(|row| *row < rows).collect();
            found.sort_unstable();
            found.dedup();
            let expected: Vec<u64> =
                (0..rows).filter(|row| read[*row as usize].contains(&(shard, document))).collect();
            assert_eq!(found, expected, "{shard}:{document}");
        }
    }
}

#[test]
fn documents_that_are_not_known_are_not_packed() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("a.bin"), [7u8; 400]).unwrap();
    let corpus = Corpus::open(&[format!("raw-u16:{}", dir.path().join("a.bin").display())]).unwrap();
    let order = "packed".parse().unwrap();
    let result = Order::arranged(Arc::new(corpus), Side::All, Split::NONE, (8, 8), 1, order);
    mentions(&refusal(result), &["order = \"packed\"", "a.bin", "no .idx", "data tokenize"]);
}
