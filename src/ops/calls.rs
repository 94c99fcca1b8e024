//! Each operation as a call, which is how `model/` reads: `ops.linear(…)` issues an [`Op::Linear`].
use super::{Act, Gelu, Heads, Matrix, Norm, Op, Ops, Shape, Stat, Vector};

#[allow(
    clippy::too_many_arguments,
    reason = "the tensors of one fused operation, in the order of its variant"
)]
impl dyn Ops + '_ {
    /// Issues [`Op::Embedding`].
    pub fn embedding(&mut self, s: Shape, w: Matrix, x: Act) {
        self.issue(&Op::Embedding { s, w, x });
    }

    /// Issues [`Op::EmbeddingBwd`].
    pub fn embedding_bwd(&mut self, s: Shape, dx: Act, w: Matrix, accumulate: bool) {
        self.issue(&Op::EmbeddingBwd { s, dx, w, accumulate });
    }

    /// Issues [`Op::Zero`].
    pub fn zero(&mut self, s: Shape, x: Act) {
        self.issue(&Op::Zero { s, x });
    }

    /// Issues [`Op::Copy`].
    pub fn copy(&mut self, s: Shape, from: Act, to: Act) {
        self.issue(&Op::Copy { s, from, to });
    }

    /// Issues [`Op::LayerNorm`].
    pub fn layernorm(&mut self, s: Shape, x: Act, norm: Norm, y: Act, stats: Stat) {
        self.issue(&Op::LayerNorm { s, x, norm, y, stats });
    }

    /// Issues [`Op::LayerNormPair`].
    pub fn layernorm_pair(&mut self, s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat) {
        self.issue(&Op::LayerNormPair { s, x, norms, y, stats });
    }

    /// Issues [`Op::LayerNormBwd`].
    pub fn layernorm_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norm: Norm,
        dy: Act,
        dx: Act,
        accumulate: bool,
    ) {
        self.issue(&Op::LayerNormBwd { s, x, stats, norm, dy, dx, accumulate });
    }

    /// Issues [`Op::LayerNormPairBwd`].
    pub fn layernorm_pair_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norms: [Norm; 2],
        dy: [Act; 2],
        dx: Act,
        accumulate: bool,
    ) {
        self.issue(&Op::LayerNormPairBwd { s, x, stats, norms, dy, dx, accumulate });
    }

    /// Issues [`Op::Linear`].
    pub fn linear(
        &mut self,
        s: Shape,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        residual: Option<Act>,
        y: Act,
    ) {
        self.issue(&Op::Linear { s, x, w, bias, residual, y });
    }

    /// Issues [`Op::LinearGelu`].
    pub fn linear_gelu(
        &mut self,
        s: Shape,
        x: Act,
        w: Matrix,
        bias: Vector,
        gelu: Gelu,
        saved: Act,
        y: Act,
        again: bool,
    ) {
        self.issue(&Op::LinearGelu { s, x, w, bias, gelu, saved, y, again });
    }

    /// Issues [`Op::GeluAgain`].
    pub fn gelu_again(&mut self, s: Shape, gelu: Gelu, saved: Act, y: Act) {
        self.issue(&Op::GeluAgain { s, gelu, saved, y });
    }

    /// Issues [`Op::GeluBwd`].
    pub fn gelu_bwd(&mut self, s: Shape, gelu: Gelu, saved: Act, dy: Act) {
        self.issue(&Op::GeluBwd { s, gelu, saved, dy });
    }

    /// Issues [`Op::LinearBwdInput`].
    pub fn linear_bwd_input(&mut self, s: Shape, dy: Act, w: Matrix, dx: Act) {
        self.issue(&Op::LinearBwdInput { s, dy, w, dx });
    }

    /// Issues [`Op::LinearBwdWeight`].
    pub fn linear_bwd_weight(
        &mut self,
        s: Shape,
        dy: Act,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        accumulate: bool,
    ) {
        self.issue(&Op::LinearBwdWeight { s, dy, x, w, bias, accumulate });
    }

    /// Issues [`Op::Rotary`].
    pub fn rotary(&mut self, s: Shape, heads: Heads, qkv: Act, first: usize) {
        self.issue(&Op::Rotary { s, heads, qkv, first });
    }

    /// Issues [`Op::Attention`].
    pub fn attention(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat) {
        self.issue(&Op::Attention { s, heads, qkv, out, lse });
    }

    /// Issues [`Op::AttentionBwd`].
    pub fn attention_bwd(
        &mut self,
        s: Shape,
        heads: Heads,
        qkv: Act,
        out: Act,
        lse: Stat,
        dout: Act,
        dqkv: Act,
    ) {
        self.issue(&Op::AttentionBwd { s, heads, qkv, out, lse, dout, dqkv });
    }

    /// Issues [`Op::AttentionDecode`].
    pub fn attention_decode(&mut self, heads: Heads, qkv: Act, position: usize, out: Act) {
        self.issue(&Op::AttentionDecode { heads, qkv, position, out });
    }

    /// Issues [`Op::CrossEntropy`].
    pub fn cross_entropy(&mut self, s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool) {
        self.issue(&Op::CrossEntropy { s, logits, first_row, loss, gradient });
    }

    /// Issues [`Op::AddGradient`].
    pub fn add_gradient(&mut self, from: Matrix, to: Matrix) {
        self.issue(&Op::AddGradient { from, to });
    }
}
