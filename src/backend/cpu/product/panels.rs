//! The panels that factors are rearranged into.
use super::super::memory::{BLOCK, Rows};
use half::bf16;
use std::ops::Range;

/// Rows of a panel of the left factor.
pub const A_ROWS: usize = BLOCK;
/// Columns of a panel of the right factor.
pub const B_COLS: usize = BLOCK;
/// A panel's depth in units is a multiple of this.
pub const UNITS: usize = 16;
/// Rows that stand side by side for the kernels in vectors.
pub const LANES: usize = 8;

/// Sums of a panel of either factor, 32 rows of 32.
pub type Sums = [f32; A_ROWS * B_COLS];

/// 32 rows of the left factor.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// Rearranged into a panel.
    Panel(&'a [u32]),
    /// As they are stored, where the micro-kernel reads such.
    Rows(Rows<'a, bf16>),
}

/// Which factor a panel is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panels {
    /// Rows of the left factor.
    Left,
    /// Columns of the right factor.
    Right,
}

/// A stretch of the inner dimension.
pub struct Depth {
    /// Its elements.
    pub elements: Range<usize>,
    /// Its units; the last may be filled up with zeros.
    pub units: usize,
}

impl Depth {
    /// A stretch of units of `unit` elements.
    pub fn new(elements: Range<usize>, unit: usize) -> Self {
        let units = elements.len().div_ceil(unit).next_multiple_of(UNITS);
        Self { elements, units }
    }
}

/// Units of several stretches.
pub fn units(depths: &[Depth]) -> usize {
    depths.iter().map(|d| d.units).sum()
}
