//! Rows of the embedding by token, and their gradient.
use super::element::Element;
use super::memory::{Rows, RowsMut, for_row_blocks};

/// `x[i] = w[token[i]]`.
pub fn forward<E: Element>(tokens: &[i32], w: Rows<E>, x: RowsMut<E>) {
    for_row_blocks([x], 64, |first, [mut x]| {
        for i in 0..x.rows {
            x.row(i).copy_from_slice(w.row(tokens[first + i] as usize));
        }
    });
}

/// `dw[token[i]] += dx[i]` in order of `i`: a task owns some rows, and looks for their tokens.
pub fn backward<E: Element>(tokens: &[i32], dx: Rows<E>, dw: RowsMut, accumulate: bool) {
    const ROWS: usize = 512;
    for_row_blocks([dw], ROWS, |first, [mut dw]| {
        if !accumulate {
            (0..dw.rows).for_each(|row| dw.row(row).fill(0.0));
        }
        for (i, token) in tokens.iter().enumerate() {
            let Some(row) = (*token as usize).checked_sub(first).filter(|row| *row < dw.rows) else {
                continue;
            };
            E::read(dx.part(i..i + 1, 0..dx.cols), |dx| {
                dw.row(row).iter_mut().zip(dx.row(0)).for_each(|(w, d)| *w += d);
            });
        }
    });
}
