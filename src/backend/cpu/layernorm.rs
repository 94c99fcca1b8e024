//! LayerNorm, and the pair of the parallel residual that shares one pass and its statistics.
use super::math::{sum, sum2, vectorize};
use super::memory::{Rows, RowsMut, for_parts, for_row_blocks};
use crate::ops::Shape;

/// Rows whose weight gradients are summed together before they join the total, counted from the start of each
/// sequence.
const CHUNK: usize = 64;
/// Rows a task normalises.
const BLOCK: usize = 16;

/// Weight and bias, `[C]` each.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// Scale.
    pub weight: &'a [f32],
    /// Shift.
    pub bias: &'a [f32],
}

/// `y = x̂·weight + bias`; `stats` keeps (mean, rstd).
pub fn forward(x: Rows, norm: Affine, eps: f32, y: RowsMut, stats: RowsMut) {
    for_row_blocks([y, stats], BLOCK, |first, [mut y, mut stats]| {
        for i in 0..y.rows {
            let x = x.row(first + i);
            vectorize(
                #[inline(always)]
                || {
                    let moments = moments(x, eps);
                    stats.row(i).copy_from_slice(&moments);
                    normalize(x, moments, norm, y.row(i));
                },
            );
        }
    });
}

/// Both norms from one pass.
pub fn forward_pair(x: Rows, norms: [Affine; 2], eps: f32, y: [RowsMut; 2], stats: RowsMut) {
    let [a, b] = y;
    for_row_blocks([a, b, stats], BLOCK, |first, [mut a, mut b, mut stats]| {
        for i in 0..a.rows {
            let x = x.row(first + i);
            vectorize(
                #[inline(always)]
                || {
                    let moments = moments(x, eps);
                    stats.row(i).copy_from_slice(&moments);
                    normalize(x, moments, norms[0], a.row(i));
                    normalize(x, moments, norms[1], b.row(i));
                },
            );
        }
    });
}

/// Mean and 1/√(variance + ε), in two passes over a row that is in cache.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> [f32; 2] {
    let n = x.len() as f32;
    let mean = sum(x, |acc, x| acc + x) / n;
    let variance = sum(x, |acc, x| (x - mean).mul_add(x - mean, acc)) / n;
    [mean, 1.0 / (variance + eps).sqrt()]
}

#[inline(always)]
fn normalize(x: &[f32], [mean, rstd]: [f32; 2], norm: Affine, y: &mut [f32]) {
    for (((y, x), w), b) in y.iter_mut().zip(x).zip(norm.weight).zip(norm.bias) {
        *y = ((x - mean) * rstd).mul_add(*w, *b);
    }
}

/// Rows of the table of partial sums that [`backward`] fills.
pub fn chunks(s: Shape) -> usize {
    s.batch * s.time.div_ceil(CHUNK)
}

/// One row of a backward pass: what was normalised, its statistics and the gradients of the N results.
#[derive(Clone, Copy)]
struct Row<'a, const N: usize> {
    x: &'a [f32],
    mean: f32,
    rstd: f32,
    dy: [&'a [f32]; N],
}

/// `dx += Σₙ d normₙ`, and per chunk of rows the sums of `dyₙ·x̂` and of `dyₙ`: `partials [chunks, N·2·C]`.
pub fn backward<const N: usize>(
    s: Shape,
    x: Rows,
    stats: Rows,
    weights: [&[f32]; N],
    dy: [Rows; N],
    dx: RowsMut,
    partials: RowsMut,
) {
    let per_sequence = s.time.div_ceil(CHUNK);
    let rows = |chunk: usize| {
        let (sequence, part) = (chunk / per_sequence, chunk % per_sequence);
        sequence * s.time + part * CHUNK..sequence * s.time + ((part + 1) * CHUNK).min(s.time)
    };
    let get = |row: usize| {
        let stats = stats.row(row);
        Row { x: x.row(row), mean: stats[0], rstd: stats[1], dy: std::array::from_fn(|n| dy[n].row(row)) }
    };
    let (cols, sums) = (dx.cols, partials.cols);
    for_parts(
        [dx, partials],
        chunks(s),
        |chunk| [(rows(chunk), 0..cols), (chunk..chunk + 1, 0..sums)],
        |chunk, [mut dx, mut partials]| {
            let rows = rows(chunk);
            let sums = partials.row(0);
            sums.fill(0.0);
            let mut this = get(rows.start);
            let mut means = vectorize(
                #[inline(always)]
                || means(this, weights),
            );
            for i in 0..rows.len() {
                let next = get((rows.start + i + 1).min(rows.end - 1));
                means = vectorize(
                    #[inline(always)]
                    || backward_row(this, means, weights, dx.row(i), sums, next),
                );
                this = next;
            }
        },
    );
}

/// Lanes of the sums over a row.
const LANES: usize = 16;

/// Partial sums over a row of the gradient of `x̂` and of its product with `x̂`. Blocks of a row and what is left of it
/// have a copy each: an index that is not constant would keep both in memory.
#[derive(Clone, Copy)]
struct Totals {
    d: [f32; LANES],
    dx: [f32; LANES],
}

impl Totals {
    const ZERO: Self = Self { d: [0.0; LANES], dx: [0.0; LANES] };

    /// With columns `at..at + len`, at most `LANES`.
    #[inline(always)]
    fn add<const N: usize>(mut self, row: Row<N>, weights: [&[f32]; N], at: usize, len: usize) -> Self {
        let x = &row.x[at..at + len];
        #[allow(clippy::needless_range_loop, reason = "the compiler keeps the sums in registers only so")]
        for n in 0..N {
            let (dy, w) = (&row.dy[n][at..at + len], &weights[n][at..at + len]);
            for i in 0..len {
                let d = dy[i] * w[i];
                self.d[i] += d;
                self.dx[i] = d.mul_add((x[i] - row.mean) * row.rstd, self.dx[i]);
            }
        }
        self
    }

    /// Means over `cols` columns.
    #[inline(always)]
    fn means(&self, rest: &Self, cols: usize) -> [f32; 2] {
        let mean = |a: &[f32], b: &[f32]| sum2(a, b, |acc, a, b| acc + (a + b)) / cols as f32;
        [mean(&self.d, &rest.d), mean(&self.dx, &rest.dx)]
    }
}

/// The two means that the gradient of a row needs.
#[inline(always)]
fn means<const N: usize>(row: Row<N>, weights: [&[f32]; N]) -> [f32; 2] {
    let cols = row.x.len();
    let blocks = cols / LANES * LANES;
    let mut totals = Totals::ZERO;
    for at in (0..blocks).step_by(LANES) {
        totals = totals.add(row, weights, at, LANES);
    }
    totals.means(&Totals::ZERO.add(row, weights, blocks, cols - blocks), cols)
}

/// The gradient of a row and its share of the sums; returns the [`means`] of the next one, so that its way from memory
/// is that of the arithmetic of this one.
#[inline(always)]
fn backward_row<const N: usize>(
    this: Row<N>,
    means: [f32; 2],
    weights: [&[f32]; N],
    dx: &mut [f32],
    sums: &mut [f32],
    next: Row<N>,
) -> [f32; 2] {
    let cols = dx.len();
    let blocks = cols / LANES * LANES;
    let mut totals = Totals::ZERO;
    for at in (0..blocks).step_by(LANES) {
        backward_part(this, means, weights, dx, sums, at, LANES);
        totals = totals.add(next, weights, at, LANES);
    }
    backward_part(this, means, weights, dx, sums, blocks, cols - blocks);
    totals.means(&Totals::ZERO.add(next, weights, blocks, cols - blocks), cols)
}

/// Columns `at..at + len` of a row, at most `LANES`.
#[inline(always)]
fn backward_part<const N: usize>(
    this: Row<N>,
    [mean_d, mean_dx]: [f32; 2],
    weights: [&[f32]; N],
    dx: &mut [f32],
    sums: &mut [f32],
    at: usize,
    len: usize,
) {
    let cols = dx.len();
    let x = &this.x[at..at + len];
    let (mut xhat, mut d) = ([0.0; LANES], [-mean_d; LANES]);
    for i in 0..len {
        xhat[i] = (x[i] - this.mean) * this.rstd;
    }
    for n in 0..N {
        let (dy, w) = (&this.dy[n][at..at + len], &weights[n][at..at + len]);
        // One loop and one borrow each: only so do they become vectors, measured by `bench kernels`.
        let dweight = &mut sums[2 * n * cols + at..][..len];
        for i in 0..len {
            dweight[i] = dy[i].mul_add(xhat[i], dweight[i]);
        }
        let dbias = &mut sums[(2 * n + 1) * cols + at..][..len];
        for i in 0..len {
            dbias[i] += dy[i];
        }
        for i in 0..len {
            d[i] = dy[i].mul_add(w[i], d[i]);
        }
    }
    let dx = &mut dx[at..at + len];
    for i in 0..len {
        dx[i] = this.rstd.mul_add((-xhat[i]).mul_add(mean_dx, d[i]), dx[i]);
    }
}

/// `total += partials`, chunk after chunk.
pub fn reduce(partials: Rows, total: &mut [f32], accumulate: bool) {
    for chunk in 0..partials.rows {
        let row = partials.row(chunk);
        if accumulate || chunk > 0 {
            vectorize(
                #[inline(always)]
                || total.iter_mut().zip(row).for_each(|(t, p)| *t += p),
            );
        } else {
            total.copy_from_slice(row);
        }
    }
}
