//! Softmax cross-entropy over rows of logits, the gradient in their place.
use super::element::Element;
use super::math::{exp, exp_sum, max, normal_or_zero, sum, vectorize};
use super::memory::{RowsMut, for_row_blocks};

/// What is left of a probability of 1 where it is not to be predicted: the gradient stays finite.
const LEAST_REST: f32 = 1e-5;

/// `loss[i] = lse(logitsᵢ) - logitsᵢ[target]`, 0 where the target is negative or its weight 0. With `grad_scale` the logits
/// become `(softmax - onehot)·scale·weight`, 0 where the softmax's share would be subnormal. A target of negative weight is
/// one not to be predicted ([`crate::ops::Op::CrossEntropy`]). `weights` are empty where each is 1.
pub fn forward<E: Element>(
    logits: RowsMut<E>,
    targets: &[i32],
    weights: &[f32],
    loss: RowsMut,
    grad_scale: Option<f32>,
) {
    for_row_blocks(([logits], [loss]), 1, |i, ([logits], [mut loss])| {
        let weight = weights.get(i).copied().unwrap_or(1.0);
        let target = usize::try_from(targets[i]).ok().filter(|_| weight != 0.0);
        E::edit(logits, |mut logits| {
            let (row, loss) = (logits.row(0), &mut loss.row(0)[0]);
            match target {
                Some(target) => of_row(row, target, weight, loss, grad_scale),
                None => {
                    *loss = 0.0;
                    if grad_scale.is_some() {
                        row.fill(0.0);
                    }
                }
            }
        });
    });
}

fn of_row(row: &mut [f32], target: usize, weight: f32, loss: &mut f32, grad_scale: Option<f32>) {
    let logit = row[target];
    let (shift, total) = vectorize(
        #[inline(always)]
        || {
            let shift = max(row);
            match grad_scale {
                None => (shift, sum(row, |acc, x| acc + exp(x - shift))),
                Some(_) => (shift, exp_sum(row, shift)),
            }
        },
    );
    // Of -ln(1 - p) = ln(1 + p / (1 - p)) the gradient is -p / (1 - p) times that of -ln p.
    let odds = (weight < 0.0).then(|| {
        let own = exp(logit - shift);
        own / (total - own).max(LEAST_REST * total)
    });
    *loss = odds.map_or_else(|| shift + total.ln() - logit, f32::ln_1p);
    let Some(scale) = grad_scale else { return };
    let scale = scale * weight * odds.unwrap_or(1.0);
    let factor = scale / total;
    vectorize(
        #[inline(always)]
        || row.iter_mut().for_each(|x| *x = normal_or_zero(*x * factor)),
    );
    row[target] -= scale;
}
