//! What operations are told about tensors: shapes, and places in the flat buffers of a backend. All are `Copy`.
use serde::{Deserialize, Serialize};

/// `batch` sequences of `time` tokens: `batch · time` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// `B`.
    pub batch: usize,
    /// `T`.
    pub time: usize,
}

impl Shape {
    /// `B·T`.
    pub fn rows(self) -> usize {
        self.batch * self.time
    }
}

/// A tensor `[rows, cols]` of activations in the backend's arena (f32 on the CPU, bf16 on a GPU): row `i`
/// starts at element `offset + i·ld`. The rows come from the [`Shape`] of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// First element.
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
    /// First element.
    pub offset: usize,
    /// Values per row.
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
    /// First element.
    pub offset: usize,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub ld: usize,
}

/// A vector of `len` elements inside the flat buffers of weights and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// First element.
    pub offset: usize,
    /// Elements.
    pub len: usize,
}

/// Weight and bias of one LayerNorm, each `[C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Scale.
    pub weight: Vector,
    /// Shift.
    pub bias: Vector,
}

/// How a `[rows, 3C]` tensor holds queries, keys and values: per head `q[D], k[D], v[D]`, of which the first
/// `rotary` dimensions of q and k rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// `H`.
    pub count: usize,
    /// `D`.
    pub size: usize,
    /// Dimensions that rotate; even.
    pub rotary: usize,
}

/// The two forms of GELU in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gelu {
    /// `x/2 · (1 + erf(x/√2))`: Hugging Face's `gelu`, how Pythia is loaded there.
    Erf,
    /// `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))`: `gelu_new`, how Pythia was trained.
    Tanh,
}
