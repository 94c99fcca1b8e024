//! A cheap identity of a shard: what resume compares to notice that the data were replaced.
//!
//! XXH3-128 over the format, the dtype, the number of tokens, and for each file (`.bin`, then `.idx`) its size and
//! content: all of it up to 256 KiB, otherwise four samples of 4 KiB (the first, at 1/3, at 2/3, and the last). Paths
//! and dates are not covered: data may be moved. An edit inside a large shard that keeps all sizes and misses the
//! samples is not seen here; the content hash of `rewarm data verify` covers every byte.
use xxhash_rust::xxh3::Xxh3;

use super::dtype::Dtype;
use super::map::{BLOCK_BYTES, Opening};
use crate::Result;

const SAMPLES: u64 = 4;

/// The fingerprint of one shard from its files.
pub(crate) fn of_shard<'a>(
    format: &str,
    dtype: Dtype,
    tokens: u64,
    files: impl Iterator<Item = &'a Opening<'a>>,
) -> Result<u128> {
    let mut hash = Xxh3::new();
    hash.update(format!("{format} {dtype} {tokens}\n").as_bytes());
    let mut files = files;
    files.try_for_each(|file| add(&mut hash, file))?;
    Ok(hash.digest128())
}

/// The fingerprint of a file beside a shard.
pub(crate) fn of_file(file: &Opening) -> Result<u128> {
    let mut hash = Xxh3::new();
    add(&mut hash, file)?;
    Ok(hash.digest128())
}

fn add(hash: &mut Xxh3, file: &Opening) -> Result<()> {
    hash.update(&file.bytes.to_le_bytes());
    if let Some(whole) = file.whole() {
        hash.update(whole);
        return Ok(());
    }
    let mut block = [0; BLOCK_BYTES as usize];
    let last = file.bytes - BLOCK_BYTES;
    for i in 0..SAMPLES {
        // The division rounds down: the last sample is placed by hand, to end with the file.
        let at = if i == SAMPLES - 1 { last } else { last / (SAMPLES - 1) * i };
        file.read(at, &mut block)?;
        hash.update(&block);
    }
    Ok(())
}
