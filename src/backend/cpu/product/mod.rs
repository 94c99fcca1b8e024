//! Matrix products of bf16 with sums in f32. Both factors are rearranged into panels, the right one once for all threads;
//! a micro-kernel multiplies a panel of either.
//!
//! An element of a product is one chain of sums over the inner dimension, in the order of its micro-kernel, whatever tile
//! it is in: neither threads nor the rows beside it change a bit.
mod amx;
mod dot;
mod fma;
mod micro;
#[cfg(test)]
mod model;
mod pack;
mod transpose;

use super::element::Element;
use super::gemm::Operand;
use super::memory::{Place, RowsMut, for_parts, for_row_blocks};
use crate::ops::Act;
use half::bf16;
pub use micro::Micro;
use micro::{A_ROWS, B_COLS, Panels};
use pack::pack;
use std::cell::RefCell;
use std::ops::Range;

/// Units of the inner dimension that are multiplied at once, so that a panel stays in the first cache.
const DEPTH: usize = 256;
/// Rows and columns of a tile, whose sums stay in the second cache. Fewer where there are few tiles.
const TILE_ROWS: usize = 256;
const TILE_COLS: usize = 512;
/// Tiles are made smaller until there are so many, for all threads to have work.
const TILES: usize = 16;
/// Bytes of rearranged factor that are held at a time.
const CHUNK_BYTES: usize = 16 << 20;

/// Who multiplies, and the memory that takes.
pub struct Products {
    /// The micro-kernel.
    pub micro: Micro,
    /// The right factor, or as many of its columns as are multiplied at once, in panels.
    right: Vec<u32>,
}

impl Products {
    /// With this micro-kernel.
    pub fn new(micro: Micro) -> Self {
        Self { micro, right: Vec::new() }
    }

    /// `c = a·b`, or `c += a·b` when `accumulate`; then `finish` is given each tile of it in f32 and its place, before it
    /// is rounded. The inner dimension is multiplied in `spans`, one after the other.
    pub fn multiply<E: Element>(
        &mut self,
        c: RowsMut<'_, E>,
        accumulate: bool,
        [a, b]: [Operand<'_, bf16>; 2],
        spans: &[Range<usize>],
        finish: impl Fn(&mut RowsMut, Place) + Sync,
    ) {
        let (rows, cols, micro) = (c.rows, c.cols, self.micro);
        let depths = cut(spans, micro.unit());
        let units = depths.iter().map(|d| d.units).sum::<usize>();
        let most = (CHUNK_BYTES / (4 * units.max(1))).next_multiple_of(TILE_COLS);
        let mut c = c;
        for first in (0..cols).step_by(most) {
            let chunk = first..(first + most).min(cols);
            self.pack_right(b, &depths, chunk.clone());
            let right = Right { panels: &self.right, units };
            let tiles = Tiles::new(rows, chunk.clone());
            let c = c.part_mut(0..rows, chunk.clone());
            for_parts(
                [c],
                tiles.count(),
                |t| [tiles.get(t)],
                |t, [tile]| {
                    let (r, at) = tiles.get(t);
                    let place = (r.clone(), first + at.start..first + at.end);
                    let each = |mut sums: RowsMut| {
                        sum_tile(micro, &mut sums, accumulate, (a, r.clone()), (&right, at.start), &depths);
                        finish(&mut sums, place);
                    };
                    if accumulate { E::edit(tile, each) } else { E::write(tile, each) }
                },
            );
        }
    }

    /// Rearranges columns of the right factor.
    fn pack_right(&mut self, b: Operand<'_, bf16>, depths: &[Depth], columns: Range<usize>) {
        let units = depths.iter().map(|d| d.units).sum::<usize>();
        let (panels, len) = (columns.len().div_ceil(B_COLS), units * B_COLS);
        if self.right.len() < panels * len {
            self.right.resize(panels * len, 0);
        }
        let all = RowsMut::new(&mut self.right, Act { offset: 0, cols: len, ld: len }, panels);
        let micro = self.micro;
        for_row_blocks([all], 1, |panel, [mut out]| {
            let start = columns.start + panel * B_COLS;
            let columns = start..(start + B_COLS).min(columns.end);
            let mut out = out.row(0);
            for depth in depths {
                let part;
                (part, out) = out.split_at_mut(depth.units * B_COLS);
                pack(micro, Panels::Right, b.turned(), columns.clone(), depth, part);
            }
        });
    }
}

/// A stretch of the inner dimension.
pub struct Depth {
    /// Its elements.
    elements: Range<usize>,
    /// Units before it.
    first: usize,
    /// Its units; the last may be filled up with zeros.
    units: usize,
}

/// Cuts spans of the inner dimension into stretches of at most `DEPTH` units of `unit` elements.
fn cut(spans: &[Range<usize>], unit: usize) -> Vec<Depth> {
    let mut first = 0;
    let stretches = spans.iter().flat_map(|span| {
        span.clone().step_by(DEPTH * unit).map(|start| start..(start + DEPTH * unit).min(span.end))
    });
    let depth = |elements: Range<usize>| {
        let units = elements.len().div_ceil(unit).next_multiple_of(micro::UNITS);
        first += units;
        Depth { elements, first: first - units, units }
    };
    stretches.map(depth).collect()
}

/// Panels of the right factor, `[panels][units][B_COLS]`.
struct Right<'a> {
    panels: &'a [u32],
    units: usize,
}

thread_local! {
    /// Panels of the left factor of one tile.
    static LEFT: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// `sums = a·b`, or `sums += a·b`, of rows of `a` and of the panels of `b` from column `at` on.
fn sum_tile(
    micro: Micro,
    sums: &mut RowsMut,
    accumulate: bool,
    (a, rows): (Operand<'_, bf16>, Range<usize>),
    (b, at): (&Right, usize),
    depths: &[Depth],
) {
    assert!(at.is_multiple_of(B_COLS) && sums.rows == rows.len(), "a tile begins where a panel does");
    let panels = rows.len().div_ceil(A_ROWS);
    LEFT.with_borrow_mut(|left| {
        left.resize(left.len().max(panels * A_ROWS * DEPTH), 0);
        let _tiles = micro.begin();
        for (i, depth) in depths.iter().enumerate() {
            let len = depth.units * A_ROWS;
            for (panel, out) in left[..panels * len].chunks_exact_mut(len).enumerate() {
                let start = rows.start + panel * A_ROWS;
                pack(micro, Panels::Left, a, start..(start + A_ROWS).min(rows.end), depth, out);
            }
            for column in (0..sums.cols).step_by(B_COLS) {
                let start = (at + column) * b.units + depth.first * B_COLS;
                let b = &b.panels[start..start + depth.units * B_COLS];
                for (panel, a) in left[..panels * len].chunks_exact(len).enumerate() {
                    let place = (panel * A_ROWS, column);
                    micro.multiply(a, b, sums, place, accumulate || i > 0);
                }
            }
        }
    });
}

/// Tiles of a chunk of columns, counted from its start; neighbours share their columns.
struct Tiles {
    rows: usize,
    cols: usize,
    height: usize,
    width: usize,
}

impl Tiles {
    fn new(rows: usize, columns: Range<usize>) -> Self {
        let mut tiles = Self { rows, cols: columns.len(), height: TILE_ROWS, width: TILE_COLS };
        while tiles.count() < TILES && tiles.width > 4 * B_COLS {
            tiles.width /= 2;
        }
        while tiles.count() < TILES && tiles.height > 2 * A_ROWS {
            tiles.height /= 2;
        }
        tiles
    }

    fn count(&self) -> usize {
        self.rows.div_ceil(self.height) * self.cols.div_ceil(self.width)
    }

    fn get(&self, task: usize) -> Place {
        let down = self.rows.div_ceil(self.height);
        let (r, c) = (task % down * self.height, task / down * self.width);
        (r..(r + self.height).min(self.rows), c..(c + self.width).min(self.cols))
    }
}

#[cfg(test)]
mod tests;
