//! Planes of weights beside shards, written byte by byte.
use std::path::Path;
use std::sync::Arc;

use crate::support::*;
use half::f16;
use rewarm::data::{
    Batch, Corpus, Dealt, LeftOut, LossWeights, Mixture, Order, Shares, Side, Source, Sources, Split,
};
use tempfile::tempdir;

const SEQ_LEN: usize = 8;

fn plane(kind: u8, flag: u8, tokens: u64, weights: &[u8]) -> Vec<u8> {
    let mut bytes = b"RWWEIGHT".to_vec();
    bytes.extend([kind, flag, 0, 0, 0, 0, 0, 0]);
    bytes.extend(tokens.to_le_bytes());
    bytes.extend(weights);
    bytes
}

fn f16s(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|w| f16::from_f32(*w).to_le_bytes()).collect()
}

/// A shard of one document whose tokens count up.
fn shard(folder: &Path, name: &str, first: u16, tokens: u16) -> String {
    let prefix = megatron(folder, name, &[(first..first + tokens).collect()]);
    prefix.display().to_string()
}

fn open_specs(specs: &[String]) -> Corpus {
    Corpus::open(specs).unwrap()
}

#[test]
fn every_target_has_the_weight_that_was_written_for_it() {
    let dir = tempdir().unwrap();
    let specs =
        [shard(dir.path(), "a", 0, 40), shard(dir.path(), "b", 40, 30), shard(dir.path(), "c", 70, 30)];
    // By token: its number in u8, half of it negative in f16, and 1 where there is no plane.
    let weight = |token: i32| match token {
        0..40 => token as f32,
        40..70 => -(token as f32) / 2.0,
        _ => 1.0,
    };
    let of = |tokens: std::ops::Range<i32>| tokens.map(weight).collect::<Vec<_>>();
    let whole: Vec<u8> = (0..40).collect();
    std::fs::write(dir.path().join("a.weights"), plane(1, 0, 40, &whole)).unwrap();
    std::fs::write(dir.path().join("b.weights"), plane(2, 1, 30, &f16s(&of(40..70)))).unwrap();
    let corpus = Arc::new(open_specs(&specs));
    // In the second, rows join windows.
    for window in [SEQ_LEN, 20] {
        let weights = LossWeights::open(&corpus).unwrap().unwrap();
        let order = Order::new(corpus.clone(), Side::All, Split::NONE, SEQ_LEN, 3).unwrap();
        let order = order.windowed(window).unwrap();
        let rows = order.epoch_tokens() as usize / SEQ_LEN;
        let shares = Shares::new(Dealt::nothing(1), &[(0, vec![1.0])]).unwrap();
        let cursor = shares.seek(0);
        let sources = Sources::new(vec![Source { name: "only".into(), order }]).unwrap();
        let mixture = Mixture::new(sources, shares, vec![LeftOut::default()], cursor);
        let (mut mixture, mut batch) = (mixture.with_weights(vec![Some(weights)]), Batch::default());
        mixture.fill(rows, 100, &mut batch).unwrap();
        let expected: Vec<f32> = batch.targets.iter().map(|target| weight(*target)).collect();
        assert_eq!(batch.weights, expected);
        assert!(expected.contains(&-20.0) && expected.contains(&1.0));
    }
}

#[test]
fn no_plane_is_no_weights() {
    let dir = tempdir().unwrap();
    assert!(LossWeights::open(&open_specs(&[shard(dir.path(), "a", 0, 40)])).unwrap().is_none());
}

#[test]
fn planes_that_are_wrong_are_refused() {
    let dir = tempdir().unwrap();
    let spec = [shard(dir.path(), "a", 0, 40)];
    let mut half = vec![1.0; 40];
    let cases = |half: &mut Vec<f32>, bad: f32| {
        half[7] = bad;
        f16s(half)
    };
    let corpus = open_specs(&spec);
    for (bytes, words) in [
        (b"RWWEIGHT".to_vec(), vec!["no plane of weights"]),
        (plane(3, 0, 40, &[1; 40]), vec!["type is 3"]),
        (plane(1, 2, 40, &[1; 40]), vec!["mean nothing"]),
        (plane(1, 0, 39, &[1; 39]), vec!["39 tokens", "has 40 tokens"]),
        (plane(1, 0, 40, &[1; 39]), vec!["40 tokens in 63 bytes"]),
        (plane(1, 0, u64::MAX, &[1; 40]), vec!["has 40 tokens"]),
        (plane(1, 0, 40, &[0; 40]), vec!["all weights of the data are 0", "data.loss_weights"]),
        (plane(2, 0, 40, &cases(&mut half, -1.0)), vec!["token 7 is -1", "unlikelihood"]),
        (plane(2, 1, 40, &cases(&mut half, f32::NAN)), vec!["token 7 is NaN", "finite"]),
        (plane(2, 0, 40, &cases(&mut half, f32::INFINITY)), vec!["token 7 is inf", "finite"]),
    ] {
        std::fs::write(dir.path().join("a.weights"), bytes).unwrap();
        let message = LossWeights::open(&corpus).unwrap_err().to_string();
        assert!(message.contains("a.weights"), "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    // Meant, it is read; other contents are another fingerprint.
    let mut open = |bad: f32| {
        std::fs::write(dir.path().join("a.weights"), plane(2, 1, 40, &cases(&mut half, bad))).unwrap();
        LossWeights::open(&corpus).unwrap().unwrap().fingerprint()
    };
    assert_ne!(open(-1.0), open(-2.0));
    assert_eq!(open(-1.0), open(-1.0));
}
