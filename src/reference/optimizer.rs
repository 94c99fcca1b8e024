//! AdamW and the moving average of the weights by their definitions.
use super::Float;
use crate::ops::AdamStep;

/// Weights and moments of one tensor.
#[derive(Clone)]
pub struct Moments<T> {
    /// The weights.
    pub w: Vec<T>,
    /// The first moments, one for each weight.
    pub m: Vec<T>,
    /// The second moments, one for each weight.
    pub v: Vec<T>,
}

/// Moments below the normal numbers of f32 are 0.
fn moment<T: Float>(x: T) -> T {
    let least = T::of(f64::from(f32::MIN_POSITIVE));
    if x < least && x > -least { T::of(0.0) } else { x }
}

/// One update (Loshchilov & Hutter 2019, algorithm 2, the decay times the rate as PyTorch has it).
pub fn adamw<T: Float>(state: &mut Moments<T>, g: &[T], step: AdamStep, lr_mult: f64, weight_decay: f64) {
    let (c, [b1, b2]) = (T::of, step.betas);
    let lr = step.lr * lr_mult;
    let correction = |beta: f64| 1.0 - beta.powi(step.applied as i32);
    for (i, &g) in g.iter().enumerate() {
        let g = g * c(step.grad_scale);
        state.m[i] = moment(c(b1) * state.m[i] + c(1.0 - b1) * g);
        state.v[i] = moment(c(b2) * state.v[i] + c(1.0 - b2) * g * g);
        let (m, v) = (state.m[i] / c(correction(b1)), state.v[i] / c(correction(b2)));
        state.w[i] = state.w[i] * c(1.0 - lr * weight_decay) - c(lr) * m / (v.sqrt() + c(step.eps));
    }
}

/// `e = d·e + (1 − d)·w`.
pub fn ema<T: Float>(e: &mut [T], w: &[T], decay: f64) {
    let (old, new) = (T::of(decay), T::of(1.0 - decay));
    e.iter_mut().zip(w).for_each(|(e, &w)| *e = old * *e + new * w);
}
