//! What each operation must move and compute at least: the yardstick of `benches/ops.rs` and of every kernel.
//!
//! Bytes count each input read once and each output written once; `e` is the size of an activation or weight
//! element (4 on the CPU). FLOPs count a multiplication and an addition as two, and nothing that is recomputed
//! unless it says so.
use super::{Heads, Shape};

/// Least traffic and work of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes read and written.
    pub bytes: f64,
    /// Floating-point operations; a multiplication and its addition are two.
    pub flops: f64,
}

impl Cost {
    pub(super) fn new(bytes: usize, flops: usize) -> Self {
        Self { bytes: bytes as f64, flops: flops as f64 }
    }

    /// The cost of doing both, one after the other.
    pub fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, flops: self.flops + other.flops }
    }

    pub(super) fn times(self, n: usize) -> Self {
        Self { bytes: self.bytes * n as f64, flops: self.flops * n as f64 }
    }
}

/// How a backend keeps what operations read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Bytes of an activation or of a weight that a product reads.
    pub element: usize,
    /// Whether GELU computed again rewrites what its backward needs.
    pub slope: bool,
}

impl Storage {
    /// Of the `cpu` backend.
    pub const F32: Self = Self { element: 4, slope: true };
    /// Of the `gpu` backend.
    pub const BF16: Self = Self { element: 2, slope: false };
}

/// Rows of the table in, `x` out.
pub fn embedding(s: Shape, channels: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (2 * channels * e + 4), 0)
}

/// `dx` in, the f32 gradient rows of the `distinct` tokens among them read and written.
pub fn embedding_bwd(s: Shape, channels: usize, distinct: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (channels * e + 4) + 8 * distinct * channels, s.rows() * channels)
}

/// `norms` outputs from one pass over `x`; mean and rstd are f32. 8 FLOPs an element and output.
pub fn layernorm(s: Shape, channels: usize, norms: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (channels * e * (1 + norms) + 8), 8 * norms * s.rows() * channels)
}

/// `x` and `norms` gradients in, `dx` read and written. 14 FLOPs an element and gradient.
pub fn layernorm_bwd(s: Shape, channels: usize, norms: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (channels * e * (3 + norms) + 8), 14 * norms * s.rows() * channels)
}

/// The second stage of a sum over rows: f32 sums over `chunks` of them, written by the first stage, read here, and
/// `cols` results, read as well when it accumulates.
pub fn sum_partials(chunks: usize, cols: usize, accumulate: bool) -> Cost {
    Cost::new(4 * cols * (2 * chunks + if accumulate { 2 } else { 1 }), chunks * cols)
}

/// `dy` in; its column sums are [`sum_partials`]'s.
pub fn bias_grad(s: Shape, cols: usize, e: usize) -> Cost {
    Cost::new(s.rows() * cols * e, s.rows() * cols)
}

/// [`super::Op::Copy`]: reads and writes `[rows, cols]` elements of `e` bytes.
pub fn copy(s: Shape, cols: usize, e: usize) -> Cost {
    Cost::new(2 * s.rows() * cols * e, 0)
}

/// [`super::Op::Zero`]: writes `[rows, cols]` elements of `e` bytes.
pub fn zero(s: Shape, cols: usize, e: usize) -> Cost {
    Cost::new(s.rows() * cols * e, 0)
}

/// Two inputs, one output.
pub fn residual_add(s: Shape, channels: usize, e: usize) -> Cost {
    Cost::new(3 * s.rows() * channels * e, s.rows() * channels)
}

/// Two f32 vectors of `cols` in, their sum in bf16 out, `pairs` times.
pub fn bias_sum(pairs: usize, cols: usize) -> Cost {
    Cost::new(10 * pairs * cols, pairs * cols)
}

/// From f32 to bf16 or back.
pub fn cast(elements: usize) -> Cost {
    Cost::new(6 * elements, 0)
}

/// `[rows, input]·[input, output]`, bias and residual excluded: they ride along.
pub fn linear(s: Shape, input: usize, output: usize, e: usize) -> Cost {
    let rows = s.rows();
    Cost::new(e * (rows * input + input * output + rows * output), 2 * rows * input * output)
}

/// The product, and what GELU's backward needs out beside `y`; GELU itself rides along.
pub fn linear_gelu(s: Shape, input: usize, inner: usize, e: usize) -> Cost {
    linear(s, input, inner, e).plus(Cost::new(s.rows() * inner * e, 0))
}

/// `dw` in f32, read and written when it accumulates.
pub fn linear_bwd_weight(s: Shape, input: usize, output: usize, e: usize, accumulate: bool) -> Cost {
    let rows = s.rows();
    let dw = 4 * input * output * if accumulate { 2 } else { 1 };
    Cost::new(e * rows * (input + output) + dw, 2 * rows * input * output)
}

/// A pass of its own (a GPU's): the product in and `y` out, and with the bias what the backward needs; 25 FLOPs an
/// element.
pub fn gelu(s: Shape, inner: usize, bias: bool, e: usize) -> Cost {
    Cost::new((2 + usize::from(bias)) * s.rows() * inner * e, 25 * s.rows() * inner)
}

/// The slope in, `dy` read and written.
pub fn gelu_bwd(s: Shape, inner: usize, e: usize) -> Cost {
    Cost::new(3 * s.rows() * inner * e, s.rows() * inner)
}

/// The rotating dimensions of q and k, read and written; a row's position, cosines and sines in f32.
pub fn rotary(s: Shape, heads: Heads, e: usize) -> Cost {
    let elements = s.rows() * heads.count * 2 * heads.rotary;
    Cost::new(2 * elements * e + s.rows() * (4 + 4 * heads.rotary), 3 * elements)
}

/// q, k, v in, `out` and the log-sum-exp out; two products at half of T².
pub fn attention(s: Shape, heads: Heads, e: usize) -> Cost {
    let channels = heads.count * heads.size;
    Cost::new(s.rows() * (4 * channels * e + 4 * heads.count), 2 * s.rows() * s.time * channels)
}

/// q, k, v, `out`, `dout` in, `dqkv` out; five products at half of T², the recomputed scores included.
pub fn attention_bwd(s: Shape, heads: Heads, e: usize) -> Cost {
    let channels = heads.count * heads.size;
    Cost::new(s.rows() * (8 * channels * e + 4 * heads.count), 5 * s.rows() * s.time * channels)
}

/// One query against the keys and values of `position + 1` rows.
pub fn attention_decode(heads: Heads, position: usize, e: usize) -> Cost {
    let (rows, channels) = (position + 1, heads.count * heads.size);
    Cost::new(2 * (rows + 1) * channels * e, 4 * rows * channels)
}

/// Logits in, their gradient in the same place. 5 FLOPs an element, the exponential counted as one.
pub fn cross_entropy(s: Shape, vocab: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (2 * vocab * e + 8), 5 * s.rows() * vocab)
}

/// The same of rows too long to be kept between the two passes.
pub fn cross_entropy_long(s: Shape, vocab: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (3 * vocab * e + 8), 5 * s.rows() * vocab)
}

/// The losses of logits `[rows, vocab]` of `e` bytes, without their gradients.
pub fn cross_entropy_fwd(s: Shape, vocab: usize, e: usize) -> Cost {
    Cost::new(s.rows() * (vocab * e + 8), 3 * s.rows() * vocab)
}

/// One f32 gradient in, the other read and written.
pub fn add_gradient(elements: usize) -> Cost {
    Cost::new(12 * elements, elements)
}

/// The norm of so many gradients in f32, each read once.
pub fn global_norm(elements: usize) -> Cost {
    Cost::new(4 * elements, 2 * elements)
}

/// f32 weights and moments read and written, f32 gradients in, a copy of the weights of `copy` bytes out (0: none). 13
/// FLOPs an element.
pub fn adamw(elements: usize, copy: usize) -> Cost {
    Cost::new((28 + copy) * elements, 13 * elements)
}

/// bf16 weights and moments read and written, f32 gradients in. `masters` of the elements have f32 weights that are read
/// and written, and the bf16 ones only written.
pub fn adamw_bf16(elements: usize, masters: usize) -> Cost {
    Cost::new(16 * elements + 6 * masters, 13 * elements)
}

/// The moving average of the weights in f32, read and written, and the weights in. 3 FLOPs an element.
pub fn ema(elements: usize) -> Cost {
    Cost::new(12 * elements, 3 * elements)
}

/// Random numbers of 4 bytes out.
pub fn philox(elements: usize) -> Cost {
    Cost::new(4 * elements, 0)
}
