//! The loss with its gradient, and the backward pass.
use super::{GradActs, Layer, LayerActs, Model, Pass, Rebuild, Workspace};
use crate::ops::{Act, Matrix, Ops, Shape, Vector};

const NO_BIAS: [Option<Vector>; 2] = [None, None];

impl Model {
    /// Loss of every row and, times the batch's scale, the gradient of every trained parameter. `accumulate` is false for
    /// the first micro-batch of a step, whose gradients replace the old ones.
    pub fn loss_and_gradient(&self, ops: &mut dyn Ops, ws: &Workspace, s: Shape, accumulate: bool) {
        let grads = ws.grads.as_ref().expect("a workspace for training");
        self.head(ops, ws, grads, s, accumulate);
        if !self.trained.up_to(self.table.final_norm.bias) {
            return;
        }
        let x = ws.layers[ws.layers.len() - 1].next;
        ops.zero(s, grads.x);
        ops.layernorm_bwd(s, x, ws.last_stats, self.table.final_norm, grads.norm_attn, grads.x, accumulate);
        for (layer, acts) in self.table.layers.iter().zip(&ws.layers).rev() {
            if !self.trained.up_to(layer.down_bias) {
                return;
            }
            self.rebuild(ops, layer, acts, s);
            match acts.mid {
                None => self.block_parallel_bwd(ops, layer, acts, grads, s, accumulate),
                Some(_) => self.block_sequential_bwd(ops, layer, acts, grads, s, accumulate),
            }
        }
        if self.trained.any(self.table.embed, NO_BIAS) {
            ops.embedding_bwd(s, grads.x, self.table.embed, accumulate);
        }
    }

    /// Each chunk of logits is turned into its gradient in place and used up at once: nothing is recomputed and
    /// only one chunk exists.
    fn head(&self, ops: &mut dyn Ops, ws: &Workspace, g: &GradActs, s: Shape, accumulate: bool) {
        let (head, head_grad) = (self.table.head, self.table.head_grad);
        for (i, (row, chunk)) in ws.chunks(s).into_iter().enumerate() {
            let last = ws.last.from_row(row);
            ops.linear(chunk, last, head, NO_BIAS, None, ws.logits);
            ops.cross_entropy(chunk, ws.logits, row, ws.loss.from_row(row), true);
            if self.trained.any(head, NO_BIAS) {
                ops.linear_bwd_weight(chunk, ws.logits, last, head_grad, NO_BIAS, accumulate || i > 0);
            }
            if self.trained.up_to(self.table.final_norm.bias) {
                ops.linear_bwd_input(chunk, ws.logits, head, g.norm_attn.from_row(row));
            }
        }
    }

    /// The gradient of a matrix and of its biases, from those of its outputs and its inputs, unless all of them are frozen.
    fn weight_bwd(
        &self,
        ops: &mut dyn Ops,
        s: Shape,
        [dy, x]: [Act; 2],
        w: Matrix,
        bias: [Option<Vector>; 2],
        acc: bool,
    ) {
        if self.trained.any(w, bias) {
            ops.linear_bwd_weight(s, dy, x, w, bias, acc);
        }
    }

    /// Puts back what other blocks have overwritten since this one's forward: the same operations, so the same bits.
    fn rebuild(&self, ops: &mut dyn Ops, p: &Layer, a: &LayerActs, s: Shape) {
        match a.rebuild {
            Rebuild::Nothing => {}
            Rebuild::Outputs { attn } => {
                match a.mid {
                    None => {
                        let (norms, y) = ([p.norm_attn, p.norm_mlp], [a.norm_attn, a.norm_mlp]);
                        ops.layernorm_pair(s, a.x, norms, y, a.stats);
                    }
                    Some((mid, mid_stats)) => {
                        ops.layernorm(s, a.x, p.norm_attn, a.norm_attn, a.stats);
                        ops.layernorm(s, mid, p.norm_mlp, a.norm_mlp, mid_stats);
                    }
                }
                ops.copy(s, attn, a.attn);
                ops.gelu_again(s, self.config.gelu, a.saved, a.gelu);
            }
            Rebuild::Block => self.inner(ops, p, a, s, Pass::Sequences),
        }
    }

    fn block_parallel_bwd(
        &self,
        ops: &mut dyn Ops,
        p: &Layer,
        a: &LayerActs,
        g: &GradActs,
        s: Shape,
        acc: bool,
    ) {
        self.weight_bwd(ops, s, [g.x, a.cat], p.out, [p.dense_bias, Some(p.down_bias)], acc);
        ops.linear_bwd_input(s, g.x, p.out, g.cat);
        self.attend_bwd(ops, p, a, g, s, acc);
        self.mlp_bwd(ops, p, a, g, s, acc);
        let norms = [p.norm_attn, p.norm_mlp];
        ops.layernorm_pair_bwd(s, a.x, a.stats, norms, [g.norm_attn, g.norm_mlp], g.x, acc);
    }

    fn block_sequential_bwd(
        &self,
        ops: &mut dyn Ops,
        p: &Layer,
        a: &LayerActs,
        g: &GradActs,
        s: Shape,
        acc: bool,
    ) {
        let (mid, mid_stats) = a.mid.expect("a sequential block keeps its middle");
        let (d_attn, d_gelu) = (g.cat.columns(0, a.attn.cols), g.cat.columns(a.attn.cols, a.gelu.cols));
        self.weight_bwd(ops, s, [g.x, a.gelu], p.down, [Some(p.down_bias), None], acc);
        ops.linear_bwd_input(s, g.x, p.down, d_gelu);
        self.mlp_bwd(ops, p, a, g, s, acc);
        ops.layernorm_bwd(s, mid, mid_stats, p.norm_mlp, g.norm_mlp, g.x, acc);
        self.weight_bwd(ops, s, [g.x, a.attn], p.dense, [p.dense_bias, None], acc);
        ops.linear_bwd_input(s, g.x, p.dense, d_attn);
        self.attend_bwd(ops, p, a, g, s, acc);
        ops.layernorm_bwd(s, a.x, a.stats, p.norm_attn, g.norm_attn, g.x, acc);
    }

    /// From the gradient of attention's output to that of `norm_attn`.
    fn attend_bwd(&self, ops: &mut dyn Ops, p: &Layer, a: &LayerActs, g: &GradActs, s: Shape, acc: bool) {
        let d_attn = g.cat.columns(0, a.attn.cols);
        ops.attention_bwd(s, self.heads, a.qkv, a.attn, a.lse, d_attn, g.qkv);
        self.weight_bwd(ops, s, [g.qkv, a.norm_attn], p.qkv, [p.qkv_bias, None], acc);
        ops.linear_bwd_input(s, g.qkv, p.qkv, g.norm_attn);
    }

    /// From the gradient of GELU's output to that of `norm_mlp`.
    fn mlp_bwd(&self, ops: &mut dyn Ops, p: &Layer, a: &LayerActs, g: &GradActs, s: Shape, acc: bool) {
        let d_gelu = g.cat.columns(a.attn.cols, a.gelu.cols);
        ops.gelu_bwd(s, self.config.gelu, a.saved, d_gelu);
        self.weight_bwd(ops, s, [d_gelu, a.norm_mlp], p.up, [Some(p.up_bias), None], acc);
        ops.linear_bwd_input(s, d_gelu, p.up, g.norm_mlp);
    }

    /// After the last micro-batch of a step.
    pub fn finish_gradient(&self, ops: &mut dyn Ops) {
        if self.table.head_grad != self.table.head && self.trained.any(self.table.embed, NO_BIAS) {
            ops.add_gradient(self.table.head_grad, self.table.embed);
        }
    }
}
