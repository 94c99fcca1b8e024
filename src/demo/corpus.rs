//! Which documents a side of the demo consists of: a function of their bytes alone.
use crate::data::{InputOptions, Inputs};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Shorter documents say nothing.
const DOCUMENT_BYTES_MIN: usize = 200;
/// Longer documents in a user's folder are cut at ends of lines.
const PIECE_BYTES: usize = 32 << 10;
/// One document in this many is held out.
const VALIDATION_EVERY: usize = 20;
/// Below this share of letters among what is not blank, a document is a table of numbers.
const LETTERS_MIN: f64 = 0.5;

/// One side: upstream or downstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Documents that are trained on.
    pub train: Vec<String>,
    /// Documents that are never trained on.
    pub validation: Vec<String>,
    /// Bytes of both lists together.
    pub bytes: u64,
    /// XXH3-128 of both; who has the same number trains on the same bytes.
    pub hash: u128,
}

/// Takes documents until `bytes_max` is reached, in the order of their hashes, each text once. The order in which
/// they come does not matter.
pub fn select(name: &str, documents: impl IntoIterator<Item = String>, bytes_max: u64) -> Result<Side> {
    let ordered: BTreeMap<u128, String> = documents
        .into_iter()
        .filter(|text| is_text(text))
        .map(|text| (xxh3_128(text.as_bytes()), text))
        .collect();
    let mut side = Side { train: Vec::new(), validation: Vec::new(), bytes: 0, hash: 0 };
    let mut hash = Xxh3::new();
    for (i, (id, text)) in ordered.into_iter().enumerate() {
        if side.bytes >= bytes_max {
            break;
        }
        side.bytes += text.len() as u64;
        hash.update(&id.to_le_bytes());
        // The second of every twenty, so that two documents are enough for a split.
        let held_out = i % VALIDATION_EVERY == 1;
        if held_out { side.validation.push(text) } else { side.train.push(text) }
    }
    side.hash = hash.digest128();
    if side.validation.is_empty() {
        return Err(Error::refused(format!(
            "{name} has {} different documents of at least {DOCUMENT_BYTES_MIN} bytes; at least 2 are needed, and a few \
             MB of text for a result worth reading",
            side.train.len()
        )));
    }
    Ok(side)
}

/// The text files of a folder, long ones in pieces.
pub fn read_folder(path: &Path) -> Result<Vec<String>> {
    let options = InputOptions::default();
    let mut documents = Vec::new();
    for text in Inputs::find(&[path], &options)?.documents() {
        let mut piece = String::new();
        for line in text?.split_inclusive('\n') {
            if piece.len() + line.len() > PIECE_BYTES && !piece.is_empty() {
                documents.push(std::mem::take(&mut piece));
            }
            piece.push_str(line);
        }
        documents.push(piece);
    }
    Ok(documents)
}

fn is_text(text: &str) -> bool {
    let visible = text.chars().filter(|c| !c.is_whitespace()).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    text.len() >= DOCUMENT_BYTES_MIN && letters as f64 >= LETTERS_MIN * visible as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("document {i} ") + &"words of a text ".repeat(20)).collect()
    }

    #[test]
    fn the_selection_is_a_function_of_the_texts() {
        let texts = documents(50);
        let side = select("a", texts.clone(), u64::MAX).unwrap();
        let mut shuffled: Vec<_> = texts.iter().rev().cloned().collect();
        shuffled.extend(texts.iter().cloned());
        assert_eq!(select("a", shuffled, u64::MAX).unwrap(), side);
        assert_eq!((side.train.len(), side.validation.len()), (47, 3));
        let smaller = select("a", texts.clone(), 5000).unwrap();
        assert!(smaller.bytes >= 5000 && smaller.bytes < 5000 + texts[0].len() as u64 + 2);
        assert!(side.train.starts_with(&smaller.train) && smaller.hash != side.hash);
    }

    #[test]
    fn short_texts_tables_and_too_few_documents_are_left_out() {
        let mut texts = documents(1);
        texts.push("short".into());
        texts.push("0x1f600, 12345, ".repeat(100));
        let error = select("upstream", texts, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("upstream has 1 different documents"), "{error}");
    }

    #[test]
    fn long_files_are_cut_between_lines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "a line of text\n".repeat(5000)).unwrap();
        let pieces = read_folder(dir.path()).unwrap();
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|p| p.len() <= PIECE_BYTES && p.ends_with('\n')));
        assert_eq!(pieces.concat().len(), 75_000);
    }
}
