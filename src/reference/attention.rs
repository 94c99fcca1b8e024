//! Rotary embedding and causal attention on the interleaved layout: `qkv [R, 3C]`, per head `q[D], k[D], v[D]`.
use super::Float;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    /// `B`, the number of sequences.
    pub batch: usize,
    /// `T`, the length of each sequence.
    pub time: usize,
    /// `H`, the number of heads.
    pub heads: usize,
    /// `D`, the elements of a head.
    pub size: usize,
    /// Dimensions of q and k that rotate.
    pub rotary: usize,
    /// Base of the frequencies.
    pub base: f64,
}

impl Dims {
    /// Elements of a row of `qkv`.
    pub fn width(&self) -> usize {
        3 * self.heads * self.size
    }

    /// Where q (`part` 0), k (1) or v (2) of a head starts in `qkv`, for position `t` of a sequence.
    fn at(&self, sequence: usize, t: usize, head: usize, part: usize) -> usize {
        (sequence * self.time + t) * self.width() + (3 * head + part) * self.size
    }

    /// Every (sequence, head).
    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.batch).flat_map(move |b| (0..self.heads).map(move |h| (b, h)))
    }
}

/// The angle of pair `j` at a position. Frequency and angle are f32 by definition: Hugging Face's tables are, and
/// at position 2000 that is 10⁻⁴ away from the exact angle. Everything after is in the caller's precision.
fn angle(d: Dims, position: usize, j: usize) -> f64 {
    let exponent = (2 * j) as f32 / d.rotary as f32;
    let power = (d.base as f32 as f64).powf(exponent as f64) as f32;
    (position as f32 * (1.0 / power)) as f64
}

/// Rotates q and k in place by `sign` times the angle of the position, row `t` being at `first + t`.
pub fn rotary<T: Float>(d: Dims, qkv: &mut [T], first: usize, sign: f64) {
    let half = d.rotary / 2;
    for (row, values) in qkv.chunks_mut(d.width()).enumerate() {
        for j in 0..half {
            let angle = sign * angle(d, first + row % d.time, j);
            let (sin, cos) = (T::of(angle.sin()), T::of(angle.cos()));
            for part in values.chunks_mut(d.size).enumerate().filter(|(i, _)| i % 3 < 2).map(|(_, p)| p) {
                let (a, b) = (part[j], part[j + half]);
                part[j] = a * cos - b * sin;
                part[j + half] = b * cos + a * sin;
            }
        }
    }
}

fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// Scaled scores of one query against keys `0..keys`.
fn scores<T: Float>(d: Dims, qkv: &[T], sequence: usize, head: usize, t: usize, keys: usize) -> Vec<T> {
    let scale = T::of(1.0) / T::of(d.size as f64).sqrt();
    let q = &qkv[d.at(sequence, t, head, 0)..][..d.size];
    (0..keys).map(|k| dot(q, &qkv[d.at(sequence, k, head, 1)..][..d.size]) * scale).collect()
}

/// One row of [`attention`]: `out [C]` and log-sum-exp `[H]` of query `t` of a sequence.
pub fn attend<T: Float>(d: Dims, qkv: &[T], sequence: usize, t: usize, ahead: isize) -> (Vec<T>, Vec<T>) {
    let keys = (t + 1).saturating_add_signed(ahead).clamp(1, d.time);
    let (mut out, mut lse) = (vec![T::default(); d.heads * d.size], Vec::new());
    for (head, out) in out.chunks_mut(d.size).enumerate() {
        let scores = scores(d, qkv, sequence, head, t, keys);
        let shift = scores.iter().copied().fold(scores[0], |a, b| if b > a { b } else { a });
        let total = scores.iter().map(|&s| (s - shift).exp()).sum::<T>();
        lse.push(shift + total.ln());
        for (k, &s) in scores.iter().enumerate() {
            let p = (s - shift).exp() / total;
            let v = &qkv[d.at(sequence, k, head, 2)..][..d.size];
            out.iter_mut().zip(v).for_each(|(o, &v)| *o += p * v);
        }
    }
    (out, lse)
}

/// `out [R, C]` and log-sum-exp `[R, H]`. Query `t` sees the keys up to `t + ahead`, at least the first one: 0 is
/// causal attention, other values are mistakes for a test to find.
pub fn attention<T: Float>(d: Dims, qkv: &[T], ahead: isize) -> (Vec<T>, Vec<T>) {
    let (mut out, mut lse) = (Vec::new(), Vec::new());
    for row in 0..d.batch * d.time {
        let (o, l) = attend(d, qkv, row / d.time, row % d.time, ahead);
        out.extend(o);
        lse.extend(l);
    }
    (out, lse)
}

/// Gradient of causal [`attention`] by `qkv`. Probabilities come back from `lse` and `Σ p·dp` from `out`: these two
/// are kept, rounded, by every implementation that does not store the probabilities.
pub fn attention_bwd<T: Float>(d: Dims, qkv: &[T], out: &[T], lse: &[T], dout: &[T]) -> Vec<T> {
    let scale = T::of(1.0) / T::of(d.size as f64).sqrt();
    let mut dqkv = vec![T::default(); qkv.len()];
    for (b, h) in d.pairs() {
        for t in 0..d.time {
            let row = (b * d.time + t) * d.heads + h;
            let (o, g) = (&out[row * d.size..][..d.size], &dout[row * d.size..][..d.size]);
            // Summed backwards: in the order of `dp` the difference below would be exactly 0 for the first query,
            // which is luck that nobody who sums in blocks has.
            let delta = o.iter().zip(g).rev().map(|(&o, &g)| o * g).sum::<T>();
            for (k, s) in scores(d, qkv, b, h, t, t + 1).into_iter().enumerate() {
                let [q_at, k_at, v_at] = [d.at(b, t, h, 0), d.at(b, k, h, 1), d.at(b, k, h, 2)];
                let p = (s - lse[row]).exp();
                let ds = p * (dot(g, &qkv[v_at..][..d.size]) - delta) * scale;
                for i in 0..d.size {
                    dqkv[q_at + i] += ds * qkv[k_at + i];
                    dqkv[k_at + i] += ds * qkv[q_at + i];
                    dqkv[v_at + i] += p * g[i];
                }
            }
        }
    }
    dqkv
}
