//! A cheap identity of a shard: what resume compares to notice that the data were replaced.
//!
//! XXH3-128 over the format, the dtype, the number of tokens, and for each file (`.bin`, then `.idx`) its size and
//! content: all of it up to 256 KiB, otherwise four samples of 4 KiB (the first, at 1/3, at 2/3, and the last). Paths
//! and dates are not covered: data may be moved. An edit inside a large shard that keeps all sizes and misses the
//! samples is not seen here; the content hash of `rewarm data verify` covers every byte.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::dtype::Dtype;
use crate::{Error, Result};

const WHOLE_BYTES: u64 = 256 * 1024;
const SAMPLE_BYTES: u64 = 4096;
const SAMPLES: u64 = 4;

/// The fingerprint of one shard from its files.
pub(crate) fn of_shard(format: &str, dtype: Dtype, tokens: u64, files: &[&Path]) -> Result<u128> {
    let mut hash = Xxh3::new();
    hash.update(format!("{format} {dtype} {tokens}\n").as_bytes());
    let mut buffer = Vec::new();
    for path in files {
        let mut file = File::open(path).map_err(Error::input("open", path))?;
        let bytes = file.metadata().map_err(Error::input("read the size of", path))?.len();
        hash.update(&bytes.to_le_bytes());
        if bytes <= WHOLE_BYTES {
            buffer.clear();
            file.take(WHOLE_BYTES).read_to_end(&mut buffer).map_err(Error::input("read", path))?;
            hash.update(&buffer);
            continue;
        }
        buffer.resize(SAMPLE_BYTES as usize, 0);
        for i in 0..SAMPLES {
            let at = (bytes - SAMPLE_BYTES) / (SAMPLES - 1) * i;
            // The division rounds down: the last sample is placed by hand to end at the end of the file.
            let at = if i == SAMPLES - 1 { bytes - SAMPLE_BYTES } else { at };
            file.seek(SeekFrom::Start(at)).map_err(Error::input("read", path))?;
            file.read_exact(&mut buffer).map_err(Error::input("read", path))?;
            hash.update(&buffer);
        }
    }
    Ok(hash.digest128())
}
