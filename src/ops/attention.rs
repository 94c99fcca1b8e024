//! How the attention kernels (`kernels/attention_*.cu`) cut their work: what a launch needs, and what it moves.
use super::{Heads, Shape};

/// One instance of `attention_fwd`, 128 threads a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Queries of a block.
    pub queries: usize,
    /// Keys of a tile.
    pub keys: usize,
    /// Shared memory of a block.
    pub shared_bytes: usize,
}

/// One instance of `attention_bwd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backward {
    /// Keys of a tile.
    pub keys: usize,
    /// Queries of a tile.
    pub queries: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Shared memory of a block.
    pub shared_bytes: usize,
}

/// Queries per block of `attention_bwd_dq`.
pub const DQ_QUERIES: usize = 32;
/// Rows of `attention_bwd_stats` and of a share's `dq` come in these.
pub const ROWS: usize = 64;
/// Tokens of a sequence that make one more share: enough blocks for a GPU at the batch sizes of training, and few
/// enough buffers. It decides the order of a sum, so it depends on nothing else.
const TOKENS_PER_SHARE: usize = 512;

/// Head sizes that have kernels.
pub const SIZES: [usize; 6] = [32, 64, 80, 96, 128, 256];

/// The instance of `attention_fwd` for a head size.
pub fn forward(size: usize) -> Forward {
    let (queries, keys) = match size {
        32 | 64 => (128, 64),
        256 => (64, 32),
        _ => (128, 32),
    };
    Forward { queries, keys, shared_bytes: 2 * size * (queries + 4 * keys) }
}

/// The instance of `attention_bwd` for a head size.
pub fn backward(size: usize) -> Backward {
    let (keys, queries, threads, divided) = match size {
        32 => (128, 32, 128, false),
        64 => (128, 64, 256, true),
        80 => (128, 32, 256, false),
        96 => (128, 32, 256, true),
        128 => (64, 32, 128, true),
        _ => (48, 16, 192, true),
    };
    // k and v, two stages of queries and dout, ds and where warps divide columns p, two stages of statistics.
    let exchanged = 2 * keys * queries * if divided { 2 } else { 1 };
    let used = 4 * size * (keys + 2 * queries) + exchanged + 16 * queries;
    Backward { keys, queries, threads, shared_bytes: used.next_multiple_of(128) }
}

/// Shared memory of `attention_bwd_dq`.
pub fn dq_shared_bytes(size: usize) -> usize {
    4 * DQ_QUERIES * size
}

/// Blocks that divide the key tiles of one sequence and head, each with its own `dq`.
pub fn shares(time: usize, size: usize) -> usize {
    time.div_ceil(TOKENS_PER_SHARE).min(time.div_ceil(backward(size).keys))
}

/// f32 values of the scratch of a backward: `stats`, and `dq` of all shares.
pub fn scratch(s: Shape, heads: Heads) -> [usize; 2] {
    let rows = s.batch * heads.count * s.time.next_multiple_of(ROWS);
    [2 * rows, shares(s.time, heads.size) * rows * heads.size]
}

/// Bytes that `attention_fwd` asks of memory and caches: each block reads the keys up to its last query.
pub fn forward_moved(s: Shape, heads: Heads) -> f64 {
    let (t, row, tile) = (s.time, 2 * heads.size, forward(heads.size).queries);
    let keys: usize = (0..t.div_ceil(tile)).map(|i| t.min((i + 1) * tile)).sum();
    (s.batch * heads.count * (2 * t * row + 4 * t + 2 * row * keys)) as f64
}

/// Bytes that the three kernels of the backward ask of memory and caches, without documents; `rotary` counts too.
pub fn backward_moved(s: Shape, heads: Heads) -> f64 {
    let (t, row, tile) = (s.time, 2 * heads.size, backward(heads.size));
    let (padded, shares) = (t.next_multiple_of(ROWS), shares(t, heads.size));
    let stats = 2 * t * row + 4 * t + 8 * padded;
    // A key tile meets the queries from its first key on; dq is read and written, but by the first of its share.
    let (mut queries, mut padded_queries, mut fresh) = (0, 0, 0);
    for key in (0..t).step_by(tile.keys) {
        let first = key / tile.queries * tile.queries;
        queries += t - first;
        let all = t.next_multiple_of(tile.queries) - first;
        padded_queries += all;
        fresh += if key / tile.keys < shares { all } else { 0 };
    }
    let angles = t * (4 + 4 * heads.rotary);
    let walk = 2 * t * row + queries * 2 * row + padded_queries * (8 + 8 * heads.size) - fresh * 4 * heads.size;
    let sum = fresh * 4 * heads.size;
    (s.batch * heads.count * (stats + walk + sum + 3 * t * row + 2 * angles)) as f64
}
