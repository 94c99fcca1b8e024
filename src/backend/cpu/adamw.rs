//! The optimizer's passes over the flat buffers.
use super::element::{narrow, widen};
use super::math::{normal_or_zero, vectorize};
use super::parameters::{Moments, Parameters};
use super::stochastic::{BLOCK, Draw, Words, narrow_by};
use crate::backend::masters::Masters;
use crate::ops::{AdamParam, AdamStep};
use half::bf16;
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

/// A run of contiguous elements of one tensor, its moments in `M`.
struct Run<'a, M> {
    /// Its place in the flat buffers.
    first: usize,
    /// Master weights; empty where there are none.
    w32: &'a mut [f32],
    /// The weights as products read them; empty where they read `w32`.
    w16: &'a mut [bf16],
    m: &'a mut [M],
    v: &'a mut [M],
    g: &'a [f32],
    rates: Rates,
}

/// The factors of an update of one tensor.
#[derive(Clone, Copy)]
struct Rates {
    scale: f32,
    step_size: f32,
    decay: f32,
    inverse_root: f32,
    eps: f32,
    c1: f32,
    c2: f32,
    b2: f32,
}

impl Rates {
    fn new(param: AdamParam, step: AdamStep) -> Self {
        let [b1, b2] = step.betas;
        let correct = |beta: f64| 1.0 - beta.powi(step.applied.min(i32::MAX as u64) as i32);
        let lr = step.lr * param.lr_mult;
        Self {
            scale: step.grad_scale as f32,
            step_size: (f64::from(lr as f32) / correct(b1)) as f32,
            decay: (1.0 - lr * param.decay(step.decay_scale)) as f32,
            inverse_root: (1.0 / correct(b2).sqrt()) as f32,
            eps: step.eps as f32,
            c1: (1.0 - b1) as f32,
            c2: (1.0 - b2) as f32,
            b2: b2 as f32,
        }
    }
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
pub fn update(parameters: &mut Parameters, g: &[f32], params: &[AdamParam], step: AdamStep, draw: Draw) {
    let Parameters { w32, w16, masters, moments, .. } = parameters;
    match moments {
        Moments::Wide(moments) => {
            runs(w32, w16, masters, moments, g, params, step).into_par_iter().for_each(|run| {
                update_elements([&mut *run.w32, run.m, run.v], run.g, run.rates);
                narrow(run.w32, run.w16);
            });
        }
        Moments::Narrow(moments) => {
            let runs = runs(w32, w16, masters, moments, g, params, step);
            runs.into_par_iter().for_each(|run| update_narrow(run, draw));
        }
    }
}

/// The runs of all tensors that are not frozen, in order of their place.
fn runs<'a, M>(
    mut w32: &'a mut [f32],
    w16: &'a mut [bf16],
    masters: &Masters,
    [m, v]: &'a mut [Vec<M>; 2],
    g: &'a [f32],
    params: &[AdamParam],
    step: AdamStep,
) -> Vec<Run<'a, M>> {
    let mut runs = Vec::new();
    let (mut m, mut v) = (&mut m[..], &mut v[..]);
    let mut w16 = (!w16.is_empty()).then_some(w16);
    let (mut at, mut master_at) = (0, 0);
    for (offset, len, param) in spans(params) {
        let skip = offset - at;
        at = offset + len;
        let (m, v) = (cut(&mut m, skip, len), cut(&mut v, skip, len));
        let w16 = w16.as_mut().map(|w16| cut(w16, skip, len));
        let w32 = masters.of(offset).map(|master| {
            let skip = master - master_at;
            master_at = master + len;
            cut(&mut w32, skip, len)
        });
        let mut w32 = w32.into_iter().flat_map(|w32| w32.chunks_mut(CHUNK));
        let mut w16 = w16.into_iter().flat_map(|w16| w16.chunks_mut(CHUNK));
        let rates = Rates::new(param, step);
        let chunks = m.chunks_mut(CHUNK).zip(v.chunks_mut(CHUNK)).zip(g[offset..at].chunks(CHUNK));
        for (i, ((m, v), g)) in chunks.enumerate() {
            let (w32, w16) = (w32.next().unwrap_or_default(), w16.next().unwrap_or_default());
            runs.push(Run { first: offset + i * CHUNK, w32, w16, m, v, g, rates });
        }
    }
    runs
}

/// An update of moments in bf16, and of weights without masters, in f32, of which each is rounded by 16 random bits.
fn update_narrow(run: Run<'_, bf16>, draw: Draw) {
    let (mut w, mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
    let mut words = Words::default();
    let mut masters = run.w32.chunks_mut(BLOCK);
    let blocks = run.m.chunks_mut(BLOCK).zip(run.v.chunks_mut(BLOCK)).zip(run.w16.chunks_mut(BLOCK));
    for (i, (((m16, v16), w16), g)) in blocks.zip(run.g.chunks(BLOCK)).enumerate() {
        let (m, v) = (&mut m[..g.len()], &mut v[..g.len()]);
        let words = words.draw(draw, run.first + i * BLOCK, g.len());
        widen(m16, m);
        widen(v16, v);
        if let Some(w32) = masters.next() {
            update_elements([w32, m, v], g, run.rates);
        } else {
            let w = &mut w[..g.len()];
            widen(w16, w);
            update_elements([w, m, v], g, run.rates);
            // Uniform, and independent of the bits of either moment.
            narrow_by(w, words, w16, |word| word ^ (word >> 16));
        }
        narrow_by(m, words, m16, |word| word);
        narrow_by(v, words, v16, |word| word >> 16);
    }
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

/// AdamW in f32 on weights, first and second moments.
fn update_elements([w, m, v]: [&mut [f32]; 3], g: &[f32], rates: Rates) {
    let Rates { scale, step_size, decay, inverse_root, eps, c1, c2, b2 } = rates;
    vectorize(
        #[inline(always)]
        || {
            for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                let g = g * scale;
                *m = normal_or_zero((g - *m).mul_add(c1, *m));
                *v = normal_or_zero((c2 * g).mul_add(g, b2 * *v));
                let denominator = v.sqrt().mul_add(inverse_root, eps);
                *w = (-step_size).mul_add(*m / denominator, *w * decay);
            }
        },
    );
}
