//! Single-threaded matrix products of the `gemm` crate on views. The backend cuts the work into tiles whose
//! sizes depend on shapes alone and runs the tiles in parallel: a tile's bits then depend on nothing else.
use super::memory::{Rows, RowsMut};
use crate::ops::Matrix;

/// A factor as stored, or its transpose.
#[derive(Clone, Copy)]
pub enum Operand<'a, E = f32> {
    /// The matrix as it is stored.
    N(Rows<'a, E>),
    /// The matrix transposed.
    T(Rows<'a, E>),
}

impl<E> Operand<'_, E> {
    /// Its transpose.
    pub fn turned(self) -> Self {
        match self {
            Operand::N(m) => Operand::T(m),
            Operand::T(m) => Operand::N(m),
        }
    }
}

impl Operand<'_> {
    /// Rows, columns, row stride, column stride of the factor.
    fn layout(&self) -> (usize, usize, isize, isize) {
        match self {
            Operand::N(m) => (m.rows, m.cols, m.ld as isize, 1),
            Operand::T(m) => (m.cols, m.rows, 1, m.ld as isize),
        }
    }

    fn as_ptr(&self) -> *const f32 {
        match self {
            Operand::N(m) | Operand::T(m) => m.as_ptr(),
        }
    }
}

/// `c = a·b·scale`, or `c += a·b·scale` when `accumulate`.
pub fn gemm(c: &mut RowsMut<'_>, accumulate: bool, a: Operand<'_>, b: Operand<'_>, scale: f32) {
    product(c, accumulate, a, b, scale, gemm::Parallelism::None);
}

/// `c[m, n] = a·b`, or `c += a·b` when `accumulate`, as the crate cuts it up for all threads: what our own tiles are
/// measured against. A factor is dense, and stored transposed where it says so.
pub fn whole(c: &mut [f32], [m, n, k]: [usize; 3], accumulate: bool, a: (&[f32], bool), b: (&[f32], bool)) {
    let dense = |rows, cols| Matrix { offset: 0, rows, cols, ld: cols };
    let a = match a {
        (a, false) => Operand::N(Rows::matrix(a, dense(m, k))),
        (a, true) => Operand::T(Rows::matrix(a, dense(k, m))),
    };
    let b = match b {
        (b, false) => Operand::N(Rows::matrix(b, dense(k, n))),
        (b, true) => Operand::T(Rows::matrix(b, dense(n, k))),
    };
    product(&mut RowsMut::matrix(c, dense(m, n)), accumulate, a, b, 1.0, gemm::Parallelism::Rayon(0));
}

fn product(
    c: &mut RowsMut<'_>,
    accumulate: bool,
    a: Operand<'_>,
    b: Operand<'_>,
    scale: f32,
    by: gemm::Parallelism,
) {
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
            by,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_product_is_that_of_its_factors_as_stored() {
        let (m, n, k) = (3, 5, 7);
        let value = |i: usize| (i * 37 % 11) as f32 - 5.0;
        let transposed = |x: &[f32], rows: usize, cols: usize| -> Vec<f32> {
            (0..x.len()).map(|i| x[i % rows * cols + i / rows]).collect()
        };
        let [a, b] = [m * k, k * n].map(|len| (0..len).map(value).collect::<Vec<_>>());
        let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
        let exact = |i: usize| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum::<f32>();
        for (a, b) in [((&a, false), (&b, false)), ((&a, false), (&b_t, true)), ((&a_t, true), (&b, false))] {
            let mut c = vec![1.0; m * n];
            whole(&mut c, [m, n, k], false, (a.0, a.1), (b.0, b.1));
            assert!((0..m * n).all(|i| c[i] == exact(i)));
            whole(&mut c, [m, n, k], true, (a.0, a.1), (b.0, b.1));
            assert!((0..m * n).all(|i| c[i] == 2.0 * exact(i)));
        }
    }
}
