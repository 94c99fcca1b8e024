//! Factors rearranged into the panels that a micro-kernel reads.
use super::super::gemm::Operand;
use super::Depth;
use super::micro::{A_ROWS, B_COLS, LANES, Micro, Panels, UNITS};
use super::transpose::{Block, transpose};
use half::bf16;
use std::ops::Range;

/// Rearranges some lines of a factor `[lines, inner]`, at most 32: rows of the left one, columns of the right one. What
/// is missing of 32 lines and of the depth's units is 0.
///
/// A panel of the right factor is `[units][32]`. One of the left is four groups of `[units][8]`, or, for a micro-kernel
/// that wants rows, two halves of `[units/16][16 rows][16 units]`.
pub fn pack(
    micro: Micro,
    panels: Panels,
    factor: Operand<'_, bf16>,
    lines: Range<usize>,
    depth: &Depth,
    out: &mut [u32],
) {
    const { assert!(A_ROWS == 32 && B_COLS == 32 && UNITS == 16) };
    let in_rows = panels == Panels::Left && micro.left_in_rows();
    let units = depth.units;
    for half in 0..2 {
        let lines = (lines.start + 16 * half).min(lines.end)..(lines.start + 16 * (half + 1)).min(lines.end);
        for unit in (0..units).step_by(UNITS) {
            let start = (depth.elements.start + unit * micro.unit()).min(depth.elements.end);
            let inner = start..(start + UNITS * micro.unit()).min(depth.elements.end);
            let (mut block, is_rows) = match factor {
                Operand::N(rows) => {
                    (along(micro, |line| &rows.row(line)[inner.clone()], lines.clone()), true)
                }
                Operand::T(rows) => (across(micro, |k| &rows.row(k)[lines.clone()], inner), false),
            };
            if is_rows != in_rows {
                transpose(&mut block);
            }
            if in_rows {
                out[16 * (half * units + unit)..][..256].copy_from_slice(block.as_flattened());
                continue;
            }
            for (unit, row) in (unit..).zip(&block) {
                match panels {
                    Panels::Right => out[unit * B_COLS + 16 * half..][..16].copy_from_slice(row),
                    Panels::Left => {
                        for (i, part) in row.as_chunks::<LANES>().0.iter().enumerate() {
                            out[((2 * half + i) * units + unit) * LANES..][..LANES].copy_from_slice(part);
                        }
                    }
                }
            }
        }
    }
}

/// Lines that are stored along the inner dimension: a row of the block each.
#[inline(always)]
fn along<'a>(micro: Micro, line: impl Fn(usize) -> &'a [bf16], lines: Range<usize>) -> Block {
    let mut block = [[0; 16]; 16];
    for (row, i) in block.iter_mut().zip(lines) {
        let values = line(i);
        if micro.unit() == 1 {
            row.iter_mut().zip(values).for_each(|(unit, x)| *unit = widened(*x));
        } else if let Ok(values) = <&[bf16; 32]>::try_from(values) {
            *row = bytemuck::pod_read_unaligned(bytemuck::bytes_of(values));
        } else {
            row.iter_mut()
                .zip(values.chunks(2))
                .for_each(|(unit, x)| *unit = pair(x[0], *x.get(1).unwrap_or(&bf16::ZERO)));
        }
    }
    block
}

/// Lines that are stored across it: a column of the block each.
#[inline(always)]
fn across<'a>(micro: Micro, at: impl Fn(usize) -> &'a [bf16], inner: Range<usize>) -> Block {
    let mut block = [[0; 16]; 16];
    for (row, k) in block.iter_mut().zip(inner.clone().step_by(micro.unit())) {
        let first = at(k);
        if micro.unit() == 1 {
            row.iter_mut().zip(first).for_each(|(unit, x)| *unit = widened(*x));
        } else if k + 1 < inner.end {
            row.iter_mut().zip(first.iter().zip(at(k + 1))).for_each(|(unit, (x, y))| *unit = pair(*x, *y));
        } else {
            row.iter_mut().zip(first).for_each(|(unit, x)| *unit = pair(*x, bf16::ZERO));
        }
    }
    block
}

#[inline(always)]
fn widened(x: bf16) -> u32 {
    u32::from(x.to_bits()) << 16
}

/// The even term is in the low half, as in memory.
#[inline(always)]
fn pair(even: bf16, odd: bf16) -> u32 {
    u32::from(even.to_bits()) | u32::from(odd.to_bits()) << 16
}
