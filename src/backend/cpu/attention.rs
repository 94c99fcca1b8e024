//! Causal attention, one (sequence, head) per task, in tiles of queries: the largest score matrix that exists
//! is `[QUERIES, T]` per thread. Dao et al. 2022, arXiv:2205.14135 (recomputation from the log-sum-exp).
use super::element::Element;
use super::gemm::{Operand, gemm};
use super::math::{exp, exp_sum, max, normal_or_zero, sum2, vectorize};
use super::memory::{Place, Rows, RowsMut, for_parts};
use super::rotary::{self, Rotate};
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

/// q, k, v `[T, D]` of the columns of one head.
fn split<'a>(heads: Heads, qkv: Rows<'a>) -> [Rows<'a>; 3] {
    columns(heads, 0).map(|c| qkv.part(0..qkv.rows, c))
}

/// Ranges of queries of one sequence.
fn query_tiles(time: usize) -> impl Iterator<Item = Range<usize>> {
    (0..time).step_by(QUERIES).map(move |start| start..(start + QUERIES).min(time))
}

/// Rows and columns of a (sequence, head) in `[rows, H·D]` and in `[rows, H·3·D]`.
fn places(s: Shape, heads: Heads, task: usize) -> [Place; 2] {
    let (sequence, head) = (task / heads.count, task % heads.count);
    let rows = sequence * s.time..(sequence + 1) * s.time;
    let columns = |width: usize| head * width..(head + 1) * width;
    [(rows.clone(), columns(heads.size)), (rows, columns(3 * heads.size))]
}

/// `out = softmax(q·kᵀ/√D)·v` under the causal mask; `lse [rows, H]`.
pub fn forward<E: Element>(s: Shape, heads: Heads, qkv: Rows<E>, out: RowsMut<E>, lse: RowsMut) {
    let place = |t: usize| {
        let [one, _] = places(s, heads, t);
        let head = t % heads.count;
        ([one.clone()], [(one.0, head..head + 1)])
    };
    for_parts(([out], [lse]), s.batch * heads.count, place, |t, ([out], [mut lse])| {
        let [_, (rows, cols)] = places(s, heads, t);
        E::read(qkv.part(rows, cols), |qkv| {
            E::write(out, |mut out| {
                query_tiles(s.time)
                    .for_each(|tile| attend::<E>(heads, split(heads, qkv), tile, &mut out, &mut lse));
            });
        });
    });
}

/// Some queries of a (sequence, head).
fn attend<E: Element>(
    heads: Heads,
    [q, k, v]: [Rows; 3],
    tile: Range<usize>,
    out: &mut RowsMut,
    lse: &mut RowsMut,
) {
    let (keys, all) = (tile.end, 0..heads.size);
    let scale = 1.0 / (heads.size as f32).sqrt();
    with_scores(tile.len(), keys, |mut scores, _| {
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
            E::round(seen);
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

/// Gradient of q, k, v, and of the rotation before them, into the interleaved `dqkv`.
pub fn backward<E: Element>(
    s: Shape,
    heads: Heads,
    [qkv, out, dout]: [Rows<E>; 3],
    lse: Rows,
    dqkv: RowsMut<E>,
    tables: &rotary::Tables,
) {
    let place = |t: usize| places(s, heads, t);
    for_parts(
        [dqkv],
        s.batch * heads.count,
        |t| [place(t)[1].clone()],
        |t, [dqkv]| {
            let [(rows, one), (_, three)] = place(t);
            let lse = lse.part(rows.clone(), t % heads.count..t % heads.count + 1);
            E::read(qkv.part(rows.clone(), three), |qkv| {
                E::read(out.part(rows.clone(), one.clone()), |out| {
                    E::read(dout.part(rows, one), |dout| {
                        E::write(dqkv, |dqkv| one_backward::<E>(heads, qkv, [out, dout], lse, dqkv, tables));
                    });
                });
            });
        },
    );
}

/// The same of one (sequence, head).
fn one_backward<E: Element>(
    heads: Heads,
    qkv: Rows,
    [out, dout]: [Rows; 2],
    lse: Rows,
    mut dqkv: RowsMut,
    tables: &rotary::Tables,
) {
    (0..dqkv.rows).for_each(|t| dqkv.row(t).fill(0.0));
    for tile in query_tiles(qkv.rows) {
        add_gradients::<E>(heads, split(heads, qkv), [out, dout], lse, tile, &mut dqkv);
    }
    for t in 0..dqkv.rows {
        let row = dqkv.row(t);
        // Sums of a key that nobody looks at have nothing but tails.
        vectorize(
            #[inline(always)]
            || row.iter_mut().for_each(|x| *x = normal_or_zero(*x)),
        );
        rotary::rotate_row(heads, tables, t, row, Rotate::Backward);
    }
}

/// Adds what some queries of a (sequence, head) contribute.
fn add_gradients<E: Element>(
    heads: Heads,
    [q, k, v]: [Rows; 3],
    [out, dout]: [Rows; 2],
    lse: Rows,
    tile: Range<usize>,
    dqkv: &mut RowsMut,
) {
    let (keys, all) = (tile.end, 0..heads.size);
    let scale = 1.0 / (heads.size as f32).sqrt();
    // What is rounded is the gradient before its scale, as on a GPU.
    let (before, after) = if E::ROUNDS { (1.0, scale) } else { (scale, 1.0) };
    let [dq_cols, dk_cols, dv_cols] = columns(heads, 0);
    let (q, dout) = (q.part(tile.clone(), all.clone()), dout.part(tile.clone(), all.clone()));
    let (k, v) = (k.part(0..keys, all.clone()), v.part(0..keys, all));
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
                    softmax_backward(&mut p[..t + 1], &mut dp[..t + 1], lse, delta, before);
                },
            );
            for factor in [p, dp] {
                E::round(&mut factor[..t + 1]);
                factor[t + 1..].fill(0.0);
            }
        }
        let (p, ds) = (p.read(), dp.read());
        gemm(&mut dqkv.part_mut(0..keys, dv_cols), true, Operand::T(p), Operand::N(dout), 1.0);
        gemm(&mut dqkv.part_mut(0..keys, dk_cols), true, Operand::T(ds), Operand::N(q), after);
        gemm(&mut dqkv.part_mut(tile, dq_cols), false, Operand::N(ds), Operand::N(k), after);
    });
}

/// Scores become probabilities, `dp` the gradient of the scores times `scale`.
#[inline(always)]
fn softmax_backward(scores: &mut [f32], dp: &mut [f32], lse: f32, delta: f32, scale: f32) {
    for (p, d) in scores.iter_mut().zip(dp) {
        *p = exp(*p - lse);
        *d = normal_or_zero(*p * (*d - delta) * scale);
    }
}

/// Row `position` attends to rows `0..=position`; one task per head.
pub fn decode<E: Element>(heads: Heads, qkv: Rows<E>, position: usize, out: RowsMut<E>) {
    let s = Shape { batch: 1, time: position + 1 };
    for_parts(
        [out],
        heads.count,
        |head| [(0..1, places(s, heads, head)[0].1.clone())],
        |head, [out]| {
            let [_, (rows, cols)] = places(s, heads, head);
            E::read(qkv.part(rows, cols), |qkv| {
                E::write(out, |mut out| decode_one(split(heads, qkv), out.row(0)));
            });
        },
    );
}

/// The last row of one head.
fn decode_one([q, k, v]: [Rows; 3], out: &mut [f32]) {
    let scale = 1.0 / (q.cols as f32).sqrt();
    let q_last = q.row(q.rows - 1);
    with_scores(1, q.rows, |mut scores, _| {
        let scores = scores.row(0);
        vectorize(
            #[inline(always)]
            || {
                for (t, score) in scores.iter_mut().enumerate() {
                    *score = scale * sum2(q_last, k.row(t), |acc, a, b| a.mul_add(b, acc));
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
}
