//! Arguments by value of the kernels that sum columns: mirrors `kernels/bias_grad.cu`.
use bytemuck::{Pod, Zeroable};

/// Sums of one launch of `sum_partials`.
pub const SUMS: usize = 8;
/// Matrices of one launch of `bias_grad`.
pub const MATRICES: usize = 2;

/// Sums over chunks that have nothing to do with each other, in one launch. Addresses are device addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SumTable {
    from: [u64; SUMS],
    out: [u64; SUMS],
    chunks: [i32; SUMS],
    cols: [i32; SUMS],
    ld: [i32; SUMS],
}

impl SumTable {
    /// Entry `i`: `out[cols]` becomes, or has added to it, the sum of `chunks` rows of `cols` at `from`, `ld` apart.
    pub fn set(&mut self, i: usize, from: u64, out: u64, [chunks, cols, ld]: [usize; 3]) {
        (self.from[i], self.out[i]) = (from, out);
        (self.chunks[i], self.cols[i], self.ld[i]) = (chunks as i32, cols as i32, ld as i32);
    }
}

/// Matrices of equally many rows whose columns one launch of `bias_grad` sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ColumnTable {
    dy: [u64; MATRICES],
    ld: [i64; MATRICES],
    partials: [u64; MATRICES],
    cols: [i32; MATRICES],
}

impl ColumnTable {
    /// Entry `i`: `dy [rows, cols]` bf16, rows `ld` apart, to `partials [⌈rows / 128⌉, cols]`.
    pub fn set(&mut self, i: usize, dy: u64, ld: usize, partials: u64, cols: usize) {
        (self.dy[i], self.ld[i]) = (dy, ld as i64);
        (self.partials[i], self.cols[i]) = (partials, cols as i32);
    }
}
