//! Matrix products with what follows them: biases, residual, GELU.
use super::element::Element;
use super::gemm::Operand;
use super::math::{gelu_erf, gelu_tanh, normal_or_zero, vectorize};
use super::memory::{BLOCK, Rows, RowsMut, for_parts, for_row_blocks};
use super::multiply::Multiply;
use super::product::Products;
use crate::ops::{Gelu, Matrix, Shape};

/// Rows of a task of GELU.
const GELU_ROWS: usize = 16;

/// `y = [residual +] x·wᵀ [+ Σ bias]`.
pub fn forward<E: Multiply>(
    products: &mut Products,
    s: Shape,
    [x, w]: [Rows<E>; 2],
    bias: [Option<&[f32]>; 2],
    residual: Option<Rows<E>>,
    y: RowsMut<E>,
) {
    let bias = E::biases(bias);
    E::product(products, s, x, Operand::T(w), y, |tile, (r, c)| {
        let bias = bias.each_ref().map(|b| b.as_ref().map(|b| &b[c.clone()]));
        match residual {
            Some(residual) => E::read(residual.part(r, c), |x| finish(tile, bias, Some(x))),
            None => finish(tile, bias, None),
        }
    });
}

/// Adds biases and residual to a product.
fn finish(tile: &mut RowsMut, bias: [Option<&[f32]>; 2], residual: Option<Rows>) {
    if bias.iter().all(Option::is_none) && residual.is_none() {
        return;
    }
    vectorize(
        #[inline(always)]
        || {
            for i in 0..tile.rows {
                let row = tile.row(i);
                bias.iter().flatten().for_each(|bias| add(row, bias));
                residual.iter().for_each(|x| add(row, x.row(i)));
            }
        },
    );
}

#[inline(always)]
fn add(row: &mut [f32], x: &[f32]) {
    // A row of a block is of known length.
    match (<&mut [f32; BLOCK]>::try_from(&mut *row), <&[f32; BLOCK]>::try_from(x)) {
        (Ok(row), Ok(x)) => row.iter_mut().zip(x).for_each(|(y, x)| *y += x),
        (_, _) => row.iter_mut().zip(x).for_each(|(y, x)| *y += x),
    }
}

/// `y = gelu(x·wᵀ + bias)`; `saved` keeps what the backward needs or, without `slope`, `x·wᵀ + bias` for [`gelu_again`].
/// A pass of its own over whole rows beats one over the columns of a tile.
pub fn forward_gelu<E: Multiply>(
    products: &mut Products,
    s: Shape,
    [x, w]: [Rows<E>; 2],
    bias: &[f32],
    kind: Gelu,
    [mut saved, y]: [RowsMut<E>; 2],
    slope: bool,
) {
    let (rows, cols) = (saved.rows, saved.cols);
    let pre = saved.part_mut(0..rows, 0..cols);
    if !E::SLOPE {
        // GELU is that of the rounded sum.
        forward(products, s, [x, w], [Some(bias), None], None, pre);
        return gelu_again(kind, saved, y);
    }
    forward(products, s, [x, w], [None, None], None, pre);
    for_row_blocks([saved, y], GELU_ROWS, |_, [saved, y]| {
        E::edit(saved, |mut x| {
            vectorize(
                #[inline(always)]
                || (0..x.rows).for_each(|i| add(x.row(i), bias)),
            );
            E::write(y, |mut y| activate_rows(kind, &mut x, &mut y, slope));
        });
    });
}

/// `y = gelu(saved)`, and `saved` becomes what the backward needs.
pub fn gelu_again<E: Element>(kind: Gelu, saved: RowsMut<E>, y: RowsMut<E>) {
    for_row_blocks([saved, y], GELU_ROWS, |_, [saved, y]| {
        E::write(y, |mut y| {
            if E::SLOPE {
                E::edit(saved, |mut x| activate_rows(kind, &mut x, &mut y, true));
            } else {
                E::read(saved.read(), |x| (0..x.rows).for_each(|i| value_row(kind, x.row(i), y.row(i))));
            }
        });
    });
}

fn activate_rows(kind: Gelu, x: &mut RowsMut, y: &mut RowsMut, slope: bool) {
    (0..x.rows).for_each(|i| activate_row(kind, x.row(i), y.row(i), slope));
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

/// The value alone.
fn value_row(kind: Gelu, x: &[f32], y: &mut [f32]) {
    match kind {
        Gelu::Erf => vectorize(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, x)| *y = gelu_erf(*x).0),
        ),
        Gelu::Tanh => vectorize(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, x)| *y = gelu_tanh(*x).0),
        ),
    }
}

/// `dy *= gelu'`, element by element: the gradient in front of GELU, of the slope that was saved or that of the
/// pre-activation.
pub fn gelu_backward<E: Element>(kind: Gelu, saved: Rows<E>, dy: RowsMut<E>) {
    for_row_blocks([dy], GELU_ROWS, |first, [dy]| {
        let saved = saved.part(first..first + dy.rows, 0..saved.cols);
        E::read(saved, |saved| {
            E::edit(dy, |mut dy| (0..dy.rows).for_each(|i| slope_row::<E>(kind, saved.row(i), dy.row(i))));
        });
    });
}

fn slope_row<E: Element>(kind: Gelu, saved: &[f32], dy: &mut [f32]) {
    #[inline(always)]
    fn times(saved: &[f32], dy: &mut [f32], slope: impl Fn(f32) -> f32) {
        dy.iter_mut().zip(saved).for_each(|(d, s)| *d = normal_or_zero(*d * slope(*s)));
    }
    vectorize(
        #[inline(always)]
        || match (E::SLOPE, kind) {
            (true, _) => times(saved, dy, |slope| slope),
            (false, Gelu::Erf) => times(saved, dy, |x| gelu_erf(x).1),
            (false, Gelu::Tanh) => times(saved, dy, |x| gelu_tanh(x).1),
        },
    );
}

/// `dx = dy·w`.
pub fn backward_input<E: Multiply>(products: &mut Products, s: Shape, [dy, w]: [Rows<E>; 2], dx: RowsMut<E>) {
    E::product(products, s, dy, Operand::N(w), dx, |_, _| ());
}

/// `db += Σ dy`: the rows of a sequence in order, then the sequences.
pub fn backward_bias<E: Element>(s: Shape, dy: Rows<E>, db: RowsMut, accumulate: bool) {
    const COLS: usize = 128;
    /// Rows that are borrowed as f32 at a time.
    const ROWS: usize = 64;
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
                let rows = sequence * s.time..(sequence + 1) * s.time;
                for start in rows.clone().step_by(ROWS) {
                    E::read(dy.part(start..(start + ROWS).min(rows.end), c.clone()), |dy| {
                        vectorize(
                            #[inline(always)]
                            || (0..dy.rows).for_each(|i| add(total, dy.row(i))),
                        );
                    });
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
