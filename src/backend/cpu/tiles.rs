//! How a product of activations is cut into tasks. The backend promises equal bits whatever the number of threads and
//! of sequences in a micro-batch. Threads do not matter here, tiles follow from shapes alone. Sequences may share a
//! tile only where the product's sums have the same order in every tile: the `gemm` crate cuts the inner dimension by
//! its length alone, save in products of one row or column, of at most 256 elements, or of at most 64 rows and columns.
use crate::ops::Shape;
use std::ops::Range;

/// Rows of a tile of activations: the more, the less often its columns of the weight are rearranged for the product.
const TILE_ROWS: usize = 2048;
const LEAST_ROWS: usize = 1024;
/// Columns of a tile of activations.
const TILE_COLS: usize = 256;
const LEAST_COLS: usize = 64;
/// Tiles are made smaller until there are so many, for all threads to have work.
const TILES: usize = 16;
/// Tiles of whole multiples of `LEAST_COLS` columns and more rows than this, or of twice the columns and more than two
/// rows, are none of those exceptions.
const SMALL: usize = 128;

/// Tiles of `[batch·time, cols]`, as (rows, columns), neighbours sharing their columns of the weight. A tile is an
/// equal part of a sequence, or some whole sequences where that leaves all bits as they are.
pub struct Tiles {
    shape: Shape,
    cols: usize,
    height: usize,
    width: usize,
}

impl Tiles {
    /// Of as many rows as leave work for all threads.
    pub fn new(shape: Shape, cols: usize) -> Self {
        let long = shape.time > SMALL;
        let least = if long { LEAST_COLS } else { 2 * LEAST_COLS };
        if shape.time <= 2 || !cols.is_multiple_of(least) {
            return Self { shape, cols, height: shape.time.min(TILE_ROWS), width: TILE_COLS };
        }
        let mut tiles = Self { shape, cols, height: TILE_ROWS, width: TILE_COLS };
        while tiles.count() < TILES && tiles.width > least {
            tiles.width /= 2;
        }
        while tiles.count() < TILES && tiles.height > LEAST_ROWS {
            tiles.height /= 2;
        }
        tiles
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.down() * self.cols.div_ceil(self.width)
    }

    /// Tiles of a column.
    fn down(&self) -> usize {
        self.parts() * self.shape.batch.div_ceil(self.sequences())
    }

    /// Tiles of a sequence.
    fn parts(&self) -> usize {
        self.shape.time.div_ceil(self.height)
    }

    /// Sequences of a tile.
    fn sequences(&self) -> usize {
        (self.height / self.shape.time).max(1)
    }

    /// The rows and the columns of one.
    pub fn get(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (column, row) = (task / self.down(), task % self.down());
        let (group, part) = (row / self.parts(), row % self.parts());
        let first = group * self.sequences();
        let (start, end) =
            (first * self.shape.time, (first + self.sequences()).min(self.shape.batch) * self.shape.time);
        let rows = self.shape.time.div_ceil(self.parts());
        let rows = if self.parts() == 1 {
            start..end
        } else {
            start + part * rows..(start + (part + 1) * rows).min(end)
        };
        (rows, column * self.width..((column + 1) * self.width).min(self.cols))
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::forward;
    use super::super::memory::{Rows, RowsMut};
    use super::super::product::{MicroKernel, Products};
    use super::*;
    use crate::ops::Matrix;

    const TIMES: [usize; 13] = [1, 2, 3, 16, 64, 65, 127, 128, 129, 200, 512, 2047, 4100];
    const COLS: [usize; 9] = [1, 2, 63, 65, 66, 128, 129, 384, 1536];

    #[test]
    fn every_element_is_in_one_tile() {
        for time in TIMES {
            for (batch, cols) in [1, 2, 5].into_iter().flat_map(|b| COLS.map(|c| (b, c))) {
                let shape = Shape { batch, time };
                let tiles = Tiles::new(shape, cols);
                let mut seen = vec![0u8; shape.rows() * cols];
                for (r, c) in (0..tiles.count()).map(|t| tiles.get(t)) {
                    assert!(!r.is_empty() && !c.is_empty(), "{batch} {time} {cols}: an empty tile");
                    r.for_each(|i| seen[i * cols..][c.clone()].iter_mut().for_each(|n| *n += 1));
                }
                assert!(seen.iter().all(|n| *n == 1), "{batch} {time} {cols}");
            }
        }
    }

    /// `x·wᵀ` of sequences, of which each holds the same values.
    fn product(batch: usize, time: usize, cols: usize, inner: usize) -> Vec<f32> {
        let value = |i: usize| (i * 7919 % 4093) as f32 / 4093.0 - 0.5;
        let x: Vec<f32> = (0..batch * time * inner).map(|i| value(i % (time * inner))).collect();
        let w: Vec<f32> = (0..cols * inner).map(|i| value(i + 17)).collect();
        let dense = |rows, cols| Matrix { offset: 0, rows, cols, ld: cols };
        let mut y = vec![f32::NAN; batch * time * cols];
        forward(
            &mut Products::new(MicroKernel::Fma),
            Shape { batch, time },
            [Rows::matrix(&x, dense(batch * time, inner)), Rows::matrix(&w, dense(cols, inner))],
            [None, None],
            None,
            RowsMut::matrix(&mut y, dense(batch * time, cols)),
        );
        y
    }

    #[test]
    fn sequences_beside_a_sequence_change_no_bit_of_it() {
        for (time, inner) in TIMES.into_iter().filter(|t| *t < 600).flat_map(|t| [(t, 40), (t, 1100)]) {
            for cols in COLS.into_iter().filter(|c| *c < 1000) {
                let alone = product(1, time, cols, inner);
                for batch in [2, 3, 8] {
                    let together = product(batch, time, cols, inner);
                    let same = |y: &[f32]| y.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(together.chunks(alone.len()).all(same), "{batch} x {time} x {cols} of {inner}");
                }
            }
        }
    }
}
