//! Documents by a number each, which a file beside their shard has: `PREFIX.KEY.f32`, little-endian f32 in stored order.
use std::path::Path;

use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::corpus::Corpus;
use super::megatron::with_suffix;
use super::shard::{Shard, prefix_of};
use crate::{Error, Result};

/// All documents of a corpus in an order of their own.
#[derive(Debug)]
pub struct Ranking {
    /// Shard and document, in order.
    pub documents: Vec<(u32, u32)>,
    /// Of the numbers, in hex.
    pub fingerprint: String,
}

impl Ranking {
    /// By the numbers `key`, the largest first if they are `descending`; equal ones as they are stored. Refused where a file
    /// is missing, has another length, or a number that is none.
    pub fn new(corpus: &Corpus, key: &str, descending: bool) -> Result<Self> {
        let (mut hash, mut ranked) = (Xxh3::new(), Vec::with_capacity(corpus.documents() as usize));
        for (s, shard) in corpus.shards().iter().enumerate() {
            let path = with_suffix(&prefix_of(shard.path()), &format!(".{key}.f32"));
            let bytes = std::fs::read(&path).map_err(Error::input("read", &path))?;
            hash.update(&bytes);
            check_length(&path, bytes.len() as u64, shard)?;
            for (d, number) in bytes.chunks_exact(4).enumerate() {
                let number = f32::from_le_bytes([number[0], number[1], number[2], number[3]]);
                if number.is_nan() {
                    return Err(Error::refused(format!(
                        "{}: document {d} has no number (NaN)",
                        path.display()
                    )));
                }
                ranked.push((number, (s as u32, d as u32)));
            }
        }
        if descending {
            ranked.par_sort_by(|a, b| b.0.total_cmp(&a.0));
        } else {
            ranked.par_sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let documents = ranked.into_iter().map(|(_, document)| document).collect();
        Ok(Self { documents, fingerprint: format!("{:032x}", hash.digest128()) })
    }
}

fn check_length(path: &Path, bytes: u64, shard: &Shard) -> Result<()> {
    let documents = shard.documents();
    if bytes == 4 * documents && documents <= u64::from(u32::MAX) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} has {bytes} bytes, and {} has {documents} documents, each of which takes an f32 of 4 bytes: write one number for \
         every document, in stored order",
        path.display(),
        shard.path().display()
    )))
}
