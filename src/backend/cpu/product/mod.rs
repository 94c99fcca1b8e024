//! Matrix products of bf16 with sums in f32. Both factors are rearranged into panels, the right one once for all threads;
//! a micro-kernel multiplies a panel of either.
//!
//! An element of a product is one chain of sums over the inner dimension, in the order of its micro-kernel, whatever tile
//! it is in: neither threads nor the rows beside it change a bit.
mod amx;
mod dot;
mod factors;
mod fma;
mod micro;
#[cfg(test)]
mod model;
mod pack;
mod panels;
mod tile;
mod transpose;
mod whole;

use super::buffers::Scratch;
use super::element::Element;
use super::gemm::Operand;
use super::memory::{Place, RowsMut, for_parts, for_row_blocks};
use crate::ops::{Act, Matrix};
pub use factors::{Lefts, Right};
use half::bf16;
pub use micro::{MicroKernel, Ready};
use pack::pack;
use panels::{A_ROWS, B_COLS, Panels, units};
pub use panels::{Depth, Sums};
use std::ops::Range;
use tile::sum_tile;

/// Units of the inner dimension that are multiplied at once, so that a panel stays in the first cache.
const DEPTH: usize = 256;
/// Rows of a tile: of the left factor, they stay in the second cache. Fewer where there are few tiles.
const TILE_ROWS: usize = 256;
/// Columns of a tile whose sums stay in the second cache.
const TILE_COLS: usize = 512;
/// Tiles are made smaller until there are so many, for all threads to have work.
const TILES: usize = 16;
/// What of the right factor is rearranged at a time: columns, and bytes of them.
const CHUNK_COLS: usize = 4096;
const CHUNK_BYTES: usize = 16 << 20;

/// Who multiplies, and the memory that takes.
pub struct Products {
    /// The micro-kernel.
    pub micro: MicroKernel,
    /// The right factor, or as much of it as is multiplied at once, in panels.
    right: Scratch<u32>,
    /// Sums of a product whose inner dimension is not multiplied at once.
    sums: Scratch<f32>,
}

/// Bytes that a [`Products`] comes to hold for products of these matrices with `rows` of activations.
pub fn scratch_bytes(matrices: impl Iterator<Item = Matrix>, rows: usize) -> usize {
    let unit = MicroKernel::of_machine().unit();
    let panels = |m: Matrix| (m.rows * m.cols).max(rows * m.cols) / unit * size_of::<u32>();
    matrices.map(|m| panels(m).min(CHUNK_BYTES)).max().unwrap_or(0)
}

/// Bytes that each thread comes to hold: the panels of a tile's left factor, and the tile's sums.
pub const THREAD_BYTES: usize =
    (tile::STRETCHES * DEPTH * TILE_ROWS + TILE_ROWS * TILE_COLS) * size_of::<f32>();

impl Products {
    /// With this micro-kernel.
    pub fn new(micro: MicroKernel) -> Self {
        Self { micro, right: Scratch::new(), sums: Scratch::new() }
    }

    /// `c = a·b`, or `c += a·b` when `accumulate`; then `finish` is given each tile of it in f32 and its place, before it
    /// is rounded. The inner dimension is multiplied in `spans`, one after the other.
    pub fn multiply<E: Element>(
        &mut self,
        mut c: RowsMut<'_, E>,
        accumulate: bool,
        factors: [Operand<'_, bf16>; 2],
        spans: &[Range<usize>],
        finish: impl Fn(&mut RowsMut, Place) + Sync,
    ) {
        let (rows, cols) = (c.rows, c.cols);
        let depths = cut(spans, self.micro.unit());
        for first in (0..cols).step_by(CHUNK_COLS) {
            let columns = first..(first + CHUNK_COLS).min(cols);
            let groups = groups(&depths, columns.len());
            let finish =
                |tile: &mut RowsMut, (r, c): Place| finish(tile, (r, first + c.start..first + c.end));
            let c = c.part_mut(0..rows, columns.clone());
            if let [depths] = groups[..] {
                self.chunk(c, accumulate, factors, (depths, columns), finish);
                continue;
            }
            // Sums that go on from group to group are not rounded in between.
            let mut scratch = std::mem::take(&mut self.sums);
            let sums = scratch.room(rows * columns.len());
            let place = Matrix { offset: 0, rows, cols: columns.len(), ld: columns.len() };
            if accumulate {
                for_row_blocks([RowsMut::matrix(sums, place)], 16, |row, [mut sums]| {
                    E::widen(c.read().part(row..row + sums.rows, 0..sums.cols), &mut sums);
                });
            }
            for (i, depths) in groups.iter().enumerate() {
                let view = RowsMut::matrix(sums, place);
                self.chunk(view, accumulate || i > 0, factors, (depths, columns.clone()), |_, _| ());
            }
            let sums = RowsMut::matrix(sums, place);
            for_row_blocks(([c], [sums]), 16, |row, ([mut c], [mut sums])| {
                finish(&mut sums, (row..row + c.rows, 0..c.cols));
                E::narrow(sums.read(), &mut c);
            });
            self.sums = scratch;
        }
    }

    /// The same of some columns and of depths that are multiplied at once.
    fn chunk<E: Element>(
        &mut self,
        c: RowsMut<'_, E>,
        accumulate: bool,
        [a, b]: [Operand<'_, bf16>; 2],
        (depths, columns): (&[Depth], Range<usize>),
        finish: impl Fn(&mut RowsMut, Place) + Sync,
    ) {
        let micro = self.micro;
        let right = self.pack_right(b, depths, columns);
        // Sums of all columns that go on from one group of stretches to the next are kept.
        let width = if depths.len() > tile::STRETCHES { TILE_COLS } else { c.cols };
        let tiles = Tiles::new(c.rows, c.cols, width);
        for_parts(
            [c],
            tiles.count(),
            |t| [tiles.get(t)],
            |t, [tile]| sum_tile(micro, (tile, tiles.get(t)), accumulate, (a, &right, depths), &finish),
        );
    }

    /// Rearranges columns of the right factor.
    fn pack_right(&mut self, b: Operand<'_, bf16>, depths: &[Depth], columns: Range<usize>) -> Right<'_> {
        let (panels, len) = (columns.len().div_ceil(B_COLS), units(depths) * B_COLS);
        let micro = self.micro;
        let right = self.right.room(panels * len);
        let all = RowsMut::new(&mut *right, Act { offset: 0, cols: len, ld: len }, panels);
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
        Right::new(right, units(depths))
    }
}

/// Depths that are multiplied at once, so that the panels of so many columns take no more than `CHUNK_BYTES`.
fn groups(depths: &[Depth], cols: usize) -> Vec<&[Depth]> {
    let most = CHUNK_BYTES / (size_of::<u32>() * cols.next_multiple_of(B_COLS));
    depths.chunks((most / DEPTH).max(1)).collect()
}

/// Cuts spans of the inner dimension into stretches of at most `DEPTH` units of `unit` elements.
fn cut(spans: &[Range<usize>], unit: usize) -> Vec<Depth> {
    let stretches = spans.iter().flat_map(|span| {
        span.clone().step_by(DEPTH * unit).map(|start| start..(start + DEPTH * unit).min(span.end))
    });
    stretches.map(|elements| Depth::new(elements, unit)).collect()
}

/// Tiles of a chunk of columns, counted from its start; neighbours share their columns.
struct Tiles {
    rows: usize,
    cols: usize,
    height: usize,
    width: usize,
}

impl Tiles {
    /// At most `width` wide. Width goes first, as long as each row that is read is read for many columns.
    fn new(rows: usize, cols: usize, width: usize) -> Self {
        let mut tiles = Self { rows, cols, height: TILE_ROWS, width };
        let halved = |n: usize| (n / 2).next_multiple_of(B_COLS);
        while tiles.count() < TILES && tiles.width > TILE_COLS {
            tiles.width = halved(tiles.width);
        }
        while tiles.count() < TILES / 2 && tiles.height > 2 * A_ROWS {
            tiles.height /= 2;
        }
        while tiles.count() < TILES && tiles.width > 4 * B_COLS {
            tiles.width = halved(tiles.width);
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
