//! Single-threaded matrix products of the `gemm` crate on views. The backend cuts the work into tiles whose
//! sizes depend on shapes alone and runs the tiles in parallel: a tile's bits then depend on nothing else.
use super::memory::{Rows, RowsMut};

/// A factor as stored, or its transpose.
#[derive(Clone, Copy)]
pub enum Op<'a> {
    /// As stored.
    N(Rows<'a>),
    /// Transposed.
    T(Rows<'a>),
}

impl Op<'_> {
    /// Rows, columns, row stride, column stride of the factor.
    fn layout(&self) -> (usize, usize, isize, isize) {
        match self {
            Op::N(m) => (m.rows, m.cols, m.ld as isize, 1),
            Op::T(m) => (m.cols, m.rows, 1, m.ld as isize),
        }
    }

    fn as_ptr(&self) -> *const f32 {
        match self {
            Op::N(m) | Op::T(m) => m.as_ptr(),
        }
    }
}

/// `c = a·b·scale`, or `c += a·b·scale` when `accumulate`.
pub fn gemm(c: &mut RowsMut<'_>, accumulate: bool, a: Op<'_>, b: Op<'_>, scale: f32) {
    let (m, k, a_rs, a_cs) = a.layout();
    let (k_b, n, b_rs, b_cs) = b.layout();
    assert!(c.rows == m && c.cols == n && k == k_b, "shapes of a product do not fit");
    let ld = c.ld as isize;
    // SAFETY: the three views are inside their buffers at these shapes and strides, and `c` is exclusive.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            ld,
            accumulate,
            a.as_ptr(),
            a_cs,
            a_rs,
            b.as_ptr(),
            b_cs,
            b_rs,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
