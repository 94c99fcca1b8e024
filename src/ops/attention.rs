//! How the attention kernels (`kernels/attention_*.cu`) cut their work: what a launch needs, and what it moves.
use super::cost::Cost;
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

/// What one call asks of memory and caches, and what its tensor cores execute: [`super::cost`] has the least.
pub fn forward_cost(s: Shape, heads: Heads) -> Cost {
    let (t, row, cut) = (s.time, 2 * heads.size, forward(heads.size));
    // Each block reads the keys up to its last query; a warp, a quarter of a block, computes those up to its own.
    let (mut keys, mut pairs) = (0, 0);
    for first in (0..t).step_by(cut.queries) {
        let last = t.min(first + cut.queries);
        keys += last;
        let of_warp = |w| last.min(first + w * cut.queries / 4).div_ceil(cut.keys);
        pairs += (1..=4).map(of_warp).sum::<usize>() * cut.keys * cut.queries / 4;
    }
    Cost::new(2 * t * row + 4 * t + 2 * row * keys, 4 * heads.size * pairs).times(s.batch * heads.count)
}

/// The three kernels of the backward, without documents.
pub fn backward_cost(s: Shape, heads: Heads) -> Cost {
    let (t, d, row, cut) = (s.time, heads.size, 2 * heads.size, backward(heads.size));
    let (padded, shares) = (t.next_multiple_of(ROWS), shares(t, d));
    // A key tile meets the queries from its first key on; dq is read and written, but not read by the first key
    // tile of a share.
    let (mut queries, mut executed, mut fresh) = (0, 0, 0);
    for key in (0..t).step_by(cut.keys) {
        let first = key / cut.queries * cut.queries;
        let all = t.next_multiple_of(cut.queries) - first;
        queries += t - first;
        executed += all;
        fresh += if key / cut.keys < shares { all } else { 0 };
    }
    let stats = 2 * t * row + 4 * t + 8 * padded;
    let walk = 2 * t * row + queries * 2 * row + executed * (8 + 8 * d) - fresh * 4 * d;
    let angles = 2 * t * (4 + 4 * heads.rotary);
    let bytes = stats + walk + fresh * 4 * d + 3 * t * row + angles;
    Cost::new(bytes, 10 * d * executed * cut.keys).times(s.batch * heads.count)
}

/// Shared memory of `attention_decode`, one block of [`DECODE_THREADS`] a head.
pub fn decode_shared_bytes(size: usize) -> usize {
    32 * size + 64
}

/// Threads of a block of `attention_decode`.
pub const DECODE_THREADS: usize = 256;

/// The query at `position`.
pub fn decode_cost(heads: Heads, position: usize) -> Cost {
    let keys = position + 1;
    Cost::new(4 * heads.size * (keys + 1), 4 * heads.size * keys).times(heads.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cost;

    #[test]
    fn defaults_fit_everywhere_and_waste_little() {
        for size in SIZES {
            assert!(forward(size).shared_bytes <= 99 << 10 && backward(size).shared_bytes <= 99 << 10);
            let (s, heads) = (Shape { batch: 2, time: 2048 }, Heads { count: 3, size, rotary: 16 });
            assert!(forward_cost(s, heads).flops <= 1.10 * cost::attention(s, heads, 2).flops);
            assert!(backward_cost(s, heads).flops <= 1.10 * cost::attention_bwd(s, heads, 2).flops);
        }
    }
}
