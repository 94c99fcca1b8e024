//! Attention and its gradient by naive loops, with the kernels' rounding points.
use super::case::Case;
use crate::reference::{Float, cast};
use half::bf16;

/// f32 rounded to bf16, as the kernel's products see their operands; f64 stays exact.
pub trait Operand: Float {
    fn operand(self) -> Self;
}
impl Operand for f32 {
    fn operand(self) -> f32 {
        bf16::from_f32(self).to_f32()
    }
}
impl Operand for f64 {
    fn operand(self) -> f64 {
        self
    }
}

fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

fn add<T: Float>(to: &mut [T], factor: T, x: &[T]) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to += factor * x);
}

/// What a forward leaves.
pub struct Forward<T> {
    /// `[rows, C]`.
    pub out: Vec<T>,
    /// `[rows, H]`.
    pub lse: Vec<T>,
    /// `[rows, H]`: the magnitudes that the log-sum-exp is a sum of, added up: `Σ|q·k|` of the largest score and the
    /// logarithm. Its rounding errors are relative to this, while itself it may be near 0.
    pub lse_size: Vec<T>,
}

/// Queries, keys or values `[rows, D]` of a head.
fn part<T: Float>(case: &Case, head: usize, part: usize) -> Vec<Vec<T>> {
    let parts = case.qkv.chunks(case.heads.size).skip(3 * head + part).step_by(3 * case.heads.count);
    parts.map(cast::<f32, T>).collect()
}

/// Scaled scores of a query against the keys it sees, and the first of those.
fn scores<T: Float>(case: &Case, q: &[Vec<T>], k: &[Vec<T>], row: usize) -> (usize, Vec<T>) {
    let scale = T::of(1.0) / T::of(case.heads.size as f64).sqrt();
    let first = row / case.s.time * case.s.time + case.start(row);
    (first, k[first..=row].iter().map(|k| dot(&q[row], k) * scale).collect())
}

fn magnitude<T: Float>(x: T) -> T {
    if x < T::default() { -x } else { x }
}

/// Probabilities are rounded before they meet the values.
pub fn forward<T: Operand>(case: &Case) -> Forward<T> {
    let (rows, h, d) = (case.s.rows(), case.heads.count, case.heads.size);
    let mut out = vec![T::default(); rows * h * d];
    let [mut lse, mut lse_size] = [(); 2].map(|()| vec![T::default(); rows * h]);
    for head in 0..h {
        let [q, k, v] = [0, 1, 2].map(|p| part::<T>(case, head, p));
        for row in 0..rows {
            let (first, scores) = scores(case, &q, &k, row);
            let most = scores.iter().copied().fold(scores[0], |a, b| if b > a { b } else { a });
            let p: Vec<T> = scores.iter().map(|&x| (x - most).exp()).collect();
            let total = p.iter().copied().sum::<T>();
            let o = &mut out[(row * h + head) * d..][..d];
            for (v, p) in v[first..].iter().zip(p) {
                add(o, p.operand(), v);
            }
            o.iter_mut().for_each(|o| *o = *o / total);
            lse[row * h + head] = most + total.ln();
            let top = first + scores.iter().position(|&x| x == most).expect("one is the largest");
            let [q, k] = [&q[row], &k[top]].map(|x| x.iter().map(|&x| magnitude(x)).collect::<Vec<T>>());
            lse_size[row * h + head] = dot(&q, &k) / T::of(d as f64).sqrt() + total.ln();
        }
    }
    Forward { out, lse, lse_size }
}

/// Gradients of q, k and v `[rows, C]` each; probabilities and their gradient are rounded before products, and so is
/// the output that the forward left.
pub fn backward<T: Operand>(case: &Case, forward: &Forward<T>) -> [Vec<T>; 3] {
    let (rows, h, d) = (case.s.rows(), case.heads.count, case.heads.size);
    let scale = T::of(1.0) / T::of(d as f64).sqrt();
    let mut all = [0, 1, 2].map(|_| vec![T::default(); rows * h * d]);
    for head in 0..h {
        let [q, k, v] = [0, 1, 2].map(|p| part::<T>(case, head, p));
        let at = |row: usize| (row * h + head) * d..(row * h + head + 1) * d;
        for row in 0..rows {
            let g: Vec<T> = cast(&case.dout[at(row)]);
            let o: Vec<T> = forward.out[at(row)].iter().map(|o| o.operand()).collect();
            // Backwards: in the order of `dp` a query's difference with itself would be luckily exact.
            let delta = o.iter().zip(&g).rev().map(|(&o, &g)| o * g).sum::<T>();
            let (first, scores) = scores(case, &q, &k, row);
            for (key, score) in (first..).zip(scores) {
                let p = (score - forward.lse[row * h + head]).exp();
                let ds = (p * (dot(&g, &v[key]) - delta)).operand();
                add(&mut all[0][at(row)], ds, &k[key]);
                add(&mut all[1][at(key)], ds, &q[row]);
                add(&mut all[2][at(key)], p.operand(), &g);
            }
        }
        for row in 0..rows {
            all[..2].iter_mut().flat_map(|x| &mut x[at(row)]).for_each(|x| *x *= scale);
            all[..2].iter_mut().for_each(|x| rotate_back(case, row, &mut x[at(row)]));
        }
    }
    all
}

fn rotate_back<T: Float>(case: &Case, row: usize, x: &mut [T]) {
    let pairs = case.heads.rotary / 2;
    for j in 0..pairs {
        let [c, s] = case.angle(case.position(row), j).map(|x| T::of(f64::from(x)));
        let (a, b) = (x[j], x[j + pairs]);
        (x[j], x[j + pairs]) = (a * c + b * s, b * c - a * s);
    }
}
