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
    let (cols, sums) = (dx.cols, partials.cols);
    for_parts(
        [dx, partials],
        chunks(s),
        |chunk| [(rows(chunk), 0..cols), (chunk..chunk + 1, 0..sums)],
        |chunk, [mut dx, mut partials]| {
            let sums = partials.row(0);
            sums.fill(0.0);
            for (i, row) in rows(chunk).enumerate() {
                let moments = [stats.row(row)[0], stats.row(row)[1]];
                let dy: [&[f32]; N] = std::array::from_fn(|n| dy[n].row(row));
                vectorize(
                    #[inline(always)]
                    || backward_row(x.row(row), moments, weights, dy, dx.row(i), sums),
                );
            }
        },
    );
}

#[inline(always)]
fn backward_row<const N: usize>(
    x: &[f32],
    [mean, rstd]: [f32; 2],
    weights: [&[f32]; N],
    dy: [&[f32]; N],
    dx: &mut [f32],
    sums: &mut [f32],
) {
    let cols = x.len();
    let mut mean_d = 0.0;
    let mut mean_dx = 0.0;
    for n in 0..N {
        let weighted = |acc: f32, dy: f32, w: f32| dy.mul_add(w, acc);
        mean_d += sum2(dy[n], weights[n], weighted);
        mean_dx += sum3(dy[n], weights[n], x, |acc, dy, w, x| (dy * w).mul_add((x - mean) * rstd, acc));
    }
    mean_d /= cols as f32;
    mean_dx /= cols as f32;
    for n in 0..N {
        let (dweight, dbias) = sums[2 * n * cols..2 * (n + 1) * cols].split_at_mut(cols);
        for i in 0..cols {
            dweight[i] = dy[n][i].mul_add((x[i] - mean) * rstd, dweight[i]);
            dbias[i] += dy[n][i];
        }
    }
    for i in 0..cols {
        let mut d = 0.0;
        for n in 0..N {
            d = dy[n][i].mul_add(weights[n][i], d);
        }
        let xhat = (x[i] - mean) * rstd;
        dx[i] += rstd * (-xhat).mul_add(mean_dx, d - mean_d);
    }
}

/// Three-operand form of [`sum2`].
#[inline(always)]
fn sum3(a: &[f32], b: &[f32], c: &[f32], f: impl Fn(f32, f32, f32, f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let n = a.len() / LANES * LANES;
    for start in (0..n).step_by(LANES) {
        let (x, y, z) = (&a[start..start + LANES], &b[start..start + LANES], &c[start..start + LANES]);
        for i in 0..LANES {
            lanes[i] = f(lanes[i], x[i], y[i], z[i]);
        }
    }
    for i in n..a.len() {
        lanes[i - n] = f(lanes[i - n], a[i], b[i], c[i]);
    }
    sum(&lanes, |acc, x| acc + x)
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
