//! Attention in f32 by naive loops, with the rounding points of the kernels: probabilities, and the gradient of the
//! scores, are bf16 where a product reads them.
use crate::reference::attention::{Dims, rotary};
use half::bf16;

fn operand(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
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

/// `dqkv`, rotated back.
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
