//! Hashes of tensors, block by block: whoever has some blocks can write or check them without the others, in any order.
use super::output::hex;
use crate::files::storage::{ReadAt, read_exact_at};
use std::io;
use xxhash_rust::xxh3::Xxh3;

/// Bytes of a block; the last one of a tensor is shorter.
pub const BLOCK_BYTES: u64 = 16 << 20;
/// Bytes hashed at a time by each thread.
pub const HASH_PIECE: u64 = 1 << 20;

/// XXH3-128 of each block of a tensor whose bytes come in order.
pub struct TensorHasher {
    hash: Xxh3,
    /// Bytes in `hash`.
    bytes: u64,
    done: Vec<String>,
}

impl TensorHasher {
    /// The hashes of no bytes yet.
    pub fn new() -> Self {
        Self { hash: Xxh3::new(), bytes: 0, done: Vec::new() }
    }

    /// Appends `bytes` to what is hashed.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.bytes).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.hash.update(now);
            self.bytes += now.len() as u64;
            bytes = later;
            if self.bytes == BLOCK_BYTES {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        self.done.push(hex(self.hash.digest128()));
        self.hash.reset();
        self.bytes = 0;
    }

    /// All of them, 32 lowercase hex digits each.
    pub fn finish(mut self) -> Vec<String> {
        if self.bytes > 0 {
            self.end_block();
        }
        self.done
    }
}

/// XXH3-128 of `bytes` bytes of a file from byte `start` on.
pub fn hash_bytes(source: &dyn ReadAt, start: u64, bytes: u64) -> io::Result<String> {
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; HASH_PIECE.min(bytes) as usize];
    let end = start + bytes;
    let mut at = start;
    while at < end {
        let piece = &mut buffer[..HASH_PIECE.min(end - at) as usize];
        read_exact_at(source, piece, at)?;
        hash.update(piece);
        at += piece.len() as u64;
    }
    Ok(hex(hash.digest128()))
}
