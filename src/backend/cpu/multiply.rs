//! The products of a model, for either element: f32 by the `gemm` crate in tiles, bf16 by micro-kernels of our own.
use super::attention::Attend;
use super::gemm::{Operand, gemm};
use super::memory::{Place, Rows, RowsMut, for_parts};
use super::product::Products;
use super::tiles::Tiles;
use crate::ops::Shape;
use half::bf16;
use std::slice::from_ref;

/// Rows and columns of a tile of a weight gradient, which stays in cache while the sequences are added to it.
const GRAD_ROWS: usize = 256;
const GRAD_COLS: usize = 512;
/// Its tiles are made smaller where there are fewer, for all threads to have work.
const GRAD_TILES: usize = 6;

/// An element whose matrices can be multiplied.
pub trait Multiply: Attend {
    /// `y = a·b` of activations `a`; `finish` is given each tile of `y` in f32 with its place, before it is rounded.
    fn product(
        products: &mut Products,
        s: Shape,
        a: Rows<Self>,
        b: Operand<Self>,
        y: RowsMut<Self>,
        finish: impl Fn(&mut RowsMut, Place) + Sync,
    );

    /// `dw = dyᵀ·x`, or `dw += dyᵀ·x`, one sequence after the other.
    fn weight_gradient(
        products: &mut Products,
        s: Shape,
        dy: Rows<Self>,
        x: Rows<Self>,
        dw: RowsMut,
        accumulate: bool,
    );
}

impl Multiply for f32 {
    fn product(
        _: &mut Products,
        s: Shape,
        a: Rows,
        b: Operand,
        y: RowsMut,
        finish: impl Fn(&mut RowsMut, Place) + Sync,
    ) {
        let tiles = Tiles::new(s, y.cols);
        for_parts(
            [y],
            tiles.count(),
            |t| [tiles.get(t)],
            |t, [mut tile]| {
                let (r, c) = tiles.get(t);
                let b = match b {
                    Operand::N(b) => Operand::N(b.part(0..b.rows, c.clone())),
                    Operand::T(b) => Operand::T(b.part(c.clone(), 0..b.cols)),
                };
                gemm(&mut tile, false, Operand::N(a.part(r.clone(), 0..a.cols)), b, 1.0);
                finish(&mut tile, (r, c));
            },
        );
    }

    fn weight_gradient(_: &mut Products, s: Shape, dy: Rows, x: Rows, dw: RowsMut, accumulate: bool) {
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
}

impl Multiply for bf16 {
    fn product(
        products: &mut Products,
        _: Shape,
        a: Rows<bf16>,
        b: Operand<bf16>,
        y: RowsMut<bf16>,
        finish: impl Fn(&mut RowsMut, Place) + Sync,
    ) {
        products.multiply(y, false, [Operand::N(a), b], from_ref(&(0..a.cols)), finish);
    }

    fn weight_gradient(
        products: &mut Products,
        s: Shape,
        dy: Rows<bf16>,
        x: Rows<bf16>,
        dw: RowsMut,
        accumulate: bool,
    ) {
        let sequences: Vec<_> = (0..s.batch).map(|i| i * s.time..(i + 1) * s.time).collect();
        products.multiply(dw, accumulate, [Operand::T(dy), Operand::N(x)], &sequences, |_, _| ());
    }
}
