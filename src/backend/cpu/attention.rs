//! Causal attention, one (sequence, head) per task, in tiles of queries: the largest score matrix that exists
//! is `[QUERIES, T]` per thread. Dao et al. 2022, arXiv:2205.14135 (recomputation from the log-sum-exp).
use super::gemm::{Operand, gemm};
use super::math::{exp, exp_sum, max, normal_or_zero, sum2, vectorize};
use super::memory::{Rows, RowsMut, for_parts};
use crate::ops::{Act, Heads, Shape};
use std::cell::RefCell;
use std::ops::Range;

/// Queries of a tile.
const QUERIES: usize = 64;

thread_local! {
    /// Scores and their gradient of one tile; grown to the longest sequence once.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Bytes of scratch one thread keeps for sequences of `time`.
pub fn scratch_bytes(time: usize) -> usize {
    2 * QUERIES.min(time) * time * size_of::<f32>()
}

/// Runs `f` with two score tiles of `[rows, keys]`.
fn with_scores<R>(rows: usize, keys: usize, f: impl FnOnce(RowsMut, RowsMut) -> R) -> R {
    SCRATCH.with_borrow_mut(|[a, b]| {
        for v in [&mut *a, &mut *b] {
            if v.len() < rows * keys {
                v.resize(rows * keys, 0.0);
            }
        }
        let act = Act { offset: 0, cols: keys, ld: keys };
        f(RowsMut::new(a, act, rows), RowsMut::new(b, act, rows))
    })
}

/// Columns of q, k and v of a head in the interleaved layout.
fn columns(heads: Heads, head: usize) -> [Range<usize>; 3] {
    std::array::from_fn(|i| (3 * head + i) * heads.size..(3 * head + i + 1) * heads.size)
}

/// q, k, v `[T, D]` of one (sequence, head).
fn split<'a>(s: Shape, heads: Heads, qkv: Rows<'a>, sequence: usize, head: usize) -> [Rows<'a>; 3] {
    columns(heads, head).map(|c| qkv.part(sequence * s.time..(sequence + 1) * s.time, c))
}

/// Ranges of queries of one sequence.
fn query_tiles(time: usize) -> impl Iterator<Item = Range<usize>> {
    (0..time).step_by(QUERIES).map(move |start| start..(start + QUERIES).min(time))
}

/// `out = softmax(q·kᵀ/√D)·v` under the causal mask; `lse [rows, H]`.
pub fn forward(s: Shape, heads: Heads, qkv: Rows, out: RowsMut, lse: RowsMut) {
    let scale = 1.0 / (heads.size as f32).sqrt();
    let place = |t: usize| {
        let (sequence, head) = (t / heads.count, t % heads.count);
        let rows = sequence * s.time..(sequence + 1) * s.time;
        [(rows.clone(), head * heads.size..(head + 1) * heads.size), (rows, head..head + 1)]
    };
    for_parts([out, lse], s.batch * heads.count, place, |t, [mut out, mut lse]| {
        let [q, k, v] = split(s, heads, qkv, t / heads.count, t % heads.count);
        for tile in query_tiles(s.time) {
            let keys = tile.end;
            with_scores(tile.len(), keys, |mut scores, _| {
                let all = 0..heads.size;
                gemm(
                    &mut scores,
                    false,
                    Operand::N(q.part(tile.clone(), all.clone())),
                    Operand::T(k.part(0..keys, all.clone())),
                    scale,
                );
                let mut inverse = [0.0f32; QUERIES];
                for (i, t) in tile.clone().enumerate() {
                    let (seen, hidden) = scores.row(i).split_at_mut(t + 1);
                    hidden.fill(0.0);
                    let (shift, total) = vectorize(
                        #[inline(always)]
                        || {
                            let shift = max(seen);
                            (shift, exp_sum(seen, shift))
                        },
                    );
                    inverse[i] = 1.0 / total;
                    lse.row(t)[0] = shift + total.ln();
                }
                let mut tile_out = out.part_mut(tile.clone(), all.clone());
                gemm(&mut tile_out, false, Operand::N(scores.read()), Operand::N(v.part(0..keys, all)), 1.0);
                for (i, inverse) in inverse[..tile.len()].iter().enumerate() {
                    vectorize(
                        #[inline(always)]
                        || tile_out.row(i).iter_mut().for_each(|x| *x *= inverse),
                    );
                }
            });
        }
    });
}

/// Gradient of q, k, v into the interleaved `dqkv`.
pub fn backward(s: Shape, heads: Heads, qkv: Rows, out: Rows, lse: Rows, dout: Rows, dqkv: RowsMut) {
    let scale = 1.0 / (heads.size as f32).sqrt();
    let place = |t: usize| {
        let (sequence, head) = (t / heads.count, t % heads.count);
        let [q, _, v] = columns(heads, head);
        [(sequence * s.time..(sequence + 1) * s.time, q.start..v.end)]
    };
    for_parts([dqkv], s.batch * heads.count, place, |t, [mut dqkv]| {
        let (sequence, head) = (t / heads.count, t % heads.count);
        let [q, k, v] = split(s, heads, qkv, sequence, head);
        let rows = sequence * s.time..(sequence + 1) * s.time;
        let cols = head * heads.size..(head + 1) * heads.size;
        let (out, dout) = (out.part(rows.clone(), cols.clone()), dout.part(rows.clone(), cols));
        let lse = lse.part(rows, head..head + 1);
        let all = 0..heads.size;
        let [dq_cols, dk_cols, dv_cols] = columns(Heads { count: 1, ..heads }, 0);
        for t in 0..s.time {
            dqkv.row(t).fill(0.0);
        }
        for tile in query_tiles(s.time) {
            let keys = tile.end;
            let (q, dout) = (q.part(tile.clone(), all.clone()), dout.part(tile.clone(), all.clone()));
            let (k, v) = (k.part(0..keys, all.clone()), v.part(0..keys, all.clone()));
            with_scores(tile.len(), keys, |mut p, mut dp| {
                gemm(&mut p, false, Operand::N(q), Operand::T(k), scale);
                gemm(&mut dp, false, Operand::N(dout), Operand::T(v), 1.0);
                for (i, t) in tile.clone().enumerate() {
                    let (p, dp) = (p.row(i), dp.row(i));
                    let lse = lse.row(t)[0];
                    vectorize(
                        #[inline(always)]
                        || {
                            let delta = sum2(out.row(t), dout.row(i), |acc, o, d| o.mul_add(d, acc));
                            softmax_backward(&mut p[..t + 1], &mut dp[..t + 1], lse, delta, scale);
                        },
                    );
                    p[t + 1..].fill(0.0);
                    dp[t + 1..].fill(0.0);
                }
                let (p, ds) = (p.read(), dp.read());
                gemm(
                    &mut dqkv.part_mut(0..keys, dv_cols.clone()),
                    true,
                    Operand::T(p),
                    Operand::N(dout),
                    1.0,
                );
                gemm(&mut dqkv.part_mut(0..keys, dk_cols.clone()), true, Operand::T(ds), Operand::N(q), 1.0);
                gemm(
                    &mut dqkv.part_mut(tile.clone(), dq_cols.clone()),
                    false,
                    Operand::N(ds),
                    Operand::N(k),
                    1.0,
                );
            });
        }
        // Sums of a key that nobody looks at have nothing but tails.
        for t in 0..s.time {
            vectorize(
                #[inline(always)]
                || dqkv.row(t).iter_mut().for_each(|x| *x = normal_or_zero(*x)),
            );
        }
    });
}

/// Scores become probabilities, `dp` the gradient of the unscaled scores.
#[inline(always)]
fn softmax_backward(scores: &mut [f32], dp: &mut [f32], lse: f32, delta: f32, scale: f32) {
    for (p, d) in scores.iter_mut().zip(dp) {
        *p = exp(*p - lse);
        *d = normal_or_zero(*p * (*d - delta) * scale);
    }
}

/// Row `position` attends to rows `0..=position`; one task per head.
pub fn decode(heads: Heads, qkv: Rows, position: usize, out: RowsMut) {
    let scale = 1.0 / (heads.size as f32).sqrt();
    let place = |head: usize| [(0..1, head * heads.size..(head + 1) * heads.size)];
    for_parts([out], heads.count, place, |head, [mut out]| {
        let s = Shape { batch: 1, time: position + 1 };
        let [q, k, v] = split(s, heads, qkv, 0, head);
        let q = q.row(position);
        with_scores(1, position + 1, |mut scores, _| {
            let scores = scores.row(0);
            let out = out.row(0);
            vectorize(
                #[inline(always)]
                || {
                    for (t, score) in scores.iter_mut().enumerate() {
                        *score = scale * sum2(q, k.row(t), |acc, a, b| a.mul_add(b, acc));
                    }
                    let shift = max(scores);
                    let inverse = 1.0 / exp_sum(scores, shift);
                    out.fill(0.0);
                    for (t, p) in scores.iter().enumerate() {
                        out.iter_mut().zip(v.row(t)).for_each(|(o, v)| *o = (p * inverse).mul_add(*v, *o));
                    }
                },
            );
        });
    });
}
