//! LayerNorm's backward over a chunk of rows, in vectors of the machine's width: what the compiler makes of the same
//! arithmetic as plain loops differs from build to build of one source, by a factor of three.
use crate::backend::cpu::math::{LANES, fold};
use crate::backend::cpu::memory::{Rows, RowsMut};
use pulp::{Scalar, Simd, WithSimd};
use std::ops::Range;

/// `dx += Σₙ d normₙ` and the sums of `dyₙ·x̂` and of `dyₙ` over some rows.
pub struct Chunk<'a, const N: usize> {
    /// What was normalised, `[N, C]`.
    pub x: Rows<'a>,
    /// (mean, rstd) of its rows.
    pub stats: Rows<'a>,
    /// Of the N norms.
    pub weights: [&'a [f32]; N],
    /// Gradients of the N results.
    pub dy: [Rows<'a>; N],
    /// As many rows as `x` has.
    pub dx: RowsMut<'a>,
    /// `[N·2·C]`, overwritten.
    pub sums: &'a mut [f32],
}

impl<'a, const N: usize> Chunk<'a, N> {
    #[inline(always)]
    fn row(&self, i: usize) -> Row<'a, N> {
        let stats = self.stats.row(i);
        let dy = std::array::from_fn(|n| self.dy[n].row(i));
        Row { x: self.x.row(i), mean: stats[0], rstd: stats[1], dy, weights: self.weights }
    }
}

impl<const N: usize> WithSimd for Chunk<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.sums.fill(0.0);
        let rows = self.dx.rows;
        let mut this = self.row(0);
        let mut means = this.means(simd);
        for i in 0..rows {
            let next = self.row((i + 1).min(rows - 1));
            means = backward_row(simd, this, means, self.dx.row(i), self.sums, next);
            this = next;
        }
    }
}

/// The gradient of a row and its share of the sums; returns the means of the next one, so that its way from memory is
/// hidden behind the arithmetic of this one.
#[inline(always)]
fn backward_row<S: Simd, const N: usize>(
    simd: S,
    this: Row<N>,
    means: [f32; 2],
    dx: &mut [f32],
    sums: &mut [f32],
    next: Row<N>,
) -> [f32; 2] {
    let mut totals = Row::<N>::NO_TOTALS;
    for block in this.blocks() {
        this.backward(simd, block.clone(), means, dx, sums);
        next.add_to(simd, block, &mut totals);
    }
    this.backward(Scalar, this.rest(), means, dx, sums);
    next.finish(totals)
}

/// What the gradient of a row is computed from.
#[derive(Clone, Copy)]
struct Row<'a, const N: usize> {
    x: &'a [f32],
    mean: f32,
    rstd: f32,
    dy: [&'a [f32]; N],
    weights: [&'a [f32]; N],
}

/// For each of the N results the sums over a row, in lanes, of the gradient of `x̂` and of its product with `x̂`.
type Totals<const N: usize> = [[[f32; LANES]; 2]; N];

impl<const N: usize> Row<'_, N> {
    const NO_TOTALS: Totals<N> = [[[0.0; LANES]; 2]; N];

    /// Blocks of `LANES` columns. A vector belongs to one of them on every machine, and so to the same lanes.
    #[inline(always)]
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.rest().start).step_by(LANES).map(|at| at..at + LANES)
    }

    /// The columns after the last block, which are taken one by one.
    #[inline(always)]
    fn rest(&self) -> Range<usize> {
        self.x.len() / LANES * LANES..self.x.len()
    }

    /// The vector of `x̂` from column `at` on.
    #[inline(always)]
    fn xhat<S: Simd>(&self, simd: S, at: usize) -> S::f32s {
        let centred = simd.sub_f32s(vector::<S>(self.x, at), simd.splat_f32s(self.mean));
        simd.mul_f32s(centred, simd.splat_f32s(self.rstd))
    }

    /// Adds these columns, `LANES` at most, to the totals.
    #[inline(always)]
    fn add_to<S: Simd>(&self, simd: S, columns: Range<usize>, totals: &mut Totals<N>) {
        for (i, at) in columns.step_by(S::F32_LANES).enumerate() {
            let xhat = self.xhat(simd, at);
            for (n, [d, dx]) in totals.iter_mut().enumerate() {
                let (dy, w) = (vector::<S>(self.dy[n], at), vector::<S>(self.weights[n], at));
                let lane = i * S::F32_LANES;
                let (d, dx) = (vector_mut::<S>(d, lane), vector_mut::<S>(dx, lane));
                *d = simd.mul_add_f32s(dy, w, *d);
                *dx = simd.mul_add_f32s(simd.mul_f32s(dy, w), xhat, *dx);
            }
        }
    }

    /// The two means over the row that its gradient needs.
    #[inline(always)]
    fn means<S: Simd>(&self, simd: S) -> [f32; 2] {
        let mut totals = Self::NO_TOTALS;
        for block in self.blocks() {
            self.add_to(simd, block, &mut totals);
        }
        self.finish(totals)
    }

    /// The means, given the totals of the blocks.
    #[inline(always)]
    fn finish(&self, mut totals: Totals<N>) -> [f32; 2] {
        self.add_to(Scalar, self.rest(), &mut totals);
        let mut sums = [0.0; 2];
        for [d, dx] in totals {
            sums[0] += fold(d);
            sums[1] += fold(dx);
        }
        sums.map(|sum| sum / self.x.len() as f32)
    }

    /// The gradients of these columns.
    #[inline(always)]
    fn backward<S: Simd>(
        &self,
        simd: S,
        columns: Range<usize>,
        [mean_d, mean_dx]: [f32; 2],
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        let cols = self.x.len();
        for at in columns.step_by(S::F32_LANES) {
            let xhat = self.xhat(simd, at);
            let mut d = simd.splat_f32s(0.0);
            for n in 0..N {
                let (dy, w) = (vector::<S>(self.dy[n], at), vector::<S>(self.weights[n], at));
                d = simd.mul_add_f32s(dy, w, d);
                let (dweight, dbias) = sums[2 * n * cols..2 * (n + 1) * cols].split_at_mut(cols);
                let (dweight, dbias) = (vector_mut::<S>(dweight, at), vector_mut::<S>(dbias, at));
                *dweight = simd.mul_add_f32s(dy, xhat, *dweight);
                *dbias = simd.add_f32s(*dbias, dy);
            }
            let d = simd.sub_f32s(d, simd.splat_f32s(mean_d));
            let d = simd.negate_mul_add_f32s(xhat, simd.splat_f32s(mean_dx), d);
            let dx = vector_mut::<S>(dx, at);
            *dx = simd.add_f32s(*dx, simd.mul_f32s(simd.splat_f32s(self.rstd), d));
        }
    }
}

/// The vector from element `at` on.
#[inline(always)]
fn vector<S: Simd>(a: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&a[at..at + S::F32_LANES]).0[0]
}

/// The same, to be written.
#[inline(always)]
fn vector_mut<S: Simd>(a: &mut [f32], at: usize) -> &mut S::f32s {
    &mut S::as_mut_simd_f32s(&mut a[at..at + S::F32_LANES]).0[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::math::dispatch;
    use crate::ops::Matrix;

    const ROWS: usize = 2;

    /// Bits of `dx` and of the sums of two rows.
    fn bits<const N: usize>(cols: usize, run: fn(Chunk<N>)) -> Vec<u32> {
        let numbers = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|i| ((i + seed) * 7919 % 4093) as f32 / 4093.0 - 0.5).collect()
        };
        let matrix = |rows, cols| Matrix { offset: 0, rows, cols, ld: cols };
        let dy: [_; N] = std::array::from_fn(|n| numbers(ROWS * cols, n));
        let weights: [_; N] = std::array::from_fn(|n| numbers(cols, 10 + n));
        let (x, stats) = (numbers(ROWS * cols, 20), numbers(ROWS * 2, 21));
        let (mut dx, mut sums) = (numbers(ROWS * cols, 22), numbers(2 * N * cols, 23));
        run(Chunk {
            x: Rows::matrix(&x, matrix(ROWS, cols)),
            stats: Rows::matrix(&stats, matrix(ROWS, 2)),
            weights: std::array::from_fn(|n| &weights[n][..]),
            dy: std::array::from_fn(|n| Rows::matrix(&dy[n], matrix(ROWS, cols))),
            dx: RowsMut::matrix(&mut dx, matrix(ROWS, cols)),
            sums: &mut sums,
        });
        dx.iter().chain(&sums).map(|x| x.to_bits()).collect()
    }

    fn widths_agree<const N: usize>() {
        for cols in [1, 15, 16, 17, 512, 515] {
            let one_by_one = bits::<N>(cols, |chunk| Scalar.vectorize(chunk));
            let mut others: Vec<fn(Chunk<N>)> = vec![
                |chunk| pulp::Scalar128b.vectorize(chunk),
                |chunk| pulp::Scalar256b.vectorize(chunk),
                |chunk| pulp::Scalar512b.vectorize(chunk),
                |chunk| dispatch(chunk),
            ];
            // AVX2, which `dispatch` passes over on a machine with AVX-512.
            #[cfg(target_arch = "x86_64")]
            if pulp::x86::V3::try_new().is_some() {
                others.push(|chunk| Simd::vectorize(pulp::x86::V3::try_new().unwrap(), chunk));
            }
            for (i, other) in others.into_iter().enumerate() {
                assert!(bits::<N>(cols, other) == one_by_one, "N = {N}, {cols} columns, instruction set {i}");
            }
        }
    }

    #[test]
    fn bits_are_those_of_every_instruction_set() {
        widths_agree::<1>();
        widths_agree::<2>();
    }
}
