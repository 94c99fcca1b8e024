//! The activations of a model by name, and which of them are kept until the backward pass.
use crate::ops::{Act, Stat};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

/// What a workspace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward and backward, with so much kept for the latter.
    Train(Recompute),
    /// Forward only: layers share their buffers.
    Evaluate,
    /// Forward only, one token after the other: layers share all but their keys and values.
    Generate,
}

/// What the backward pass computes again rather than keep from the forward pass, by the same operations on the same
/// numbers: gradients are equal in bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Recompute {
    /// Nothing: every block keeps what its backward needs.
    #[default]
    None,
    /// The outputs of the norms and of GELU, which are cheap to compute and together half of what is kept.
    Cheap,
    /// Each block but its output product: only the residual stream is kept.
    Block,
}

impl Recompute {
    /// From the most memory to the least.
    pub const ALL: [Self; 3] = [Self::None, Self::Cheap, Self::Block];
}

/// What the backward of one block computes first, because other blocks have overwritten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// Nothing: its buffers are its own, or it is the last block, whose forward came right before.
    Nothing,
    /// The outputs of norms and GELU, beside which attention's output is put back.
    Outputs {
        /// Copy of [`LayerActs::attn`], `[R, C]`.
        attn: Act,
    },
    /// All that comes before its output product.
    Block,
}

/// The tensors of one block; `R = B·T` rows each. Blocks share those that [`Rebuild`] computes again.
#[derive(Clone, Copy, Debug)]
pub struct LayerActs {
    /// Residual stream going in, `[R, C]`.
    pub x: Act,
    /// Output of `input_layernorm`, `[R, C]`.
    pub norm_attn: Act,
    /// Output of `post_attention_layernorm`, `[R, C]`.
    pub norm_mlp: Act,
    /// Mean and rstd of `x`, `[R, 2]`.
    pub stats: Stat,
    /// Sequential residual only: the stream after attention, `[R, C]`, and its mean and rstd.
    pub mid: Option<(Act, Stat)>,
    /// Rotated queries and keys, and values, `[R, 3C]`.
    pub qkv: Act,
    /// `[attention | GELU]`, `[R, C+F]`: the input of the block's output matrix.
    pub cat: Act,
    /// The first `C` columns of `cat`.
    pub attn: Act,
    /// The last `F` columns of `cat`.
    pub gelu: Act,
    /// What GELU's backward needs, `[R, F]`, or what that is computed from where it is rebuilt.
    pub saved: Act,
    /// Log-sum-exp of the attention scores, `[R, H]`.
    pub lse: Stat,
    /// Residual stream going out, `[R, C]`; the next block's `x`.
    pub next: Act,
    /// What is not there any more when its backward begins.
    pub rebuild: Rebuild,
}

/// Gradients of activations, shared by all blocks.
#[derive(Clone, Copy, Debug)]
pub struct GradActs {
    /// Of the residual stream, `[R, C]`.
    pub x: Act,
    /// Of `cat`, `[R, C+F]`.
    pub cat: Act,
    /// Of `qkv`, `[R, 3C]`.
    pub qkv: Act,
    /// Of `norm_attn`, and of the final norm's output, `[R, C]`.
    pub norm_attn: Act,
    /// Of `norm_mlp`, `[R, C]`.
    pub norm_mlp: Act,
}
