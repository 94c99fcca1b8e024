//! An operation of the vocabulary, as a value: a backend is handed one and computes it. What it costs, reads and
//! writes are functions of it, so profiling, predictions and the rounded reference are, too.
use super::cost::{self, Cost, Storage};
use super::{Act, Gelu, Heads, Matrix, Norm, Shape, Stat, Vector};

/// One fused operation. Weights and gradients lie in flat buffers at the same [`Matrix`] or [`Vector`]; gradients are
/// overwritten when `accumulate` is false and added to otherwise.
///
/// Every one is defined so that a row's result depends on its own sequence only, and every gradient is a sum over
/// sequences in sample order.
#[allow(missing_docs, reason = "the line of a variant says what its fields are")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// `x[i] = w[token[i]]`, `x [rows, C]`.
    Embedding { s: Shape, w: Matrix, x: Act },
    /// `dw[token[i]] += dx[i]`, in order of `i`.
    EmbeddingBwd { s: Shape, dx: Act, w: Matrix, accumulate: bool },
    /// `x = 0`.
    Zero { s: Shape, x: Act },
    /// `to = from`, of equally many columns.
    Copy { s: Shape, from: Act, to: Act },

    /// `y = (x - mean)·rstd·weight + bias`; keeps mean and rstd in `stats [rows, 2]`. Ba et al. 2016, arXiv:1607.06450.
    LayerNorm { s: Shape, x: Act, norm: Norm, y: Act, stats: Stat },
    /// Both norms of the parallel residual: they share one pass over `x` and its statistics.
    LayerNormPair { s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat },
    /// `dx += d layernorm`, and the gradients of weight and bias.
    LayerNormBwd { s: Shape, x: Act, stats: Stat, norm: Norm, dy: Act, dx: Act, accumulate: bool },
    /// `dx +=` both, in one pass.
    LayerNormPairBwd {
        s: Shape,
        x: Act,
        stats: Stat,
        norms: [Norm; 2],
        dy: [Act; 2],
        dx: Act,
        accumulate: bool,
    },

    /// `y = [residual +] x·wᵀ [+ bias₀ + bias₁]`.
    Linear { s: Shape, x: Act, w: Matrix, bias: [Option<Vector>; 2], residual: Option<Act>, y: Act },
    /// `y = gelu(x·wᵀ + bias)`; `saved` is what [`Op::GeluBwd`] needs or, with `again`, [`Op::GeluAgain`], of the
    /// backend's choosing.
    LinearGelu { s: Shape, x: Act, w: Matrix, bias: Vector, gelu: Gelu, saved: Act, y: Act, again: bool },
    /// `y` of a [`Op::LinearGelu`] with `again`, the same bits; `saved` becomes what [`Op::GeluBwd`] needs.
    GeluAgain { s: Shape, gelu: Gelu, saved: Act, y: Act },
    /// `dy *= gelu'`, in place.
    GeluBwd { s: Shape, gelu: Gelu, saved: Act, dy: Act },
    /// `dx = dy·w`.
    LinearBwdInput { s: Shape, dy: Act, w: Matrix, dx: Act },
    /// `dw += dyᵀ·x` and `db += Σ dy` for each bias, sequence by sequence.
    LinearBwdWeight { s: Shape, dy: Act, x: Act, w: Matrix, bias: [Option<Vector>; 2], accumulate: bool },

    /// Rotates the first `heads.rotary` dimensions of q and k in place; row `t` of a sequence is at position
    /// `first + t`. Su et al. 2021, arXiv:2104.09864, half-split pairs as in GPT-NeoX.
    Rotary { s: Shape, heads: Heads, qkv: Act, first: usize },
    /// Causal softmax attention with scale `1/√D`, `out [rows, C]`; keeps the log-sum-exp per row and head.
    Attention { s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat },
    /// Gradient of [`Op::Attention`] and of the rotation before it (from position 0) into `dqkv`, in the interleaved
    /// layout.
    AttentionBwd { s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat, dout: Act, dqkv: Act },
    /// One query against a cache: rows `0..=position` of `qkv` hold keys and values, row `position` the query; `out` is
    /// one row.
    AttentionDecode { heads: Heads, qkv: Act, position: usize, out: Act },

    /// Softmax cross-entropy of rows of logits against the targets from row `first_row` of the batch on: `loss[i]` (0
    /// where ignored), and, with `gradient`, the logits replaced by `(softmax - onehot)·scale·weight`. A target of
    /// negative weight is not to be predicted: `loss[i] = -ln(1 - p)` of its probability `p`, and the gradient that of it
    /// times the weight's size (Welleck et al. 2020, arXiv:1908.04319); `1 - p` counts as 10⁻⁵ at least.
    CrossEntropy { s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool },
    /// Adds the tied output matrix's gradient to the embedding's, once per step.
    AddGradient { from: Matrix, to: Matrix },
}

/// Up to four activations, in order.
type Acts = std::iter::Flatten<std::array::IntoIter<Option<Act>, 4>>;

fn acts<const N: usize>(given: [Option<Act>; N]) -> Acts {
    let mut all = [None; 4];
    all[..N].copy_from_slice(&given);
    all.into_iter().flatten()
}

impl Op {
    /// As profiles and benchmarks call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedding { .. } => "embedding",
            Self::EmbeddingBwd { .. } => "embedding_bwd",
            Self::Zero { .. } => "zero",
            Self::Copy { .. } => "copy",
            Self::LayerNorm { .. } => "layernorm",
            Self::LayerNormPair { .. } => "layernorm_pair",
            Self::LayerNormBwd { .. } => "layernorm_bwd",
            Self::LayerNormPairBwd { .. } => "layernorm_pair_bwd",
            Self::Linear { .. } => "linear",
            Self::LinearGelu { .. } => "linear_gelu",
            Self::GeluAgain { .. } => "gelu_again",
            Self::GeluBwd { .. } => "gelu_bwd",
            Self::LinearBwdInput { .. } => "linear_bwd_input",
            Self::LinearBwdWeight { .. } => "linear_bwd_weight",
            Self::Rotary { .. } => "rotary",
            Self::Attention { .. } => "attention",
            Self::AttentionBwd { .. } => "attention_bwd",
            Self::AttentionDecode { .. } => "attention_decode",
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::AddGradient { .. } => "add_gradient",
        }
    }

    /// The shape whose rows the activations have that it writes; none where it writes no activation.
    pub fn shape(&self) -> Option<Shape> {
        match *self {
            Self::Embedding { s, .. }
            | Self::EmbeddingBwd { s, .. }
            | Self::Zero { s, .. }
            | Self::Copy { s, .. }
            | Self::LayerNorm { s, .. }
            | Self::LayerNormPair { s, .. }
            | Self::LayerNormBwd { s, .. }
            | Self::LayerNormPairBwd { s, .. }
            | Self::Linear { s, .. }
            | Self::LinearGelu { s, .. }
            | Self::GeluAgain { s, .. }
            | Self::GeluBwd { s, .. }
            | Self::LinearBwdInput { s, .. }
            | Self::LinearBwdWeight { s, .. }
            | Self::Rotary { s, .. }
            | Self::Attention { s, .. }
            | Self::AttentionBwd { s, .. }
            | Self::CrossEntropy { s, .. } => Some(s),
            Self::AttentionDecode { .. } => Some(Shape { batch: 1, time: 1 }),
            Self::AddGradient { .. } => None,
        }
    }

    /// The matrix that it multiplies with, or whose gradient it computes by a product.
    pub fn matrix(&self) -> Option<Matrix> {
        match *self {
            Self::Linear { w, .. }
            | Self::LinearGelu { w, .. }
            | Self::LinearBwdInput { w, .. }
            | Self::LinearBwdWeight { w, .. } => Some(w),
            _ => None,
        }
    }

    /// The activations that it reads.
    pub fn reads(&self) -> Acts {
        match *self {
            Self::Embedding { .. } | Self::Zero { .. } | Self::AddGradient { .. } => acts([]),
            Self::EmbeddingBwd { dx, .. } => acts([Some(dx)]),
            Self::Copy { from, .. } => acts([Some(from)]),
            Self::LayerNorm { x, .. } | Self::LayerNormPair { x, .. } => acts([Some(x)]),
            Self::LayerNormBwd { x, dy, dx, .. } => acts([Some(x), Some(dy), Some(dx)]),
            Self::LayerNormPairBwd { x, dy, dx, .. } => acts([Some(x), Some(dy[0]), Some(dy[1]), Some(dx)]),
            Self::Linear { x, residual, .. } => acts([Some(x), residual]),
            Self::LinearGelu { x, .. } => acts([Some(x)]),
            Self::GeluAgain { saved, .. } => acts([Some(saved)]),
            Self::GeluBwd { saved, dy, .. } => acts([Some(saved), Some(dy)]),
            Self::LinearBwdInput { dy, .. } => acts([Some(dy)]),
            Self::LinearBwdWeight { dy, x, .. } => acts([Some(dy), Some(x)]),
            Self::Rotary { qkv, .. } | Self::Attention { qkv, .. } | Self::AttentionDecode { qkv, .. } => {
                acts([Some(qkv)])
            }
            Self::AttentionBwd { qkv, out, dout, .. } => acts([Some(qkv), Some(out), Some(dout)]),
            Self::CrossEntropy { logits, .. } => acts([Some(logits)]),
        }
    }

    /// The activations that it writes, those in place included.
    pub fn writes(&self) -> Acts {
        match *self {
            Self::Embedding { x, .. } | Self::Zero { x, .. } => acts([Some(x)]),
            Self::Copy { to, .. } => acts([Some(to)]),
            Self::LayerNorm { y, .. } | Self::Linear { y, .. } => acts([Some(y)]),
            Self::LayerNormPair { y, .. } => acts([Some(y[0]), Some(y[1])]),
            Self::LayerNormBwd { dx, .. }
            | Self::LayerNormPairBwd { dx, .. }
            | Self::LinearBwdInput { dx, .. } => acts([Some(dx)]),
            Self::LinearGelu { saved, y, .. } | Self::GeluAgain { saved, y, .. } => {
                acts([Some(saved), Some(y)])
            }
            Self::GeluBwd { dy, .. } => acts([Some(dy)]),
            Self::Rotary { qkv, .. } => acts([Some(qkv)]),
            Self::Attention { out, .. } | Self::AttentionDecode { out, .. } => acts([Some(out)]),
            Self::AttentionBwd { dqkv, .. } => acts([Some(dqkv)]),
            Self::CrossEntropy { logits, gradient, .. } => acts([gradient.then_some(logits)]),
            Self::EmbeddingBwd { .. } | Self::LinearBwdWeight { .. } | Self::AddGradient { .. } => acts([]),
        }
    }

    /// All of them, each once: those that it reads, then what else it writes.
    pub fn acts(&self) -> Vec<Act> {
        let mut all: Vec<Act> = self.reads().collect();
        all.extend(self.writes().filter(|written| self.reads().all(|read| read != *written)));
        all
    }

    /// What it must move and compute at least. Of an embedding's gradient: where as many tokens are different as can be.
    pub fn cost(&self, storage: Storage) -> Cost {
        let e = storage.element;
        match *self {
            Self::Embedding { s, x, .. } => cost::embedding(s, x.cols, e),
            Self::EmbeddingBwd { s, dx, w, .. } => cost::embedding_bwd(s, dx.cols, s.rows().min(w.rows), e),
            Self::Zero { s, x } => cost::zero(s, x.cols, e),
            Self::Copy { s, to, .. } => cost::copy(s, to.cols, e),
            Self::LayerNorm { s, x, .. } => cost::layernorm(s, x.cols, 1, e),
            Self::LayerNormPair { s, x, .. } => cost::layernorm(s, x.cols, 2, e),
            Self::LayerNormBwd { s, x, .. } => cost::layernorm_bwd(s, x.cols, 1, e),
            Self::LayerNormPairBwd { s, x, .. } => cost::layernorm_bwd(s, x.cols, 2, e),
            Self::Linear { s, w, .. } => cost::linear(s, w.cols, w.rows, e),
            Self::LinearGelu { s, w, .. } => cost::linear_gelu(s, w.cols, w.rows, e),
            Self::GeluAgain { s, y, .. } => cost::gelu(s, y.cols, storage.slope, e),
            Self::GeluBwd { s, dy, .. } => cost::gelu_bwd(s, dy.cols, e),
            Self::LinearBwdInput { s, w, .. } => cost::linear(s, w.rows, w.cols, e),
            Self::LinearBwdWeight { s, w, accumulate, .. } => {
                cost::linear_bwd_weight(s, w.cols, w.rows, e, accumulate)
            }
            Self::Rotary { s, heads, .. } => cost::rotary(s, heads, e),
            Self::Attention { s, heads, .. } => cost::attention(s, heads, e),
            Self::AttentionBwd { s, heads, .. } => cost::attention_bwd(s, heads, e),
            Self::AttentionDecode { heads, position, .. } => cost::attention_decode(heads, position, e),
            Self::CrossEntropy { s, logits, gradient: true, .. } => cost::cross_entropy(s, logits.cols, e),
            Self::CrossEntropy { s, logits, .. } => cost::cross_entropy_fwd(s, logits.cols, e),
            Self::AddGradient { from, .. } => cost::add_gradient(from.rows * from.cols),
        }
    }
}
