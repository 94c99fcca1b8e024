//! Matrix products with what follows them: biases, residual, GELU.
use super::gemm::{Operand, gemm};
use super::math::{gelu_erf, gelu_tanh, normal_or_zero, vectorize};
use super::memory::{Rows, RowsMut, for_parts, for_row_blocks};
use super::tiles::Tiles;
use crate::ops::{Gelu, Matrix, Shape};

/// Rows and columns of a tile of a weight gradient, which stays in cache while the sequences are added to it.
const GRAD_ROWS: usize = 256;
const GRAD_COLS: usize = 512;
/// Its tiles are made smaller where there are fewer, for all threads to have work.
const GRAD_TILES: usize = 6;
/// Rows of a task of GELU.
const GELU_ROWS: usize = 16;

/// `y = [residual +] x·wᵀ [+ Σ bias]`.
pub fn forward(s: Shape, x: Rows, w: Rows, bias: [Option<&[f32]>; 2], residual: Option<Rows>, y: RowsMut) {
    let tiles = Tiles::new(s, y.cols);
    for_parts(
        [y],
        tiles.count(),
        |t| [tiles.get(t)],
        |t, [mut tile]| {
            let (r, c) = tiles.get(t);
            let (x, w) = (x.part(r.clone(), 0..x.cols), w.part(c.clone(), 0..w.cols));
            gemm(&mut tile, false, Operand::N(x), Operand::T(w), 1.0);
            let bias = bias.map(|b| b.map(|b| &b[c.clone()]));
            finish(&mut tile, bias, residual.map(|x| x.part(r, c)));
        },
    );
}

/// Adds biases and residual to a product.
fn finish(tile: &mut RowsMut, bias: [Option<&[f32]>; 2], residual: Option<Rows>) {
    let add = |row: &mut [f32], x: &[f32]| {
        vectorize(
            #[inline(always)]
            || row.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        )
    };
    if bias.iter().all(Option::is_none) && residual.is_none() {
        return;
    }
    for i in 0..tile.rows {
        let row = tile.row(i);
        bias.iter().flatten().for_each(|bias| add(row, bias));
        residual.iter().for_each(|x| add(row, x.row(i)));
    }
}

/// `y = gelu(x·wᵀ + bias)`; `saved` keeps the derivative, so that the backward is one product, or, without `slope`,
/// `x·wᵀ + bias` for [`gelu_again`]. A pass of its own over whole rows beats one over the columns of a tile.
pub fn forward_gelu(
    s: Shape,
    x: Rows,
    w: Rows,
    bias: &[f32],
    kind: Gelu,
    [mut saved, y]: [RowsMut; 2],
    slope: bool,
) {
    let (rows, cols) = (saved.rows, saved.cols);
    forward(s, x, w, [None, None], None, saved.part_mut(0..rows, 0..cols));
    for_row_blocks([saved, y], GELU_ROWS, |_, [mut saved, mut y]| {
        for i in 0..saved.rows {
            let x = saved.row(i);
            vectorize(
                #[inline(always)]
                || x.iter_mut().zip(bias).for_each(|(x, b)| *x += b),
            );
            activate_row(kind, x, y.row(i), slope);
        }
    });
}

/// `y = gelu(saved)`, and `saved` becomes the derivative.
pub fn gelu_again(kind: Gelu, saved: RowsMut, y: RowsMut) {
    for_row_blocks([saved, y], GELU_ROWS, |_, [mut saved, mut y]| {
        (0..saved.rows).for_each(|i| activate_row(kind, saved.row(i), y.row(i), true));
    });
}

/// GELU of `x [m, n]` in a pass of its own, as it follows the crate's product where ours has it built in.
pub fn whole_gelu(kind: Gelu, x: &mut [f32], y: &mut [f32], n: usize) {
    let dense = Matrix { offset: 0, rows: x.len() / n, cols: n, ld: n };
    gelu_again(kind, RowsMut::matrix(x, dense), RowsMut::matrix(y, dense));
}

fn activate_row(kind: Gelu, x: &mut [f32], y: &mut [f32], slope: bool) {
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

/// Writes the value; with `slope`, `x` becomes the derivative.
#[inline(always)]
fn activate(x: &mut [f32], y: &mut [f32], slope: bool, gelu: impl Fn(f32) -> (f32, f32)) {
    for (x, y) in x.iter_mut().zip(y) {
        let (value, derivative) = gelu(*x);
        *y = value;
        *x = if slope { derivative } else { *x };
    }
}

/// `dy *= slope`, element by element: the gradient in front of GELU.
pub fn gelu_backward(slope: Rows, dy: RowsMut) {
    for_row_blocks([dy], GELU_ROWS, |first, [mut dy]| {
        for i in 0..dy.rows {
            let slope = slope.row(first + i);
            vectorize(
                #[inline(always)]
                || dy.row(i).iter_mut().zip(slope).for_each(|(d, s)| *d = normal_or_zero(*d * s)),
            );
        }
    });
}

/// `dx = dy·w`.
pub fn backward_input(s: Shape, dy: Rows, w: Rows, dx: RowsMut) {
    let tiles = Tiles::new(s, dx.cols);
    for_parts(
        [dx],
        tiles.count(),
        |t| [tiles.get(t)],
        |t, [mut tile]| {
            let (r, c) = tiles.get(t);
            gemm(&mut tile, false, Operand::N(dy.part(r, 0..dy.cols)), Operand::N(w.part(0..w.rows, c)), 1.0);
        },
    );
}

/// `dw += dyᵀ·x`, one sequence after the other.
pub fn backward_weight(s: Shape, dy: Rows, x: Rows, dw: RowsMut, accumulate: bool) {
    let (rows, cols) = (dw.rows, dw.cols);
    let columns = cols.div_ceil(GRAD_COLS);
    let height = if rows.div_ceil(GRAD_ROWS) * columns < GRAD_TILES { GRAD_ROWS / 2 } else { GRAD_ROWS };
    let tile = |t: usize| {
        let (r, c) = (t / columns * height, t % columns * GRAD_COLS);
        (r..(r + height).min(rows), c..(c + GRAD_COLS).min(cols))
    };
    for_parts(
        [dw],
        rows.div_ceil(height) * columns,
        |t| [tile(t)],
        |t, [mut part]| {
            let (r, c) = tile(t);
            for sequence in 0..s.batch {
                let rows = sequence * s.time..(sequence + 1) * s.time;
                let (dy, x) = (dy.part(rows.clone(), r.clone()), x.part(rows, c.clone()));
                gemm(&mut part, accumulate || sequence > 0, Operand::T(dy), Operand::N(x), 1.0);
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
