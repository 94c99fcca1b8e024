//! The optimizer's passes over the flat buffers.
use super::element::Element;
use super::math::{normal_or_zero, vectorize};
use crate::ops::{AdamParam, AdamStep};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// `√Σ g²` and `Σ |g|` in f64, summed in fixed chunks and lanes.
pub fn norms(g: &[f32]) -> [f64; 2] {
    const LANES: usize = 16;
    let chunks: Vec<[f64; 2]> = g
        .par_chunks(CHUNK)
        .map(|chunk| {
            vectorize(
                #[inline(always)]
                || {
                    let (mut squares, mut sizes) = ([0.0f64; LANES], [0.0f64; LANES]);
                    let (blocks, tail) = chunk.as_chunks::<LANES>();
                    for x in blocks {
                        for i in 0..LANES {
                            squares[i] = (x[i] as f64).mul_add(x[i] as f64, squares[i]);
                            sizes[i] += x[i].abs() as f64;
                        }
                    }
                    let tail_squares: f64 = tail.iter().map(|&x| x as f64 * x as f64).sum();
                    let tail_sizes: f64 = tail.iter().map(|&x| x.abs() as f64).sum();
                    [squares.iter().sum::<f64>() + tail_squares, sizes.iter().sum::<f64>() + tail_sizes]
                },
            )
        })
        .collect();
    let total = |i: usize| chunks.iter().map(|sums| sums[i]).sum::<f64>();
    [total(0).sqrt(), total(1)]
}

/// A run of contiguous elements of one tensor.
struct Run<'a, E> {
    w: &'a mut [f32],
    /// The weights as products read them; empty where they read `w`.
    copy: &'a mut [E],
    m: &'a mut [f32],
    v: &'a mut [f32],
    g: &'a [f32],
    lr: f32,
    decay: f32,
}

/// Sets the gradients of frozen tensors to 0: the global norm is that of the others.
pub fn clear_frozen(g: &mut [f32], params: &[AdamParam]) {
    for p in params.iter().filter(|p| p.is_frozen()) {
        let m = p.place;
        (0..m.rows).for_each(|r| g[m.offset + r * m.ld..][..m.cols].fill(0.0));
    }
}

/// One update of every tensor that is not frozen. Moments that would be subnormal become 0: those of tokens that do not
/// come up any more would stay subnormal for good. Elements are independent, so the split into runs cannot change a bit.
/// `copy` are the weights that products read; empty where those are `w`.
pub fn update<E: Element>(
    [mut w, mut m, mut v]: [&mut [f32]; 3],
    copy: &mut [E],
    g: &[f32],
    params: &[AdamParam],
    step: AdamStep,
) {
    let mut runs = Vec::new();
    let mut copy = (!copy.is_empty()).then_some(copy);
    let mut at = 0;
    for (offset, len, param) in spans(params) {
        let skip = offset - at;
        let parts = (cut(&mut w, skip, len), cut(&mut m, skip, len), cut(&mut v, skip, len));
        let copy = copy.as_mut().map(|copy| cut(copy, skip, len));
        let mut copy = copy.into_iter().flat_map(|copy| copy.chunks_mut(CHUNK));
        at = offset + len;
        let lr = step.lr * param.lr_mult;
        let decay = (1.0 - lr * param.decay(step.decay_scale)) as f32;
        let chunks = parts.0.chunks_mut(CHUNK).zip(parts.1.chunks_mut(CHUNK)).zip(parts.2.chunks_mut(CHUNK));
        for (((w, m), v), g) in chunks.zip(g[offset..offset + len].chunks(CHUNK)) {
            let copy = copy.next().unwrap_or_default();
            runs.push(Run { w, copy, m, v, g, lr: lr as f32, decay });
        }
    }
    runs.into_par_iter().for_each(|mut run| {
        vectorize(
            #[inline(always)]
            || update_run(&mut run, step),
        );
        E::copy_weights(run.w, run.copy);
    });
}

/// `ema ← d·ema + (1 − d)·w`, written so that an element that is equal to its weight stays that.
pub fn average(ema: &mut [f32], w: &[f32], decay: f64) {
    let share = (1.0 - decay) as f32;
    ema.par_chunks_mut(CHUNK).zip(w.par_chunks(CHUNK)).for_each(|(ema, w)| {
        vectorize(
            #[inline(always)]
            || ema.iter_mut().zip(w).for_each(|(e, w)| *e = (w - *e).mul_add(share, *e)),
        )
    });
}

/// Cuts `len` elements behind the first `skip` off the front of a buffer.
fn cut<'a, T>(buffer: &mut &'a mut [T], skip: usize, len: usize) -> &'a mut [T] {
    let (_, rest) = std::mem::take(buffer).split_at_mut(skip);
    let (part, rest) = rest.split_at_mut(len);
    *buffer = rest;
    part
}

/// Contiguous spans of the trained tensors in order of their place: a matrix with gaps between its rows is one span
/// per row.
fn spans(params: &[AdamParam]) -> Vec<(usize, usize, AdamParam)> {
    let mut spans: Vec<_> = params
        .iter()
        .filter(|p| !p.is_frozen())
        .flat_map(|p| {
            let m = p.place;
            let (rows, len) = if m.ld == m.cols { (1, m.rows * m.cols) } else { (m.rows, m.cols) };
            (0..rows).map(move |r| (m.offset + r * m.ld, len, *p))
        })
        .collect();
    spans.sort_unstable_by_key(|s| s.0);
    spans
}

#[inline(always)]
fn update_run<E>(run: &mut Run<'_, E>, step: AdamStep) {
    let [b1, b2] = step.betas;
    let correct = |beta: f64| 1.0 - beta.powi(step.applied.min(i32::MAX as u64) as i32);
    let step_size = (run.lr as f64 / correct(b1)) as f32;
    let inverse_root = (1.0 / correct(b2).sqrt()) as f32;
    let (scale, eps) = (step.grad_scale as f32, step.eps as f32);
    let (c1, c2, b2) = ((1.0 - b1) as f32, (1.0 - b2) as f32, b2 as f32);
    for (((w, m), v), g) in run.w.iter_mut().zip(&mut *run.m).zip(&mut *run.v).zip(run.g) {
        let g = g * scale;
        *m = normal_or_zero((g - *m).mul_add(c1, *m));
        *v = normal_or_zero((c2 * g).mul_add(g, b2 * *v));
        let denominator = v.sqrt().mul_add(inverse_root, eps);
        *w = (-step_size).mul_add(*m / denominator, *w * run.decay);
    }
}
