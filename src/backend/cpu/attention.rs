//! Causal attention, one (sequence, head) per task, in tiles of queries: scores of all of a sequence's queries never exist.
//! Documents that are isolated are sequences of their own, so nothing is computed between two but short ones.
//! Dao et al. 2022, arXiv:2205.14135 (recomputation from the log-sum-exp).
mod blocks;
mod plain;

use super::documents::{Segment, segments};
use super::element::Element;
use super::math::{LANES, exp, exp_sum, max, normal_or_zero, sum2, vectorize};
use super::memory::{Place, Rows, RowsMut, for_parts};
use super::product::MicroKernel;
use super::rotary;
use crate::ops::{Act, Documents, Heads, Shape};
use std::cell::RefCell;
use std::ops::Range;

/// What the backward of a segment of one (sequence, head) is given: q, k, v `[T, 3·D]`, what attention made of them and its
/// gradient `[T, D]`, and the log-sum-exp `[T, 1]`.
#[derive(Clone, Copy)]
pub struct Given<'a, E> {
    qkv: Rows<'a, E>,
    out: Rows<'a, E>,
    dout: Rows<'a, E>,
    lse: Rows<'a>,
}

/// An element that attention can be computed in.
pub trait Attend: Element {
    /// Bytes of scratch one thread keeps for sequences of `time`.
    fn scratch_bytes(heads: Heads, time: usize) -> usize;

    /// `out = softmax(q·kᵀ/√D)·v` of a segment of one (sequence, head), from `qkv [T, 3·D]` to `out [T, D]` and
    /// `lse [T, 1]`.
    fn forward_head(
        micro: MicroKernel,
        heads: Heads,
        segment: &Segment,
        qkv: Rows<Self>,
        out: RowsMut<Self>,
        lse: RowsMut,
    );

    /// Its gradient, and that of the rotation before it, into `dqkv [T, 3·D]`.
    fn backward_head(
        micro: MicroKernel,
        heads: Heads,
        segment: &Segment,
        given: Given<Self>,
        dqkv: RowsMut<Self>,
        tables: &rotary::Tables,
    );
}

thread_local! {
    /// Scores and their gradient of one tile; grown to the longest sequence once.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
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
fn split<E>(heads: Heads, qkv: Rows<'_, E>) -> [Rows<'_, E>; 3] {
    columns(heads, 0).map(|c| qkv.part(0..qkv.rows, c))
}

/// Rows and columns of a (sequence, head) in `[rows, H·D]` and in `[rows, H·3·D]`.
fn places(s: Shape, heads: Heads, task: usize) -> [Place; 2] {
    let (sequence, head) = (task / heads.count, task % heads.count);
    let rows = sequence * s.time..(sequence + 1) * s.time;
    let columns = |width: usize| head * width..(head + 1) * width;
    [(rows.clone(), columns(heads.size)), (rows, columns(3 * heads.size))]
}

/// `out = softmax(q·kᵀ/√D)·v` under the causal mask; `lse [rows, H]`.
pub fn forward<E: Attend>(
    micro: MicroKernel,
    s: Shape,
    heads: Heads,
    documents: Documents,
    qkv: Rows<E>,
    out: RowsMut<E>,
    lse: RowsMut,
) {
    let place = |t: usize| {
        let [one, _] = places(s, heads, t);
        let head = t % heads.count;
        ([one.clone()], [(one.0, head..head + 1)])
    };
    for_parts(([out], [lse]), s.batch * heads.count, place, |t, ([mut out], [mut lse])| {
        let [_, (rows, cols)] = places(s, heads, t);
        let qkv = qkv.part(rows.clone(), cols);
        for segment in segments(documents.part(rows), s.time) {
            let rows = || segment.rows.clone();
            let qkv = qkv.part(rows(), 0..qkv.cols);
            let (out, lse) = (out.part_mut(rows(), 0..heads.size), lse.part_mut(rows(), 0..1));
            E::forward_head(micro, heads, &segment, qkv, out, lse);
        }
    });
}

/// Gradient of q, k, v, and of the rotation before them, into the interleaved `dqkv`.
pub fn backward<E: Attend>(
    micro: MicroKernel,
    s: Shape,
    heads: Heads,
    documents: Documents,
    ([qkv, out, dout], lse): ([Rows<E>; 3], Rows),
    dqkv: RowsMut<E>,
    tables: &rotary::Tables,
) {
    let place = |t: usize| places(s, heads, t);
    for_parts(
        [dqkv],
        s.batch * heads.count,
        |t| [place(t)[1].clone()],
        |t, [mut dqkv]| {
            let [(all, one), (_, three)] = place(t);
            let head = t % heads.count;
            for segment in segments(documents.part(all.clone()), s.time) {
                let rows = || all.start + segment.rows.start..all.start + segment.rows.end;
                let given = Given {
                    qkv: qkv.part(rows(), three.clone()),
                    out: out.part(rows(), one.clone()),
                    dout: dout.part(rows(), one.clone()),
                    lse: lse.part(rows(), head..head + 1),
                };
                let dqkv = dqkv.part_mut(segment.rows.clone(), 0..3 * heads.size);
                E::backward_head(micro, heads, &segment, given, dqkv, tables);
            }
        },
    );
}

/// Splits a row of scores behind those that are seen and as many as fill the last vector, whose probabilities are 0, as are
/// those before the first that is seen.
#[inline(always)]
pub fn hide(row: &mut [f32], seen: Range<usize>) -> (&mut [f32], &mut [f32]) {
    let whole = seen.end.next_multiple_of(LANES).min(row.len());
    row[..seen.start].fill(f32::NEG_INFINITY);
    row[seen.end..whole].fill(f32::NEG_INFINITY);
    row.split_at_mut(whole)
}

/// Scores become probabilities, `dp` the gradient of the scores times `scale`.
#[inline(always)]
pub fn softmax_backward(scores: &mut [f32], dp: &mut [f32], lse: f32, delta: f32, scale: f32) {
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
