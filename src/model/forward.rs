//! The forward pass, written once for training, evaluation and generation.
use super::{Layer, LayerActs, Model, Rebuild, Workspace};
use crate::ops::{Ops, Shape};

/// How attention sees the rows of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Whole sequences, each from position 0.
    Sequences,
    /// One token at this position; the keys and values before it are in the workspace.
    Token(usize),
}

impl Model {
    /// From the tokens of the batch to the output of the final norm.
    pub fn forward(&self, ops: &mut dyn Ops, ws: &Workspace, s: Shape, pass: Pass) {
        ops.embedding(s, self.table.embed, ws.layers[0].x);
        for (layer, acts) in self.table.layers.iter().zip(&ws.layers) {
            self.block(ops, layer, acts, s, pass);
        }
        let x = ws.layers[ws.layers.len() - 1].next;
        ops.layernorm(s, x, self.table.final_norm, ws.last, ws.last_stats);
    }

    fn block(&self, ops: &mut dyn Ops, p: &Layer, a: &LayerActs, s: Shape, pass: Pass) {
        self.inner(ops, p, a, s, pass);
        match a.mid {
            // Both outputs in one product.
            None => ops.linear(s, a.cat, p.out, [p.dense_bias, Some(p.down_bias)], Some(a.x), a.next),
            Some((mid, _)) => ops.linear(s, a.gelu, p.down, [Some(p.down_bias), None], Some(mid), a.next),
        }
    }

    /// A block up to its output product: all that its backward reads.
    pub(super) fn inner(&self, ops: &mut dyn Ops, p: &Layer, a: &LayerActs, s: Shape, pass: Pass) {
        match a.mid {
            // x + attn(ln1(x)) + mlp(ln2(x)): both inputs from one pass.
            None => {
                ops.layernorm_pair(s, a.x, [p.norm_attn, p.norm_mlp], [a.norm_attn, a.norm_mlp], a.stats);
                self.attend(ops, p, a, s, pass);
            }
            // h = x + attn(ln1(x)); h + mlp(ln2(h))
            Some((mid, mid_stats)) => {
                ops.layernorm(s, a.x, p.norm_attn, a.norm_attn, a.stats);
                self.attend(ops, p, a, s, pass);
                ops.linear(s, a.attn, p.dense, [p.dense_bias, None], Some(a.x), mid);
                ops.layernorm(s, mid, p.norm_mlp, a.norm_mlp, mid_stats);
            }
        }
        let again = matches!(a.rebuild, Rebuild::Outputs { .. });
        ops.linear_gelu(s, a.norm_mlp, p.up, p.up_bias, self.config.gelu, a.saved, a.gelu, again);
    }

    fn attend(&self, ops: &mut dyn Ops, p: &Layer, a: &LayerActs, s: Shape, pass: Pass) {
        let first = match pass {
            Pass::Sequences => 0,
            Pass::Token(position) => position,
        };
        let qkv = a.qkv.from_row(first);
        ops.linear(s, a.norm_attn, p.qkv, [p.qkv_bias, None], None, qkv);
        ops.rotary(s, self.heads, qkv, first);
        match pass {
            Pass::Sequences => ops.attention(s, self.heads, a.qkv, a.attn, a.lse),
            Pass::Token(position) => ops.attention_decode(self.heads, a.qkv, position, a.attn),
        }
        if let Rebuild::Outputs { attn } = a.rebuild {
            ops.copy(s, a.attn, attn);
        }
    }

    /// Logits of one row of the last forward pass, in the first row of the workspace's logits.
    pub fn logits(&self, ops: &mut dyn Ops, ws: &Workspace, row: usize) {
        let one = Shape { batch: 1, time: 1 };
        ops.linear(one, ws.last.from_row(row), self.table.head, [None, None], None, ws.logits);
    }

    /// Loss of every row of the last forward pass, chunk by chunk of logits.
    pub fn loss(&self, ops: &mut dyn Ops, ws: &Workspace, s: Shape) {
        for (row, chunk) in ws.chunks(s) {
            ops.linear(chunk, ws.last.from_row(row), self.table.head, [None, None], None, ws.logits);
            ops.cross_entropy(chunk, ws.logits, row, ws.loss.from_row(row), false);
        }
    }
}
