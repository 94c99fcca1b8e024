//! Softmax cross-entropy over rows of logits, the gradient in their place.
use super::element::Element;
use super::math::{exp_sum, max, normal_or_zero, sum, vectorize};
use super::memory::{RowsMut, for_row_blocks};

/// `loss[i] = lse(logitsᵢ) - logitsᵢ[target]`, 0 where the target is negative. With `grad_scale` the logits
/// become `(softmax - onehot)·scale`, 0 where the softmax's share would be subnormal.
pub fn forward<E: Element>(logits: RowsMut<E>, targets: &[i32], loss: RowsMut, grad_scale: Option<f32>) {
    for_row_blocks(([logits], [loss]), 1, |i, ([logits], [mut loss])| {
        E::edit(logits, |mut logits| of_row(logits.row(0), targets[i], &mut loss.row(0)[0], grad_scale));
    });
}

fn of_row(row: &mut [f32], target: i32, loss: &mut f32, grad_scale: Option<f32>) {
    let Ok(target) = usize::try_from(target) else {
        *loss = 0.0;
        if grad_scale.is_some() {
            row.fill(0.0);
        }
        return;
    };
    let logit = row[target];
    match grad_scale {
        None => {
            let (shift, total) = vectorize(
                #[inline(always)]
                || {
                    let shift = max(row);
                    (shift, sum(row, |acc, x| acc + super::math::exp(x - shift)))
                },
            );
            *loss = shift + total.ln() - logit;
        }
        Some(scale) => {
            let (shift, total) = vectorize(
                #[inline(always)]
                || {
                    let shift = max(row);
                    let total = exp_sum(row, shift);
                    let factor = scale / total;
                    row.iter_mut().for_each(|x| *x = normal_or_zero(*x * factor));
                    (shift, total)
                },
            );
            *loss = shift + total.ln() - logit;
            row[target] -= scale;
        }
    }
}
