//! What a shard's files were when they were written: hashes of the `.bin` by blocks, and of the `.idx`.
//!
//! The note beside a shard names one hash of each file and the size of a block; the hashes of the blocks lie in a file
//! of their own, `<prefix>.hashes`, whose hash is in the note. A shard of 300 B tokens has 18 million of them: a reader
//! that compares one window looks up one number, where a note that held them would be read and parsed whole by everyone
//! who opens the shard.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | `RWHASH1\n` |
//! | 8 | u64 | bytes of the `.bin` |
//! | 16 | u64 | bytes of a block, a power of two |
//! | 24 | u64 × blocks | XXH3-64 of each block; the last one may be shorter |
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::map::{LazyMap, Opening};
use super::megatron::with_suffix;
use crate::{Error, Result};

/// Bytes of a block; the table is 1/4096 of the shard.
pub(crate) const BLOCK_BYTES: usize = 32 << 10;
const MAGIC: &[u8; 8] = b"RWHASH1\n";
const HEADER_BYTES: usize = 24;

/// What a note says of the files beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentHashes {
    /// Bytes of the `.bin` under one hash of `<prefix>.hashes`.
    pub block_bytes: u64,
    /// XXH3-128 of `<prefix>.hashes`, 32 hexadecimal digits.
    pub blocks: String,
    /// XXH3-128 of the `.idx`, 32 hexadecimal digits.
    pub index: String,
}

/// `<prefix>.hashes`.
pub(crate) fn hashes_path(prefix: &Path) -> std::path::PathBuf {
    with_suffix(prefix, ".hashes")
}

/// Hashes what is about to be written, before it leaves this process.
pub(crate) struct BlockHasher {
    /// The block that is being filled: at once it is hashed several times as fast as piece by piece.
    block: Vec<u8>,
    bytes: u64,
    /// The file under construction.
    table: Vec<u8>,
}

impl BlockHasher {
    pub(crate) fn new() -> Self {
        Self { block: Vec::with_capacity(BLOCK_BYTES), bytes: 0, table: vec![0; HEADER_BYTES] }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            if self.block.len() == BLOCK_BYTES {
                self.close();
            }
            bytes = later;
        }
    }

    fn close(&mut self) {
        self.table.extend(xxh3_64(&self.block).to_le_bytes());
        self.block.clear();
    }

    /// The content of `<prefix>.hashes`.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            self.close();
        }
        let head = [*MAGIC, self.bytes.to_le_bytes(), (BLOCK_BYTES as u64).to_le_bytes()].concat();
        self.table[..HEADER_BYTES].copy_from_slice(&head);
        self.table
    }
}

impl std::fmt::Debug for BlockHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockHasher").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The hashes of a shard's blocks, looked up one by one.
#[derive(Debug)]
pub(crate) struct BlockHashes {
    map: LazyMap,
    block_bytes: u64,
}

impl BlockHashes {
    /// O(1). Refused where the file is not there, or not of a `.bin` of this size and blocks as `noted`.
    pub(crate) fn open(prefix: &Path, noted: &ContentHashes, bin_bytes: u64) -> Result<Self> {
        let path = hashes_path(prefix);
        let file = Opening::new(&path)?;
        let blocks = bin_bytes.div_ceil(noted.block_bytes.max(1));
        let expected = HEADER_BYTES as u64 + 8 * blocks;
        let wrong = |what: String| {
            Error::refused(format!(
                "{} {what}; copy it again from where the shard was made, or tokenize again",
                path.display()
            ))
        };
        // Up to 8 MiB: `verify` reads at least that much at once.
        if !noted.block_bytes.is_power_of_two() || noted.block_bytes > 8 << 20 || file.bytes != expected {
            return Err(wrong(format!("has {} bytes, expected {expected}", file.bytes)));
        }
        let head: [u8; HEADER_BYTES] = file.array(0)?;
        if head != *[*MAGIC, bin_bytes.to_le_bytes(), noted.block_bytes.to_le_bytes()].concat() {
            return Err(wrong("does not hold the hashes of this shard".into()));
        }
        Ok(Self { map: LazyMap::new(path, expected), block_bytes: noted.block_bytes })
    }

    /// Whether the file is the one that was written with the note.
    pub(crate) fn is_as_noted(&self, noted: &ContentHashes) -> Result<bool> {
        Ok(format!("{:032x}", xxh3_128(self.map.all()?)) == noted.blocks)
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Whether `bytes`, the whole block number `block`, are what was written.
    pub(crate) fn holds(&self, block: u64, bytes: &[u8]) -> Result<bool> {
        let stored = self.map.slice(HEADER_BYTES as u64 + 8 * block, 8)?;
        Ok(stored == Some(&xxh3_64(bytes).to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_hashed_however_they_come() {
        let content: Vec<u8> = (0..BLOCK_BYTES * 3 + 7).map(|i| (i * i / 977) as u8).collect();
        for step in [1, 999, BLOCK_BYTES, BLOCK_BYTES + 1, content.len()] {
            let mut hasher = BlockHasher::new();
            content.chunks(step).for_each(|piece| hasher.update(piece));
            let table = hasher.finish();
            let expected: Vec<u8> =
                content.chunks(BLOCK_BYTES).flat_map(|block| xxh3_64(block).to_le_bytes()).collect();
            assert_eq!(table.len(), 24 + 4 * 8);
            assert!(table[24..] == expected && table.starts_with(MAGIC));
            assert_eq!(table[8..16], (content.len() as u64).to_le_bytes());
        }
        let mut whole = BlockHasher::new();
        whole.update(&content[..2 * BLOCK_BYTES]);
        assert_eq!(whole.finish().len(), 24 + 2 * 8);
    }
}
