//! What operations are told about tensors: shapes, and places in the flat buffers of a backend. All are `Copy`.
use crate::Result;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use strum::{Display, VariantNames};

/// Takes values piece by piece.
pub type Sink<'a> = &'a mut dyn FnMut(&[f32]) -> Result<()>;

/// Fills values with those from a row-major index on; asked by several threads at once, in any order.
pub type Source<'a> = &'a (dyn Fn(usize, &mut [f32]) -> Result<()> + Sync);

/// `batch` sequences of `time` tokens: `batch · time` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// `B`, the number of sequences.
    pub batch: usize,
    /// `T`, the number of tokens of each sequence.
    pub time: usize,
}

impl Shape {
    /// `B·T`, the number of rows of every activation.
    pub fn rows(self) -> usize {
        self.batch * self.time
    }
}

/// A tensor `[rows, cols]` of activations in the backend's arena (f32 on the CPU, bf16 on a GPU): row `i`
/// starts at element `offset + i·ld`. The rows come from the [`Shape`] of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// Index of its first element in the buffer of activations.
    pub offset: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub ld: usize,
}

impl Act {
    /// The same tensor from row `row` on.
    pub fn from_row(self, row: usize) -> Self {
        Self { offset: self.offset + row * self.ld, ..self }
    }

    /// Columns `first..first + cols` of it.
    pub fn columns(self, first: usize, cols: usize) -> Self {
        Self { offset: self.offset + first, cols, ld: self.ld }
    }
}

/// f32 values kept per row (LayerNorm's mean and rstd, attention's log-sum-exp, losses): `[rows, cols]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Index of its first element in the buffer of per-row values.
    pub offset: usize,
    /// Values per row: 1 for a loss, 2 for mean and deviation, `H` for attention.
    pub cols: usize,
}

impl Stat {
    /// The same tensor from row `row` on.
    pub fn from_row(self, row: usize) -> Self {
        Self { offset: self.offset + row * self.cols, ..self }
    }
}

/// A matrix `[rows, cols]` inside the flat buffers of weights and gradients, row `i` at `offset + i·ld`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Index of its first element in the flat buffers.
    pub offset: usize,
    /// Output features: rows of a weight as PyTorch stores it.
    pub rows: usize,
    /// Input features: columns of a weight as PyTorch stores it.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub ld: usize,
}

impl Matrix {
    /// One row of `len` elements.
    pub fn row(offset: usize, len: usize) -> Self {
        Self { offset, rows: 1, cols: len, ld: len }
    }

    /// Number of its elements, `rows·cols`.
    pub fn elements(self) -> usize {
        self.rows * self.cols
    }

    /// `len` elements of it from row-major index `first` on, in order: what is left of a row, whole rows, the beginning
    /// of one; all in one row where nothing lies between rows.
    pub fn blocks(self, first: usize, len: usize) -> impl Iterator<Item = Matrix> {
        let row_len = if self.ld == self.cols { self.elements() } else { self.cols };
        let (mut at, end) = (first, first + len);
        assert!(end <= self.elements(), "elements {at}..{end} of {self:?}");
        std::iter::from_fn(move || {
            if at == end {
                return None;
            }
            let (row, col) = (at / row_len, at % row_len);
            let (rows, cols) = match (end - at) / row_len {
                whole @ 1.. if col == 0 => (whole, row_len),
                _ => (1, (row_len - col).min(end - at)),
            };
            at += rows * cols;
            Some(Self { offset: self.offset + row * self.ld + col, rows, cols, ld: self.ld.max(cols) })
        })
    }

    /// From its first element to its last, with what lies between its rows.
    pub fn extent(self) -> Range<usize> {
        self.offset..self.offset + (self.rows - 1) * self.ld + self.cols
    }

    /// Where `len` elements from row-major index `first` on lie, in order: rows, or everything where nothing lies
    /// between them.
    pub fn stretches(self, first: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
        self.blocks(first, len).flat_map(|Self { offset, rows, cols, ld }| {
            (0..rows).map(move |row| offset + row * ld..offset + row * ld + cols)
        })
    }

    /// Hands the elements of it in a flat buffer to `sink`, in row-major order.
    pub fn lend(self, flat: &[f32], sink: Sink<'_>) -> Result<()> {
        self.stretches(0, self.elements()).try_for_each(|stretch| sink(&flat[stretch]))
    }

    /// Copies `values` to their places in a flat buffer, from row-major index `first` on.
    pub fn scatter(self, first: usize, values: &[f32], flat: &mut [f32]) {
        let mut left = values;
        for stretch in self.stretches(first, values.len()) {
            let (now, later) = left.split_at(stretch.len());
            flat[stretch].copy_from_slice(now);
            left = later;
        }
    }
}

/// A vector of `len` elements inside the flat buffers of weights and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Index of its first element in the flat buffers.
    pub offset: usize,
    /// Number of its elements.
    pub len: usize,
}

/// Weight and bias of one LayerNorm, each `[C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Scale `γ`, `[C]`.
    pub weight: Vector,
    /// Shift `β`, `[C]`.
    pub bias: Vector,
}

/// How a `[rows, 3C]` tensor holds queries, keys and values: per head `q[D], k[D], v[D]`, of which the first
/// `rotary` dimensions of q and k rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// `H`, the number of heads.
    pub count: usize,
    /// `D`, the elements of a head; `H·D = C`.
    pub size: usize,
    /// Dimensions that rotate; even.
    pub rotary: usize,
}

/// The two forms of GELU in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Gelu {
    /// `x/2 · (1 + erf(x/√2))`: Hugging Face's `gelu`, how Pythia is loaded there.
    Erf,
    /// `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))`: `gelu_new`, how Pythia was trained.
    Tanh,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At every beginning and length: the elements in their order, in three pieces at most.
    #[test]
    fn blocks_are_the_elements_in_order() {
        for (rows, cols, ld) in [(1, 7, 7), (4, 3, 3), (4, 3, 8), (1, 5, 9), (6, 1, 2)] {
            let matrix = Matrix { offset: 100, rows, cols, ld };
            let all: Vec<usize> = (0..rows * cols).map(|i| 100 + i / cols * ld + i % cols).collect();
            for (first, end) in (0..=all.len()).flat_map(|end| (0..=end).map(move |first| (first, end))) {
                let blocks: Vec<Matrix> = matrix.blocks(first, end - first).collect();
                assert!(blocks.len() <= if ld == cols { 1 } else { 3 }, "{blocks:?}");
                let row = |block: &Matrix, row: usize| {
                    let start = block.offset + row * block.ld;
                    start..start + block.cols
                };
                let found = blocks.iter().flat_map(|b| (0..b.rows).flat_map(move |r| row(b, r)));
                assert!(found.eq(all[first..end].iter().copied()), "{matrix:?} {first}..{end}");
                assert!(blocks.iter().all(|block| block.extent().end <= matrix.extent().end));
                assert!(matrix.stretches(first, end - first).flatten().eq(all[first..end].iter().copied()));
            }
        }
    }
}
