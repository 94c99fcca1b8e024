//! The operations beside attention, each with its gradient. Sums run over their index in order.
use super::Float;
use crate::ops::Gelu;

/// Mean and 1/√(variance + ε) of every row of `x [R, C]`, as `[R, 2]`.
pub fn moments<T: Float>(x: &[T], cols: usize, eps: f64) -> Vec<T> {
    let n = T::of(cols as f64);
    let row = |x: &[T]| {
        let mean = x.iter().copied().sum::<T>() / n;
        let variance = x.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / n;
        [mean, T::of(1.0) / (variance + T::of(eps)).sqrt()]
    };
    x.chunks(cols).flat_map(row).collect()
}

/// `(x - mean)·rstd·weight + bias`.
pub fn layernorm<T: Float>(x: &[T], moments: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len());
    for (x, m) in x.chunks(weight.len()).zip(moments.chunks(2)) {
        y.extend(x.iter().zip(weight).zip(bias).map(|((&x, &w), &b)| (x - m[0]) * m[1] * w + b));
    }
    y
}

/// Gradients of [`layernorm`] by x, weight and bias.
pub fn layernorm_bwd<T: Float>(x: &[T], moments: &[T], weight: &[T], dy: &[T]) -> [Vec<T>; 3] {
    let cols = weight.len();
    let n = T::of(cols as f64);
    let mut dx = Vec::with_capacity(x.len());
    let (mut dweight, mut dbias) = (vec![T::default(); cols], vec![T::default(); cols]);
    for ((x, m), dy) in x.chunks(cols).zip(moments.chunks(2)).zip(dy.chunks(cols)) {
        let xhat: Vec<T> = x.iter().map(|&x| (x - m[0]) * m[1]).collect();
        let d: Vec<T> = dy.iter().zip(weight).map(|(&dy, &w)| dy * w).collect();
        let mean_d = d.iter().copied().sum::<T>() / n;
        let mean_dx = d.iter().zip(&xhat).map(|(&d, &x)| d * x).sum::<T>() / n;
        for j in 0..cols {
            dx.push(m[1] * (d[j] - mean_d - xhat[j] * mean_dx));
            dweight[j] += dy[j] * xhat[j];
            dbias[j] += dy[j];
        }
    }
    [dx, dweight, dbias]
}

/// `x·wᵀ + bias`: `x [R, inputs]`, `w [outputs, inputs]`, `bias [outputs]` or nothing.
pub fn linear<T: Float>(x: &[T], w: &[T], bias: Option<&[T]>, inputs: usize) -> Vec<T> {
    let mut y = Vec::with_capacity(x.len() / inputs * (w.len() / inputs));
    for x in x.chunks(inputs) {
        for (o, w) in w.chunks(inputs).enumerate() {
            let product = x.iter().zip(w).map(|(&x, &w)| x * w).sum::<T>();
            y.push(bias.map_or(product, |b| product + b[o]));
        }
    }
    y
}

/// `dx [R, inputs] = dy·w`.
pub fn linear_bwd_input<T: Float>(dy: &[T], w: &[T], inputs: usize) -> Vec<T> {
    let outputs = w.len() / inputs;
    let mut dx = vec![T::default(); dy.len() / outputs * inputs];
    for (dy, dx) in dy.chunks(outputs).zip(dx.chunks_mut(inputs)) {
        for (&d, w) in dy.iter().zip(w.chunks(inputs)) {
            dx.iter_mut().zip(w).for_each(|(x, &w)| *x += d * w);
        }
    }
    dx
}

/// `dw [outputs, inputs] = dyᵀ·x`.
pub fn linear_bwd_weight<T: Float>(dy: &[T], x: &[T], outputs: usize, inputs: usize) -> Vec<T> {
    let mut dw = vec![T::default(); outputs * inputs];
    for (dy, x) in dy.chunks(outputs).zip(x.chunks(inputs)) {
        for (&d, dw) in dy.iter().zip(dw.chunks_mut(inputs)) {
            dw.iter_mut().zip(x).for_each(|(w, &x)| *w += d * x);
        }
    }
    dw
}

/// Sum over rows of `dy [R, cols]`: the gradient of a bias.
pub fn column_sums<T: Float>(dy: &[T], cols: usize) -> Vec<T> {
    let mut sums = vec![T::default(); cols];
    for dy in dy.chunks(cols) {
        add(&mut sums, dy);
    }
    sums
}

/// `x += y`, element by element.
pub fn add<T: Float>(x: &mut [T], y: &[T]) {
    assert_eq!(x.len(), y.len());
    x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
}

/// GELU of `x` and its derivative there.
pub fn gelu<T: Float>(x: T, kind: Gelu) -> (T, T) {
    let c = T::of;
    match kind {
        Gelu::Erf => {
            let cdf = c(0.5) * (c(1.0) + (x * c(0.5f64.sqrt())).erf());
            let density = c((0.5 / std::f64::consts::PI).sqrt()) * (c(-0.5) * x * x).exp();
            (x * cdf, cdf + x * density)
        }
        Gelu::Tanh => {
            let (a, b) = (c((2.0 / std::f64::consts::PI).sqrt()), c(0.044715));
            let t = (a * (x + b * x * x * x)).tanh();
            let slope = a * (c(1.0) + c(3.0) * b * x * x);
            (c(0.5) * x * (c(1.0) + t), c(0.5) * (c(1.0) + t) + c(0.5) * x * (c(1.0) - t * t) * slope)
        }
    }
}

/// `w [V, C]` by token.
pub fn embedding<T: Float>(tokens: &[i32], w: &[T], cols: usize) -> Vec<T> {
    tokens.iter().flat_map(|&t| w[t as usize * cols..(t as usize + 1) * cols].iter().copied()).collect()
}

/// Gradient of [`embedding`] by `w`.
pub fn embedding_bwd<T: Float>(tokens: &[i32], dx: &[T], vocab: usize, cols: usize) -> Vec<T> {
    let mut dw = vec![T::default(); vocab * cols];
    for (&t, dx) in tokens.iter().zip(dx.chunks(cols)) {
        add(&mut dw[t as usize * cols..(t as usize + 1) * cols], dx);
    }
    dw
}

/// Loss of each row of `logits [R, V]` (0 where the target is negative), and `scale` times its gradient.
pub fn cross_entropy<T: Float>(logits: &[T], vocab: usize, targets: &[i32], scale: f64) -> (Vec<T>, Vec<T>) {
    let (mut losses, mut gradient) = (Vec::new(), Vec::with_capacity(logits.len()));
    for (row, &target) in logits.chunks(vocab).zip(targets) {
        let Ok(target) = usize::try_from(target) else {
            losses.push(T::default());
            gradient.extend(std::iter::repeat_n(T::default(), vocab));
            continue;
        };
        let shift = row.iter().copied().fold(row[0], |a, b| if b > a { b } else { a });
        let total = row.iter().map(|&x| (x - shift).exp()).sum::<T>();
        losses.push(shift + total.ln() - row[target]);
        gradient.extend(row.iter().enumerate().map(|(i, &x)| {
            let onehot = T::of(f64::from(u8::from(i == target)));
            ((x - shift).exp() / total - onehot) * T::of(scale)
        }));
    }
    (losses, gradient)
}

/// The same with a weight for each target beside `scale`: 0 masks it, and one of negative weight is not to be predicted:
/// its loss is `-ln(1 - p)`, and its gradient that times the size of the weight.
pub fn weighted_cross_entropy<T: Float>(
    logits: &[T],
    vocab: usize,
    targets: &[i32],
    weights: &[f32],
    scale: f64,
) -> (Vec<T>, Vec<T>) {
    let (mut losses, mut gradient) = (Vec::new(), Vec::with_capacity(logits.len()));
    for ((row, &target), &weight) in logits.chunks(vocab).zip(targets).zip(weights) {
        let target = if weight == 0.0 { -1 } else { target };
        let (mut loss, mut of_row) = cross_entropy(row, vocab, &[target], scale * f64::from(weight));
        if let (true, Ok(target)) = (weight < 0.0, usize::try_from(target)) {
            let shift = row.iter().copied().fold(row[0], |a, b| if b > a { b } else { a });
            let e: Vec<T> = row.iter().map(|&x| (x - shift).exp()).collect();
            let total = e.iter().copied().sum::<T>();
            let others = total - e[target];
            loss = vec![(total / others).ln()];
            of_row.iter_mut().for_each(|g| *g *= e[target] / others);
        }
        losses.extend(loss);
        gradient.extend(of_row);
    }
    (losses, gradient)
}
