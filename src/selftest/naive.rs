//! What the reference in f32 does not do as the kernels do. Tensor cores truncate their sums (Fasi et al. 2021,
//! doi:10.7717/peerj-cs.330), here after every 16 products. In attention, probabilities and the gradient of the
//! scores are bf16 where a product reads them.
use crate::reference::attention::{Dims, rotary};
use crate::reference::cast;
use half::bf16;

fn operand(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

/// Products that a tensor core adds up at once.
const DEPTH: usize = 16;

/// The next number of f32 towards 0, as a tensor core leaves its sums.
fn truncated(x: f64) -> f32 {
    let rounded = x as f32;
    if f64::from(rounded).abs() > x.abs() { f32::from_bits(rounded.to_bits() - 1) } else { rounded }
}

/// A sum of products on a tensor core.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.chunks(DEPTH).zip(b.chunks(DEPTH)).fold(0.0, |sum, (a, b)| {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        truncated(f64::from(sum) + products.sum::<f64>())
    })
}

/// `dw [outputs, inputs] = dyᵀ·x` on tensor cores.
pub fn weight_gradient(dy: &[f32], x: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut dw = vec![0.0; outputs * inputs];
    for (dy, x) in dy.chunks(DEPTH * outputs).zip(x.chunks(DEPTH * inputs)) {
        let products = crate::reference::ops::linear_bwd_weight::<f64>(&cast(dy), &cast(x), outputs, inputs);
        dw.iter_mut().zip(products).for_each(|(sum, p)| *sum = truncated(f64::from(*sum) + p));
    }
    dw
}

fn add(to: &mut [f32], factor: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to += factor * x);
}

/// Where q, k or v of a head starts at a row.
fn at(d: Dims, row: usize, head: usize, part: usize) -> usize {
    row * d.width() + (3 * head + part) * d.size
}

/// (sequence's first row, row, head) of every query.
fn queries(d: Dims) -> impl Iterator<Item = (usize, usize, usize)> {
    let rows = move |head| (0..d.batch * d.time).map(move |row| (row / d.time * d.time, row, head));
    (0..d.heads).flat_map(rows)
}

fn scores(d: Dims, qkv: &[f32], first: usize, row: usize, head: usize) -> Vec<f32> {
    let q = &qkv[at(d, row, head, 0)..][..d.size];
    let scale = 1.0 / (d.size as f32).sqrt();
    (first..=row).map(|key| dot(q, &qkv[at(d, key, head, 1)..][..d.size]) * scale).collect()
}

/// `out [R, C]` and log-sum-exp `[R, H]`.
pub fn forward(d: Dims, qkv: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let rows = d.batch * d.time;
    let (mut out, mut lse) = (vec![0.0; rows * d.heads * d.size], vec![0.0; rows * d.heads]);
    for (first, row, head) in queries(d) {
        let scores = scores(d, qkv, first, row, head);
        let most = scores.iter().copied().fold(scores[0], f32::max);
        let p: Vec<f32> = scores.iter().map(|&x| (x - most).exp()).collect();
        let total: f32 = p.iter().sum();
        let o = &mut out[(row * d.heads + head) * d.size..][..d.size];
        for (key, p) in (first..).zip(p) {
            add(o, operand(p), &qkv[at(d, key, head, 2)..][..d.size]);
        }
        o.iter_mut().for_each(|o| *o /= total);
        lse[row * d.heads + head] = most + total.ln();
    }
    (out, lse)
}

/// Gradient `dqkv`, `[B·T, 3C]`, with respect to q and k before rotary.
pub fn backward(d: Dims, qkv: &[f32], out: &[f32], lse: &[f32], dout: &[f32]) -> Vec<f32> {
    let mut dqkv = vec![0.0; qkv.len()];
    for (first, row, head) in queries(d) {
        let own = row * d.heads + head;
        let [o, g] = [out, dout].map(|x| &x[own * d.size..][..d.size]);
        // Backwards: in the order of `dp` a query's difference with itself would be luckily exact.
        let delta = o.iter().zip(g).rev().map(|(&o, &g)| o * g).sum::<f32>();
        for (key, score) in (first..).zip(scores(d, qkv, first, row, head)) {
            let p = (score - lse[own]).exp();
            let ds = operand(p * (dot(g, &qkv[at(d, key, head, 2)..][..d.size]) - delta));
            add(&mut dqkv[at(d, row, head, 0)..][..d.size], ds, &qkv[at(d, key, head, 1)..][..d.size]);
            add(&mut dqkv[at(d, key, head, 1)..][..d.size], ds, &qkv[at(d, row, head, 0)..][..d.size]);
            add(&mut dqkv[at(d, key, head, 2)..][..d.size], operand(p), g);
        }
    }
    let scale = 1.0 / (d.size as f32).sqrt();
    let scaled = dqkv.chunks_mut(d.size).enumerate().filter(|(i, _)| i % 3 < 2);
    scaled.for_each(|(_, x)| x.iter_mut().for_each(|x| *x *= scale));
    rotary(d, &mut dqkv, 0, -1.0);
    dqkv
}
