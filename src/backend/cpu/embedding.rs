//! Rows of the embedding by token, and their gradient.
use super::element::Element;
use super::memory::{Rows, RowsMut, for_parts, for_row_blocks};

/// `x[i] = w[token[i]]`.
pub fn forward<E: Element>(tokens: &[i32], w: Rows<E>, x: RowsMut<E>) {
    for_row_blocks([x], 64, |first, [mut x]| {
        for i in 0..x.rows {
            x.row(i).copy_from_slice(w.row(tokens[first + i] as usize));
        }
    });
}

/// `dw[token[i]] += dx[i]` in order of `i`: a task owns some columns of all rows.
pub fn backward<E: Element>(tokens: &[i32], dx: Rows<E>, dw: RowsMut, accumulate: bool) {
    const COLS: usize = 64;
    let (vocab, cols) = (dw.rows, dw.cols);
    let range = |t: usize| (0..vocab, t * COLS..((t + 1) * COLS).min(cols));
    for_parts(
        [dw],
        cols.div_ceil(COLS),
        |t| [range(t)],
        |t, [mut dw]| {
            if !accumulate {
                (0..vocab).for_each(|row| dw.row(row).fill(0.0));
            }
            let c = range(t).1;
            E::read(dx.part(0..tokens.len(), c), |dx| {
                for (i, &token) in tokens.iter().enumerate() {
                    dw.row(token as usize).iter_mut().zip(dx.row(i)).for_each(|(w, d)| *w += d);
                }
            });
        },
    );
}
