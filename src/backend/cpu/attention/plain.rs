//! Attention in f32 by the `gemm` crate, in tiles of queries: the largest score matrix that exists is `[QUERIES, T]` per
//! thread.
use super::{Attend, Given, Segment, columns, hide, softmax_backward, split, with_scores};
use crate::backend::cpu::gemm::{Operand, gemm};
use crate::backend::cpu::math::{exp_sum, max, normal_or_zero, sum2, vectorize};
use crate::backend::cpu::memory::{Rows, RowsMut};
use crate::backend::cpu::product::MicroKernel;
use crate::backend::cpu::rotary::{self, Rotate};
use crate::ops::Heads;
use std::ops::Range;

/// Queries of a tile.
const QUERIES: usize = 64;

impl Attend for f32 {
    fn scratch_bytes(_: Heads, time: usize) -> usize {
        2 * QUERIES.min(time) * time * size_of::<f32>()
    }

    fn forward_head(
        _: MicroKernel,
        heads: Heads,
        segment: &Segment,
        qkv: Rows,
        mut out: RowsMut,
        mut lse: RowsMut,
    ) {
        for tile in query_tiles(qkv.rows) {
            attend(heads, segment, split(heads, qkv), tile, &mut out, &mut lse);
        }
    }

    fn backward_head(
        _: MicroKernel,
        heads: Heads,
        segment: &Segment,
        Given { qkv, out, dout, lse }: Given<f32>,
        mut dqkv: RowsMut,
        tables: &rotary::Tables,
    ) {
        (0..dqkv.rows).for_each(|t| dqkv.row(t).fill(0.0));
        for tile in query_tiles(qkv.rows) {
            add_gradients(heads, segment, split(heads, qkv), [out, dout], lse, tile, &mut dqkv);
        }
        for t in 0..dqkv.rows {
            let row = dqkv.row(t);
            // Sums of a key that nobody looks at have nothing but tails.
            vectorize(
                #[inline(always)]
                || row.iter_mut().for_each(|x| *x = normal_or_zero(*x)),
            );
            rotary::rotate_row(heads, tables, segment.position(t), row, Rotate::Backward);
        }
    }
}

/// Ranges of queries of one segment.
fn query_tiles(time: usize) -> impl Iterator<Item = Range<usize>> {
    (0..time).step_by(QUERIES).map(move |start| start..(start + QUERIES).min(time))
}

/// Some queries of a (sequence, head).
fn attend(
    heads: Heads,
    segment: &Segment,
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
            let (seen, rest) = hide(scores.row(i), segment.first_seen(t)..t + 1);
            rest.fill(0.0);
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

/// Adds what some queries of a (sequence, head) contribute.
fn add_gradients(
    heads: Heads,
    segment: &Segment,
    [q, k, v]: [Rows; 3],
    [out, dout]: [Rows; 2],
    lse: Rows,
    tile: Range<usize>,
    dqkv: &mut RowsMut,
) {
    let (keys, all) = (tile.end, 0..heads.size);
    let scale = 1.0 / (heads.size as f32).sqrt();
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
                    let (seen, _) = hide(p, segment.first_seen(t)..t + 1);
                    softmax_backward(seen, &mut dp[..seen.len()], lse, delta, scale);
                },
            );
            for factor in [p, dp] {
                factor[t + 1..].fill(0.0);
            }
        }
        let (p, ds) = (p.read(), dp.read());
        gemm(&mut dqkv.part_mut(0..keys, dv_cols), true, Operand::T(p), Operand::N(dout), 1.0);
        gemm(&mut dqkv.part_mut(0..keys, dk_cols), true, Operand::T(ds), Operand::N(q), 1.0);
        gemm(&mut dqkv.part_mut(tile, dq_cols), false, Operand::N(ds), Operand::N(k), 1.0);
    });
}
