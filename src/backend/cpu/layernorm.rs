//! LayerNorm, and the pair of the parallel residual that shares one pass and its statistics.
mod backward;

use super::element::Element;
use super::math::{dispatch, sum, vectorize};
use super::memory::{Rows, RowsMut, for_parts, for_row_blocks};
use crate::ops::Shape;
use backward::Chunk;

/// Rows whose weight gradients are summed together before they join the total, counted from the start of each
/// sequence.
const CHUNK: usize = 64;
/// Rows a task normalises.
const BLOCK: usize = 16;

/// Weight and bias, `[C]` each.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// Scale `γ`, `[C]`.
    pub weight: &'a [f32],
    /// Shift `β`, `[C]`.
    pub bias: &'a [f32],
}

/// `y = x̂·weight + bias`; `stats` keeps (mean, rstd).
pub fn forward<E: Element>(x: Rows<E>, norm: Affine, eps: f32, y: RowsMut<E>, stats: RowsMut) {
    for_row_blocks(([y], [stats]), BLOCK, |first, ([y], [stats])| {
        E::read(x.part(first..first + y.rows, 0..x.cols), |x| {
            E::write(y, |y| forward_rows(x, [norm], eps, [y], stats));
        });
    });
}

/// Both norms from one pass.
pub fn forward_pair<E: Element>(
    x: Rows<E>,
    norms: [Affine; 2],
    eps: f32,
    y: [RowsMut<E>; 2],
    stats: RowsMut,
) {
    for_row_blocks((y, [stats]), BLOCK, |first, ([a, b], [stats])| {
        E::read(x.part(first..first + a.rows, 0..x.cols), |x| {
            E::write(a, |a| E::write(b, |b| forward_rows(x, norms, eps, [a, b], stats)));
        });
    });
}

fn forward_rows<const N: usize>(
    x: Rows,
    norms: [Affine; N],
    eps: f32,
    mut y: [RowsMut; N],
    mut stats: RowsMut,
) {
    for i in 0..x.rows {
        let x = x.row(i);
        vectorize(
            #[inline(always)]
            || {
                let moments = moments(x, eps);
                stats.row(i).copy_from_slice(&moments);
                norms.iter().zip(&mut y).for_each(|(norm, y)| normalize(x, moments, *norm, y.row(i)));
            },
        );
    }
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
pub fn backward<E: Element, const N: usize>(
    s: Shape,
    x: Rows<E>,
    stats: Rows,
    weights: [&[f32]; N],
    dy: [Rows<E>; N],
    dx: RowsMut<E>,
    partials: RowsMut,
) {
    let per_sequence = s.time.div_ceil(CHUNK);
    let rows = |chunk: usize| {
        let (sequence, part) = (chunk / per_sequence, chunk % per_sequence);
        sequence * s.time + part * CHUNK..sequence * s.time + ((part + 1) * CHUNK).min(s.time)
    };
    let (cols, sums) = (dx.cols, partials.cols);
    for_parts(
        ([dx], [partials]),
        chunks(s),
        |chunk| ([(rows(chunk), 0..cols)], [(chunk..chunk + 1, 0..sums)]),
        |chunk, ([dx], [mut sums])| {
            let rows = rows(chunk);
            let stats = stats.part(rows.clone(), 0..stats.cols);
            E::read(x.part(rows.clone(), 0..cols), |x| {
                // Where there is one gradient, it is the last one, too.
                E::read(dy[0].part(rows.clone(), 0..cols), |first| {
                    E::read(dy[N - 1].part(rows, 0..cols), |last| {
                        let dy = std::array::from_fn(|n| if n == 0 { first } else { last });
                        E::edit(dx, |dx| {
                            dispatch(Chunk { x, stats, weights, dy, dx, sums: sums.row(0) });
                        });
                    });
                });
            });
        },
    );
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
