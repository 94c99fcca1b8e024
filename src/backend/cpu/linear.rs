//! Matrix products with their epilogues: each tile is finished (bias, residual, GELU) while it is in cache.
use super::gemm::{Op, gemm};
use super::math::{gelu_erf, gelu_tanh, vectorize};
use super::memory::{Rows, RowsMut, for_parts, for_row_blocks};
use crate::model::Gelu;
use crate::ops::Shape;
use std::ops::Range;

/// Rows of a tile of activations. Tiles never cross the end of a sequence.
const TILE_ROWS: usize = 512;
/// Columns of a tile of activations.
const TILE_COLS: usize = 512;
/// Rows and columns of a tile of a weight gradient, which stays in cache while the sequences are added to it.
const GRAD_ROWS: usize = 512;
const GRAD_COLS: usize = 512;

/// Tiles of `[batch·time, cols]`, as (rows, columns), neighbours sharing their columns of the weight.
struct Tiles {
    shape: Shape,
    cols: usize,
}

impl Tiles {
    fn count(&self) -> usize {
        self.per_sequence() * self.shape.batch * self.cols.div_ceil(TILE_COLS)
    }

    fn per_sequence(&self) -> usize {
        self.shape.time.div_ceil(TILE_ROWS)
    }

    fn get(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let row_tiles = self.per_sequence() * self.shape.batch;
        let (column, row) = (task / row_tiles, task % row_tiles);
        let (sequence, part) = (row / self.per_sequence(), row % self.per_sequence());
        let start = part * TILE_ROWS;
        let end = (start + TILE_ROWS).min(self.shape.time);
        let base = sequence * self.shape.time;
        let cols = column * TILE_COLS..((column + 1) * TILE_COLS).min(self.cols);
        (base + start..base + end, cols)
    }
}

/// `y = [residual +] x·wᵀ [+ Σ bias]`.
pub fn forward(s: Shape, x: Rows, w: Rows, bias: [Option<&[f32]>; 2], residual: Option<Rows>, y: RowsMut) {
    let tiles = Tiles { shape: s, cols: y.cols };
    for_parts(
        [y],
        tiles.count(),
        |t| [tiles.get(t)],
        |t, [mut tile]| {
            let (r, c) = tiles.get(t);
            let start = fill(&mut tile, &r, &c, bias, residual);
            gemm(&mut tile, start, Op::N(x.part(r, 0..x.cols)), Op::T(w.part(c, 0..w.cols)), 1.0);
        },
    );
}

/// Puts what the product is added to into the tile; false if there is nothing.
fn fill(
    tile: &mut RowsMut,
    r: &Range<usize>,
    c: &Range<usize>,
    bias: [Option<&[f32]>; 2],
    residual: Option<Rows>,
) -> bool {
    if residual.is_none() && bias.iter().all(Option::is_none) {
        return false;
    }
    for i in 0..r.len() {
        let row = tile.row(i);
        match residual {
            Some(x) => row.copy_from_slice(&x.row(r.start + i)[c.clone()]),
            None => row.fill(0.0),
        }
        vectorize(
            #[inline(always)]
            || {
                for b in bias.iter().flatten() {
                    row.iter_mut().zip(&b[c.clone()]).for_each(|(y, b)| *y += b);
                }
            },
        );
    }
    true
}

/// `y = gelu(x·wᵀ + bias)`; `saved` keeps the derivative, so that the backward is one product, or, without `slope`,
/// `x·wᵀ + bias` for [`gelu_again`].
#[allow(clippy::too_many_arguments, reason = "the tensors of one fused operation")]
pub fn forward_gelu(
    s: Shape,
    x: Rows,
    w: Rows,
    bias: &[f32],
    kind: Gelu,
    saved: RowsMut,
    y: RowsMut,
    slope: bool,
) {
    let tiles = Tiles { shape: s, cols: y.cols };
    for_parts(
        [saved, y],
        tiles.count(),
        |t| [tiles.get(t), tiles.get(t)],
        |t, [mut saved, mut y]| {
            let (r, c) = tiles.get(t);
            let start = fill(&mut saved, &r, &c, [Some(bias), None], None);
            gemm(&mut saved, start, Op::N(x.part(r.clone(), 0..x.cols)), Op::T(w.part(c, 0..w.cols)), 1.0);
            activate_rows(kind, &mut saved, &mut y, slope);
        },
    );
}

/// `y = gelu(saved)`, and `saved` becomes the derivative.
pub fn gelu_again(kind: Gelu, saved: RowsMut, y: RowsMut) {
    for_row_blocks([saved, y], 16, |_, [mut saved, mut y]| activate_rows(kind, &mut saved, &mut y, true));
}

fn activate_rows(kind: Gelu, x: &mut RowsMut, y: &mut RowsMut, slope: bool) {
    for i in 0..x.rows {
        let (x, y) = (x.row(i), y.row(i));
        match kind {
            Gelu::Erf => vectorize(
                #[inline(always)]
                || activate(x, y, slope, gelu_erf),
            ),
            Gelu::Tanh => vectorize(
                #[inline(always)]
                || activate(x, y, slope, gelu_tanh),
            ),
        }
    }
}

/// Writes the value; with `slope`, `x` becomes the derivative.
#[inline(always)]
fn activate(x: &mut [f32], y: &mut [f32], slope: bool, gelu: impl Fn(f32) -> (f32, f32)) {
    for (x, y) in x.iter_mut().zip(y) {
        let (value, derivative) = gelu(*x);
        *y = value;
        *x = if slope { derivative } else { *x };
    }
}

/// `dy *= slope`.
pub fn gelu_backward(slope: Rows, dy: RowsMut) {
    for_row_blocks([dy], 16, |first, [mut dy]| {
        for i in 0..dy.rows {
            let slope = slope.row(first + i);
            vectorize(
                #[inline(always)]
                || dy.row(i).iter_mut().zip(slope).for_each(|(d, s)| *d *= s),
            );
        }
    });
}

/// `dx = dy·w`.
pub fn backward_input(s: Shape, dy: Rows, w: Rows, dx: RowsMut) {
    let tiles = Tiles { shape: s, cols: dx.cols };
    for_parts(
        [dx],
        tiles.count(),
        |t| [tiles.get(t)],
        |t, [mut tile]| {
            let (r, c) = tiles.get(t);
            gemm(&mut tile, false, Op::N(dy.part(r, 0..dy.cols)), Op::N(w.part(0..w.rows, c)), 1.0);
        },
    );
}

/// `dw += dyᵀ·x`, one sequence after the other.
pub fn backward_weight(s: Shape, dy: Rows, x: Rows, dw: RowsMut, accumulate: bool) {
    let (rows, cols) = (dw.rows, dw.cols);
    let columns = cols.div_ceil(GRAD_COLS);
    let tile = |t: usize| {
        let (r, c) = (t / columns * GRAD_ROWS, t % columns * GRAD_COLS);
        (r..(r + GRAD_ROWS).min(rows), c..(c + GRAD_COLS).min(cols))
    };
    for_parts(
        [dw],
        rows.div_ceil(GRAD_ROWS) * columns,
        |t| [tile(t)],
        |t, [mut part]| {
            let (r, c) = tile(t);
            for sequence in 0..s.batch {
                let rows = sequence * s.time..(sequence + 1) * s.time;
                let (dy, x) = (dy.part(rows.clone(), r.clone()), x.part(rows, c.clone()));
                gemm(&mut part, accumulate || sequence > 0, Op::T(dy), Op::N(x), 1.0);
            }
        },
    );
}

/// `db += Σ dy`: the rows of a sequence in order, then the sequences.
pub fn backward_bias(s: Shape, dy: Rows, db: RowsMut, accumulate: bool) {
    const COLS: usize = 128;
    let cols = db.cols;
    let range = |t: usize| (0..1, t * COLS..((t + 1) * COLS).min(cols));
    for_parts(
        [db],
        cols.div_ceil(COLS),
        |t| [range(t)],
        |t, [mut part]| {
            let c = range(t).1;
            let db = part.row(0);
            for sequence in 0..s.batch {
                let mut total = [0.0f32; COLS];
                let total = &mut total[..c.len()];
                for i in sequence * s.time..(sequence + 1) * s.time {
                    let dy = &dy.row(i)[c.clone()];
                    vectorize(
                        #[inline(always)]
                        || total.iter_mut().zip(dy).for_each(|(t, d)| *t += d),
                    );
                }
                if accumulate || sequence > 0 {
                    db.iter_mut().zip(total.iter()).for_each(|(b, t)| *b += t);
                } else {
                    db.copy_from_slice(total);
                }
            }
        },
    );
}
