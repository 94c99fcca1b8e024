//! Where documents start in what is read: against the lengths that were written.
use std::sync::Arc;

use crate::support::*;
use rewarm::data::{
    Batch, Boundaries, Corpus, Dealt, LeftOut, Mixture, Order, Shares, Side, Source, Sources, Split,
};
use tempfile::tempdir;

const VOCAB: u32 = 65_536;
const SEQ_LEN: usize = 16;
/// Of documents that go over windows, end with them, and are of one token.
const LENGTHS: [usize; 10] = [5, 27, 1, 1, 30, 16, 16, 3, 50, 20];

fn order(spec: &str, side: Side, split: Split) -> Order {
    Order::new(Arc::new(Corpus::open(&[spec]).unwrap()), side, split, SEQ_LEN, 3).unwrap()
}

/// Tokens and starts of the first `sequences` of a run.
fn read(order: Order, boundaries: Boundaries, sequences: usize) -> Vec<(Vec<i32>, Vec<i32>)> {
    boundaries.check(order.corpus()).unwrap();
    let shares = Shares::new(Dealt::nothing(1), &[(0, vec![1.0])]).unwrap();
    let cursor = shares.seek(0);
    let sources = Sources::new(vec![Source { name: "only".into(), order }]).unwrap();
    let mut mixture =
        Mixture::new(sources, shares, vec![LeftOut::default()], cursor).with_documents(boundaries);
    let mut batch = Batch::default();
    mixture.fill(sequences, VOCAB, &mut batch).unwrap();
    if !boundaries.are_seen() {
        assert!(batch.documents.is_empty());
        return Vec::new();
    }
    let rows = batch.tokens.chunks(SEQ_LEN).zip(batch.documents.chunks(SEQ_LEN));
    rows.map(|(tokens, starts)| (tokens.to_vec(), starts.to_vec())).collect()
}

/// For each token the first one in the row with the same number of its document.
fn expected(tokens: &[i32], document_of: impl Fn(i32) -> usize) -> Vec<i32> {
    let first =
        |token: &i32| tokens.iter().position(|t| document_of(*t) == document_of(*token)).unwrap() as i32;
    tokens.iter().map(first).collect()
}

/// Documents whose tokens count up over all of them, so that a token says where it is from.
fn numbered() -> (Vec<Vec<u16>>, impl Fn(i32) -> usize) {
    let mut next = 0u16..;
    let documents: Vec<Vec<u16>> = LENGTHS.map(|n| next.by_ref().take(n).collect()).into();
    let ends: Vec<i32> = documents.iter().map(|d| i32::from(*d.last().unwrap())).collect();
    (documents, move |token| ends.partition_point(|end| *end < token))
}

#[test]
fn indexed_documents_start_where_they_were_written() {
    let dir = tempdir().unwrap();
    let (documents, document_of) = numbered();
    let prefix = megatron(dir.path(), "shard", &documents);
    let spec = prefix.to_str().unwrap();
    for (isolate, reset) in [(true, false), (false, true)] {
        let boundaries = Boundaries::new(isolate, reset, None);
        let rows = read(order(spec, Side::All, Split::NONE), boundaries, 24);
        assert_eq!(rows.len(), 24);
        for (tokens, starts) in rows {
            assert_eq!(starts, expected(&tokens, &document_of), "{tokens:?}");
        }
    }
    // Held-out documents lie between those that are read.
    let split = Split { fraction: 0.4, seed: 2 };
    for (tokens, starts) in read(order(spec, Side::Train, split), Boundaries::new(true, true, None), 12) {
        assert_eq!(starts, expected(&tokens, &document_of), "{tokens:?}");
    }
    assert!(read(order(spec, Side::All, Split::NONE), Boundaries::IGNORED, 3).is_empty());
}

/// Rows that join windows, some of which lie side by side.
#[test]
fn a_document_begins_where_windows_are_joined() {
    let dir = tempdir().unwrap();
    let (documents, document_of) = numbered();
    let prefix = megatron(dir.path(), "shard", &documents);
    let order = order(prefix.to_str().unwrap(), Side::All, Split::NONE).windowed(21).unwrap();
    let mut joined = [0; 2];
    for (tokens, starts) in read(order, Boundaries::new(true, true, None), 200) {
        let mut start = 0;
        for (row, found) in starts.into_iter().enumerate() {
            let jumps = row > 0 && tokens[row] != tokens[row - 1] + 1;
            let begins = row > 0 && document_of(tokens[row]) != document_of(tokens[row - 1]);
            start = if jumps || begins { row } else { start };
            joined[usize::from(jumps)] += usize::from(row > 0 && tokens[row] % 21 == 0);
            assert_eq!(found, start as i32, "{tokens:?}");
        }
    }
    assert!(joined[0] > 0 && joined[1] > 50, "{joined:?}");
}

#[test]
fn a_token_ends_documents_where_there_is_no_index() {
    let dir = tempdir().unwrap();
    let tokens: Vec<u16> = (1..200u16).map(|t| if t % 7 == 0 || t == 50 { 999 } else { t }).collect();
    let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
    std::fs::write(dir.path().join("tokens.bin"), bytes).unwrap();
    let spec = format!("raw-u16:{}", dir.path().join("tokens.bin").display());
    let unknown = Boundaries::new(true, false, None);
    let message = unknown.check(order(&spec, Side::All, Split::NONE).corpus()).unwrap_err().to_string();
    assert!(message.contains("tokens.bin") && message.contains("data.tokenizer"), "{message}");
    for (tokens, starts) in
        read(order(&spec, Side::All, Split::NONE), Boundaries::new(true, false, Some(999)), 20)
    {
        let mut start = 0;
        for (row, found) in starts.into_iter().enumerate() {
            start = if row > 0 && tokens[row - 1] == 999 { row } else { start };
            assert_eq!(found, start as i32, "{tokens:?}");
        }
    }
}

/// In llm.c's format the token begins a text.
#[test]
fn a_token_begins_documents_of_llm_c() {
    let dir = tempdir().unwrap();
    let tokens: Vec<u16> = (0..200u16).map(|t| if t % 9 == 0 { 50_256 } else { t }).collect();
    let mut bytes = vec![0u8; 1024];
    for (i, field) in [20_240_520i32, 1, tokens.len() as i32].into_iter().enumerate() {
        bytes[4 * i..][..4].copy_from_slice(&field.to_le_bytes());
    }
    bytes.extend(tokens.iter().flat_map(|t| t.to_le_bytes()));
    let path = dir.path().join("shard.bin");
    std::fs::write(&path, bytes).unwrap();
    let order = order(path.to_str().unwrap(), Side::All, Split::NONE);
    for (tokens, starts) in read(order, Boundaries::new(true, false, Some(50_256)), 12) {
        let mut start = 0;
        for (row, found) in starts.into_iter().enumerate() {
            start = if tokens[row] == 50_256 { row } else { start };
            assert_eq!(found, start as i32, "{tokens:?}");
        }
    }
}
