//! Factors rearranged into the panels that a micro-kernel reads.
use super::super::gemm::Operand;
use super::super::math::vectorize;
use super::micro::MicroKernel;
use super::panels::{A_ROWS, B_COLS, Depth, LANES, Panels, UNITS};
use super::transpose::{Block, transpose};
use super::whole::{self, Layout};
use half::bf16;
use std::ops::Range;

/// Rearranges lines of a factor `[lines, inner]`, rows of the left one or columns of the right one, into panels of 32.
/// What is missing of the last 32 lines and of the depth's units is 0.
///
/// A panel of the right factor is `[units][32]`. One of the left is four groups of `[units][8]`, or, for a micro-kernel
/// that wants rows, two halves of `[units/16][16 rows][16 units]`.
pub fn pack(
    micro: MicroKernel,
    panels: Panels,
    factor: Operand<'_, bf16>,
    lines: Range<usize>,
    depth: &Depth,
    out: &mut [u32],
) {
    const { assert!(A_ROWS == 32 && B_COLS == 32 && UNITS == 16) };
    let halves = 2 * lines.len().div_ceil(32);
    vectorize(
        #[inline(always)]
        || {
            // As the factor lies in memory.
            let (outer, inner) = match factor {
                Operand::N(_) => (halves, depth.units / UNITS),
                Operand::T(_) => (depth.units / UNITS, halves),
            };
            for i in 0..outer {
                for j in 0..inner {
                    let (half, block) = if matches!(factor, Operand::N(_)) { (i, j) } else { (j, i) };
                    pack_block(micro, panels, factor, &lines, depth, (half, UNITS * block), out);
                }
            }
        },
    );
}

/// Rearranges 16 units of 16 lines: of the half `half` of a panel, all halves counted.
#[inline(always)]
fn pack_block(
    micro: MicroKernel,
    panels: Panels,
    factor: Operand<'_, bf16>,
    lines: &Range<usize>,
    depth: &Depth,
    (half, unit): (usize, usize),
    out: &mut [u32],
) {
    let units = depth.units;
    let (panel, half) = (half / 2, half % 2);
    let first = lines.start + 32 * panel + 16 * half;
    let lines = first.min(lines.end)..(first + 16).min(lines.end);
    let start = (depth.elements.start + unit * micro.unit()).min(depth.elements.end);
    let inner = start..(start + UNITS * micro.unit()).min(depth.elements.end);
    let in_rows = panels == Panels::Left && micro.left_in_rows();
    let out = &mut out[32 * units * panel..][..32 * units];
    if (lines.len(), inner.len()) == (16, UNITS * micro.unit()) {
        let (layout, to) = match panels {
            _ if in_rows => (Layout::Rows, 16 * (half * units + unit)),
            Panels::Right => (Layout::Units, unit * B_COLS + 16 * half),
            Panels::Left => (Layout::Groups(units), (2 * half * units + unit) * LANES),
        };
        if whole::pack_block(factor, (lines.start, inner.start), micro.unit(), layout, &mut out[to..]) {
            return;
        }
    }
    let (mut block, is_rows) = match factor {
        Operand::N(rows) => (along(micro, |line| &rows.row(line)[inner.clone()], lines), true),
        Operand::T(rows) => (across(micro, |k| &rows.row(k)[lines.clone()], inner), false),
    };
    if is_rows != in_rows {
        transpose(&mut block);
    }
    match panels {
        _ if in_rows => out[16 * (half * units + unit)..][..256].copy_from_slice(block.as_flattened()),
        Panels::Right => {
            for (unit, row) in (unit..).zip(&block) {
                out[unit * B_COLS + 16 * half..][..16].copy_from_slice(row);
            }
        }
        Panels::Left => {
            for (unit, row) in (unit..).zip(&block) {
                let [low, high] = [2 * half, 2 * half + 1].map(|group| (group * units + unit) * LANES);
                out[low..][..LANES].copy_from_slice(&row[..LANES]);
                out[high..][..LANES].copy_from_slice(&row[LANES..]);
            }
        }
    }
}

/// Lines that are stored along the inner dimension: a row of the block each.
#[inline(always)]
fn along<'a>(micro: MicroKernel, line: impl Fn(usize) -> &'a [bf16], lines: Range<usize>) -> Block {
    let mut block = [[0; 16]; 16];
    for (row, i) in block.iter_mut().zip(lines) {
        let values = line(i);
        if micro.unit() == 1 {
            widen(values, row);
        } else if let Ok(values) = <&[bf16; 32]>::try_from(values) {
            *row = bytemuck::pod_read_unaligned(bytemuck::bytes_of(values));
        } else {
            for (unit, x) in row.iter_mut().zip(values.chunks(2)) {
                *unit = pair(x[0], *x.get(1).unwrap_or(&bf16::ZERO));
            }
        }
    }
    block
}

/// Lines that are stored across it: a column of the block each.
#[inline(always)]
fn across<'a>(micro: MicroKernel, at: impl Fn(usize) -> &'a [bf16], inner: Range<usize>) -> Block {
    let mut block = [[0; 16]; 16];
    let mut k = inner.start;
    for row in &mut block {
        if k >= inner.end {
            break;
        } else if micro.unit() == 1 {
            widen(at(k), row);
        } else {
            let second = if k + 1 < inner.end { at(k + 1) } else { &[bf16::ZERO; 16] };
            join(at(k), second, row);
        }
        k += micro.unit();
    }
    block
}

/// Units of one term each, in f32.
#[inline(always)]
fn widen(from: &[bf16], row: &mut [u32; 16]) {
    let each = |unit: &mut u32, x: &bf16| *unit = u32::from(x.to_bits()) << 16;
    match <&[bf16; 16]>::try_from(from) {
        Ok(from) => (0..16).for_each(|i| each(&mut row[i], &from[i])),
        Err(_) => row.iter_mut().zip(from).for_each(|(unit, x)| each(unit, x)),
    }
}

/// Units of a term of either.
#[inline(always)]
fn join(even: &[bf16], odd: &[bf16], row: &mut [u32; 16]) {
    match (<&[bf16; 16]>::try_from(even), <&[bf16; 16]>::try_from(odd)) {
        (Ok(even), Ok(odd)) => (0..16).for_each(|i| row[i] = pair(even[i], odd[i])),
        _ => row.iter_mut().zip(even.iter().zip(odd)).for_each(|(unit, (x, y))| *unit = pair(*x, *y)),
    }
}

/// The even term is in the low half, as in memory.
#[inline(always)]
fn pair(even: bf16, odd: bf16) -> u32 {
    u32::from(even.to_bits()) | u32::from(odd.to_bits()) << 16
}
