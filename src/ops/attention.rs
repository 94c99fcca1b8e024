//! How the attention kernels (`kernels/attention_*.cu`) cut their work: what a launch needs, and what it moves.
use super::cost::Cost;
use super::{Heads, Shape};

/// One instance of `attention_fwd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Queries of a block.
    pub queries: usize,
    /// Keys of a tile.
    pub keys: usize,
    /// Threads of a block; its warps divide the queries.
    pub threads: usize,
    /// Shared memory of a block.
    pub shared_bytes: usize,
    /// What follows the head size in the kernel's name.
    pub suffix: &'static str,
}

/// One instance of `attention_bwd`, and of the `attention_bwd_dq` that sums what it leaves.
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
    /// What follows the head size in the kernels' names.
    pub suffix: &'static str,
}

/// Of the instances that are for devices with more shared memory than the smallest.
const WIDE: &str = "_wide";

/// Queries per block of `attention_bwd_dq`.
pub const DQ_QUERIES: usize = 32;
/// Rows of `attention_bwd_stats` and of a share's `dq` come in these.
pub const ROWS: usize = 64;
/// Tokens of a sequence that make one more share: enough blocks for a GPU at the batch sizes of training, and few
/// enough buffers. It decides the order of a sum, as the tiles do, and the size of scratch, so it depends on nothing else.
const TOKENS_PER_SHARE: usize = 512;

/// Head sizes that have kernels.
pub const SIZES: [usize; 6] = [32, 64, 80, 96, 128, 256];

/// The instance of `attention_fwd` for a head size: the largest that fits in `shared_bytes`, what a block can have.
///
/// Each byte of a key or value meets all queries of the block, at 1 FLOP each. More than 128 of them are not worth it:
/// registers hold the output, and 128 queries of 256 values, or two blocks of 128 queries of 128, take them all.
pub fn forward(size: usize, shared_bytes: usize) -> Forward {
    let cut = |queries, keys, threads, suffix| {
        let shared_bytes = 2 * size * (queries + 4 * keys);
        Forward { queries, keys, threads, shared_bytes, suffix }
    };
    let (narrow, wide) = match size {
        32 | 64 => (cut(128, 64, 128, ""), None),
        256 => (cut(64, 32, 128, ""), Some(cut(128, 32, 256, WIDE))),
        _ => (cut(128, 32, 128, ""), None),
    };
    wide.filter(|w| w.shared_bytes <= shared_bytes).unwrap_or(narrow)
}

/// The instance of `attention_bwd` for a head size: the largest that fits in `shared_bytes`, what a block can have.
///
/// A tile of queries costs 4 · D bytes a query to read them and dout, and 8 · D to read and write dq, at 10 · D FLOP a
/// query and key: 0.83 FLOP a key for each of those bytes. So the two large sizes get more keys where they can; with
/// 128 keys of 128 values, or 64 of 256, dk and dv fill half of all registers, and no more would fit.
pub fn backward(size: usize, shared_bytes: usize) -> Backward {
    let cut = |keys: usize, queries: usize, threads, divided, suffix| {
        // k and v, two stages of queries and dout, ds and where warps divide columns p, two stages of statistics.
        let exchanged = 2 * keys * queries * if divided { 2 } else { 1 };
        let used = 4 * size * (keys + 2 * queries) + exchanged + 16 * queries;
        Backward { keys, queries, threads, shared_bytes: used.next_multiple_of(128), suffix }
    };
    let (narrow, wide) = match size {
        32 => (cut(128, 32, 128, false, ""), None),
        64 => (cut(128, 64, 256, true, ""), None),
        80 => (cut(128, 32, 256, false, ""), None),
        96 => (cut(128, 32, 256, true, ""), None),
        128 => (cut(64, 32, 128, true, ""), Some(cut(128, 32, 256, true, WIDE))),
        _ => (cut(48, 16, 192, true, ""), Some(cut(64, 32, 256, true, WIDE))),
    };
    wide.filter(|w| w.shared_bytes <= shared_bytes).unwrap_or(narrow)
}

/// Shared memory of `attention_bwd_dq`.
pub fn dq_shared_bytes(size: usize) -> usize {
    4 * DQ_QUERIES * size
}

/// Blocks that divide the key tiles of one sequence and head, each with its own `dq`. No instance's tiles have more
/// keys, so each block has one.
pub fn shares(time: usize) -> usize {
    time.div_ceil(TOKENS_PER_SHARE)
}

/// f32 values of the scratch of a backward: `stats`, and `dq` of all shares.
pub fn scratch(s: Shape, heads: Heads) -> [usize; 2] {
    let rows = s.batch * heads.count * s.time.next_multiple_of(ROWS);
    [2 * rows, shares(s.time) * rows * heads.size]
}

/// What one call asks of memory and caches, and what its tensor cores execute: [`super::cost`] has the least.
pub fn forward_cost(s: Shape, heads: Heads, cut: Forward) -> Cost {
    let (t, row, warps) = (s.time, 2 * heads.size, cut.threads / 32);
    // Each block reads the keys up to its last query; a warp computes those up to its own.
    let (mut keys, mut pairs) = (0, 0);
    for first in (0..t).step_by(cut.queries) {
        let last = t.min(first + cut.queries);
        keys += last;
        let of_warp = |w| last.min(first + w * cut.queries / warps).div_ceil(cut.keys);
        pairs += (1..=warps).map(of_warp).sum::<usize>() * cut.keys * cut.queries / warps;
    }
    Cost::new(2 * t * row + 4 * t + 2 * row * keys, 4 * heads.size * pairs).times(s.batch * heads.count)
}

/// The three kernels of the backward, without documents.
pub fn backward_cost(s: Shape, heads: Heads, cut: Backward) -> Cost {
    let (t, d, row) = (s.time, heads.size, 2 * heads.size);
    let (padded, shares) = (t.next_multiple_of(ROWS), shares(t));
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
    use crate::device::Capability;
    use crate::ops::cost;

    const CAPABILITIES: [Capability; 3] = [Capability::Sm80, Capability::Sm86, Capability::Sm90];

    #[test]
    fn instances_fit_their_device_and_waste_little() {
        for (size, capability) in SIZES.iter().flat_map(|&size| CAPABILITIES.map(|c| (size, c))) {
            let room = capability.shared_bytes();
            let (forward, backward) = (forward(size, room), backward(size, room));
            assert!(forward.shared_bytes <= room && backward.shared_bytes <= room);
            let (s, heads) = (Shape { batch: 2, time: 2048 }, Heads { count: 3, size, rotary: 16 });
            assert!(forward_cost(s, heads, forward).flops <= 1.10 * cost::attention(s, heads, 2).flops);
            assert!(backward_cost(s, heads, backward).flops <= 1.10 * cost::attention_bwd(s, heads, 2).flops);
            assert!(backward.keys <= TOKENS_PER_SHARE && ROWS.is_multiple_of(backward.queries));
        }
    }

    /// A device without room for the wide tile, by a byte, gets the narrow one, which is there for all.
    #[test]
    fn tiles_are_as_wide_as_the_device_allows() {
        for size in SIZES {
            let all = |room: usize| [forward(size, room).suffix, backward(size, room).suffix];
            assert_eq!(all(Capability::Sm86.shared_bytes()), ["", ""]);
            let expected = [size == 256, size >= 128].map(|wide| if wide { WIDE } else { "" });
            assert_eq!([Capability::Sm80, Capability::Sm90].map(|c| all(c.shared_bytes())), [expected; 2]);
            let wide = backward(size, usize::MAX);
            if wide.suffix == WIDE {
                let narrow = backward(size, wide.shared_bytes - 1);
                assert!(backward(size, wide.shared_bytes) == wide && narrow.keys < wide.keys);
                let bytes = |cut| {
                    let (s, heads) = (Shape { batch: 1, time: 4096 }, Heads { count: 1, size, rotary: 0 });
                    backward_cost(s, heads, cut).bytes
                };
                assert!(bytes(wide) < 0.8 * bytes(narrow), "{} of {}", bytes(wide), bytes(narrow));
            }
        }
    }
}
