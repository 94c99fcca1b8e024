//! Attention in bf16 by the micro-kernels of products: scores in blocks of 32 queries by 32 keys, softmax in f32.
use super::{Attend, Given, Segment, hide, softmax_backward, split};
use crate::backend::cpu::buffers::Scratch;
use crate::backend::cpu::element::{narrow, widen};
use crate::backend::cpu::gemm::Operand;
use crate::backend::cpu::math::{exp_sum, max, normal_or_zero, sum2, vectorize};
use crate::backend::cpu::memory::{BLOCK, Rows, RowsMut};
use crate::backend::cpu::product::{Depth, Lefts, MicroKernel, Ready, Right, Sums};
use crate::backend::cpu::rotary::{self, Rotate};
use crate::ops::{Act, Heads};
use half::bf16;
use std::cell::RefCell;
use std::ops::Range;
use std::slice::from_ref;

/// Queries whose probabilities are kept for the gradients of keys and values.
const QUERIES: usize = 128;

/// What a thread works in.
#[derive(Default)]
struct Work {
    /// Right factors: of all keys, and of some queries.
    keys: [Scratch<u32>; 3],
    queries: [Scratch<u32>; 2],
    left: Scratch<u32>,
    /// Scores and their gradient of a block of queries `[T/32]`.
    scores: [Scratch<f32>; 2],
    /// Those of some queries as factors, `[QUERIES, T]`.
    rounded: [Scratch<bf16>; 2],
    /// A row of either, and more of the same length.
    rows: [Scratch<f32>; 2],
    /// What attention made, or gradients of q, k, v: `[T/32][D/32]`.
    sums: [Scratch<f32>; 3],
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

/// `count` blocks of any contents.
fn blocks(scratch: &mut Scratch<f32>, count: usize) -> &mut [Sums] {
    scratch.room(count * size_of::<Sums>() / size_of::<f32>()).as_chunks_mut().0
}

/// `scale` times row `i` of a row of blocks.
#[inline(always)]
fn copy_row(blocks: &[Sums], i: usize, scale: f32, to: &mut [f32]) {
    for (block, to) in blocks.iter().zip(to.chunks_mut(BLOCK)) {
        let row = &block[i * BLOCK..][..BLOCK];
        to.iter_mut().zip(row).for_each(|(to, x)| *to = scale * x);
    }
}

/// Rows of the left factor by some panels of the right one, over some of its units.
fn multiply(
    ready: &Ready,
    lefts: &Lefts,
    panel: usize,
    (right, units): (&Right, usize),
    sums: &mut [Sums],
    accumulate: bool,
) {
    for (column, sums) in sums.iter_mut().enumerate() {
        ready.multiply(lefts.get(0, panel), right.panel(column, 0..units), sums, accumulate);
    }
}

/// `[rows, cols]` at the start of a scratch.
fn dense<E>(values: &[E], rows: usize, cols: usize) -> Rows<'_, E> {
    Rows::new(values, Act { offset: 0, cols, ld: cols }, rows)
}

impl Attend for bf16 {
    fn scratch_bytes(heads: Heads, time: usize) -> usize {
        let (time, size) = (time.next_multiple_of(BLOCK), heads.size.next_multiple_of(BLOCK));
        let queries = QUERIES.min(time);
        let factors = 3 * time * size + 2 * queries * size + queries * time.max(size);
        let numbers = 2 * BLOCK * time + 2 * time.max(3 * size) + 3 * time * size;
        (factors / MicroKernel::of_machine().unit() + numbers) * size_of::<f32>()
            + 2 * queries * time * size_of::<bf16>()
    }

    fn forward_head(
        micro: MicroKernel,
        heads: Heads,
        segment: &Segment,
        qkv: Rows<bf16>,
        mut out: RowsMut<bf16>,
        mut lse: RowsMut,
    ) {
        let [q, k, v] = split(heads, qkv);
        let (time, across) = (q.rows, heads.size.div_ceil(BLOCK));
        let scale = 1.0 / (heads.size as f32).sqrt();
        WORK.with_borrow_mut(|work| {
            let Work { keys: [keys, values, _], left, scores, rounded, rows, sums, .. } = work;
            let keys = Right::whole(micro, Operand::T(k), keys);
            let values = Right::whole(micro, Operand::N(v), values);
            let inner = Depth::new(0..heads.size, micro.unit());
            let ready = micro.begin();
            for tile in tiles(0..time, BLOCK) {
                let width = tile.end.next_multiple_of(BLOCK);
                let seen = Depth::new(0..width.min(time), micro.unit());
                let scores = blocks(&mut scores[0], width / BLOCK);
                let lefts = Lefts::new(micro, Operand::N(q), tile.clone(), from_ref(&inner), left);
                multiply(&ready, &lefts, 0, (&keys, inner.units), scores, false);
                let factor = rounded[0].room(BLOCK * width);
                let inverse = softmax(segment, scores, scale, &tile, rows[0].room(width), factor, &mut lse);
                let made = blocks(&mut sums[0], across);
                let factor = Operand::N(dense(factor, BLOCK, width));
                let lefts = Lefts::new(micro, factor, 0..BLOCK, from_ref(&seen), left);
                multiply(&ready, &lefts, 0, (&values, seen.units), made, false);
                let row = rows[0].room(across * BLOCK);
                vectorize(
                    #[inline(always)]
                    || {
                        for (i, t) in tile.clone().enumerate() {
                            copy_row(made, i, inverse[i], row);
                            narrow(&row[..heads.size], out.row(t));
                        }
                    },
                );
            }
        });
    }

    fn backward_head(
        micro: MicroKernel,
        heads: Heads,
        segment: &Segment,
        given: Given<bf16>,
        dqkv: RowsMut<bf16>,
        tables: &rotary::Tables,
    ) {
        let [q, k, v] = split(heads, given.qkv);
        let (time, across) = (q.rows, heads.size.div_ceil(BLOCK));
        WORK.with_borrow_mut(|work| {
            let Work { keys: [keys, values, keys_again], queries, left, scores, rounded, rows, sums } = work;
            let keys = Right::whole(micro, Operand::T(k), keys);
            let values = Right::whole(micro, Operand::T(v), values);
            let keys_again = Right::whole(micro, Operand::N(k), keys_again);
            let inner = Depth::new(0..heads.size, micro.unit());
            let ready = micro.begin();
            let count = time.div_ceil(BLOCK) * across;
            let [dq, dk, dv] = sums.each_mut().map(|sums| blocks(sums, count));
            for tile in tiles(0..time, QUERIES) {
                let [width, height] = [tile.end, tile.len()].map(|n| n.next_multiple_of(BLOCK));
                let seen = Depth::new(0..width.min(time), micro.unit());
                let [p, ds] = rounded.each_mut().map(|rounded| rounded.room(height * width));
                for queries in tiles(tile.clone(), BLOCK) {
                    let seen = queries.end.div_ceil(BLOCK);
                    let [scores, dp] = scores.each_mut().map(|scores| blocks(scores, seen));
                    let factors = [(q, &keys, &mut *scores), (given.dout, &values, &mut *dp)];
                    for (factor, right, scores) in factors {
                        let factor = Operand::N(factor);
                        let lefts = Lefts::new(micro, factor, queries.clone(), from_ref(&inner), left);
                        multiply(&ready, &lefts, 0, (right, inner.units), scores, false);
                    }
                    let first = (queries.start - tile.start) * width;
                    let factors = [&mut *p, &mut *ds].map(|f| &mut f[first..first + BLOCK * width]);
                    let rows = rows.each_mut().map(|r| r.room(width.max(heads.size)));
                    factors_of(heads, segment, [scores, dp], &given, &queries, rows, factors);
                }
                let factor = dense(ds, height, width);
                let lefts = Lefts::new(micro, Operand::N(factor), 0..height, from_ref(&seen), left);
                for (i, block) in (tile.start / BLOCK..).zip(0..height / BLOCK) {
                    let dq = &mut dq[i * across..][..across];
                    multiply(&ready, &lefts, block, (&keys_again, seen.units), dq, false);
                }
                let depth = Depth::new(0..tile.len(), micro.unit());
                let factors = [(&*p, given.dout, &mut *dv), (&*ds, q, &mut *dk)];
                for ((factor, right, sums), scratch) in factors.into_iter().zip(&mut *queries) {
                    let right = right.part(tile.clone(), 0..heads.size);
                    let right = Right::whole(micro, Operand::N(right), scratch);
                    let factor = Operand::T(dense(factor, height, width));
                    let lefts = Lefts::new(micro, factor, 0..width, from_ref(&depth), left);
                    for i in 0..width / BLOCK {
                        let sums = &mut sums[i * across..][..across];
                        // Keys of this tile's own time are seen for the first time.
                        let is_seen = i * BLOCK < tile.start;
                        multiply(&ready, &lefts, i, (&right, depth.units), sums, is_seen);
                    }
                }
            }
            store(heads, segment, [&*dq, &*dk, &*dv], rows[0].room(3 * across * BLOCK), dqkv, tables);
        });
    }
}

/// Ranges of at most `size`.
fn tiles(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..(start + size).min(range.end))
}

/// Probabilities of a block of queries, not yet divided by their sums, rounded into the rows of `factor`; the rest of it is 0.
/// Returns what they are to be multiplied by.
fn softmax(
    segment: &Segment,
    scores: &[Sums],
    scale: f32,
    queries: &Range<usize>,
    row: &mut [f32],
    factor: &mut [bf16],
    lse: &mut RowsMut,
) -> [f32; BLOCK] {
    let mut inverse = [0.0; BLOCK];
    vectorize(
        #[inline(always)]
        || {
            for (i, to) in factor.chunks_mut(row.len()).enumerate() {
                let t = queries.start + i;
                let seen = if t < queries.end { t + 1 } else { 0 };
                if seen > 0 {
                    copy_row(scores, i, scale, row);
                    let (whole, _) = hide(row, segment.first_seen(t)..seen);
                    let shift = max(whole);
                    let total = exp_sum(whole, shift);
                    narrow(whole, to);
                    inverse[i] = 1.0 / total;
                    lse.row(t)[0] = shift + total.ln();
                }
                to[seen..].fill(bf16::ZERO);
            }
        },
    );
    inverse
}

/// Probabilities of a block of queries, and the gradient of their scores before its scale (as on a GPU), rounded into the rows of
/// `factors`; the rest of those is 0.
fn factors_of(
    heads: Heads,
    segment: &Segment,
    [scores, dp]: [&[Sums]; 2],
    given: &Given<bf16>,
    queries: &Range<usize>,
    [row, drow]: [&mut [f32]; 2],
    [p, ds]: [&mut [bf16]; 2],
) {
    let scale = 1.0 / (heads.size as f32).sqrt();
    let width = p.len() / BLOCK;
    vectorize(
        #[inline(always)]
        || {
            for (i, (p, ds)) in p.chunks_mut(width).zip(ds.chunks_mut(width)).enumerate() {
                let t = queries.start + i;
                let seen = if t < queries.end { t + 1 } else { 0 };
                if seen > 0 {
                    let [out, dout] = [&mut row[..heads.size], &mut drow[..heads.size]];
                    widen(given.out.row(t), out);
                    widen(given.dout.row(t), dout);
                    let delta = sum2(out, dout, |acc, o, d| o.mul_add(d, acc));
                    copy_row(scores, i, scale, row);
                    copy_row(dp, i, 1.0, drow);
                    let (whole, _) = hide(row, segment.first_seen(t)..seen);
                    let dwhole = &mut drow[..whole.len()];
                    softmax_backward(whole, dwhole, given.lse.row(t)[0], delta, 1.0);
                    narrow(whole, p);
                    narrow(dwhole, ds);
                }
                p[seen..].fill(bf16::ZERO);
                ds[seen..].fill(bf16::ZERO);
            }
        },
    );
}

/// Rotates the gradients of q and k back, and rounds all.
fn store(
    heads: Heads,
    segment: &Segment,
    sums: [&[Sums]; 3],
    row: &mut [f32],
    mut dqkv: RowsMut<bf16>,
    tables: &rotary::Tables,
) {
    let (size, across) = (heads.size, heads.size.div_ceil(BLOCK));
    let scale = 1.0 / (size as f32).sqrt();
    for t in 0..dqkv.rows {
        vectorize(
            #[inline(always)]
            || {
                for (part, (sums, scale)) in sums.iter().zip([scale, scale, 1.0]).enumerate() {
                    let blocks = &sums[t / BLOCK * across..][..across];
                    copy_row(blocks, t % BLOCK, scale, &mut row[part * size..][..size]);
                }
                // Sums of a key that nobody looks at have nothing but tails.
                row[..3 * size].iter_mut().for_each(|x| *x = normal_or_zero(*x));
            },
        );
        rotary::rotate_row(heads, tables, segment.position(t), &mut row[..3 * size], Rotate::Backward);
        vectorize(
            #[inline(always)]
            || narrow(&row[..3 * size], dqkv.row(t)),
        );
    }
}
