//! The naive bf16 model: the cpu backend, with every weight of a product and every result that a GPU keeps in bf16
//! rounded once, where its operation ends; and how far from the exact one a GPU's gradients may be because of it.
use super::judge::{Judgement, bf16s};
use crate::Result;
use crate::backend::cpu::Cpu;
use crate::model::{Gelu, Matrix, Model, Norm, Param, Vector};
use crate::ops::{Act, AdamParam, Heads, LoadState, Ops, Outcome, Shape, Stat, State, Update, Work};
use crate::reference::measure::{distance, length};
use crate::reference::ops::gelu;
use std::borrow::Cow;

/// Relative error of any tensor's gradient: bf16 has 8 bits, and errors of two layers add up.
const GRADIENT_BOUND: f64 = 2e-2;

/// Every tensor's gradient of a step: its relative error may be 2e-2, and twice that of the naive model.
pub fn judge_gradients(model: &Model, found: &[f32], naive: &[f32], exact: &[f32]) -> Vec<Judgement> {
    let judge = |p: &Param| {
        let [found, naive, exact] = [found, naive, exact].map(|all| p.gather(all));
        let error = |of: &[f32]| distance(of, &exact) / length(&exact);
        let bound = GRADIENT_BOUND.min(2.0 * error(&naive));
        Judgement { what: p.name.clone(), error: error(&found), bound }
    };
    model.table.params.iter().map(judge).collect()
}

/// The backend that rounds.
pub struct Rounded(pub Cpu);

/// The weights as the products see them: norms stay f32.
pub fn rounded_weights(model: &Model, weights: &[f32]) -> Vec<f32> {
    let mut w = weights.to_vec();
    for p in
        model.table.params.iter().filter(|p| !p.name.contains("layernorm") && !p.name.contains("layer_norm"))
    {
        p.scatter(&bf16s(&p.gather(&w)), &mut w);
    }
    w
}

impl Rounded {
    fn round(&mut self, s: Shape, acts: &[Act]) {
        for &act in acts {
            let values = self.values(s, act);
            self.0.write_act(act, &bf16s(&values));
        }
    }

    fn values(&mut self, s: Shape, act: Act) -> Vec<f32> {
        self.0.read_act(act, s.rows()).expect("memory of this process")
    }
}

impl Ops for Rounded {
    fn set_batch(&mut self, tokens: &[i32], targets: &[i32], scale: f32) {
        self.0.set_batch(tokens, targets, scale);
    }
    fn perform(&mut self, _: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        body(self);
    }
    fn embedding(&mut self, s: Shape, w: Matrix, x: Act) {
        self.0.embedding(s, w, x);
        self.round(s, &[x]);
    }
    fn zero(&mut self, s: Shape, x: Act) {
        self.0.zero(s, x);
    }
    fn embedding_bwd(&mut self, s: Shape, dx: Act, w: Matrix, accumulate: bool) {
        self.0.embedding_bwd(s, dx, w, accumulate);
    }
    fn layernorm(&mut self, s: Shape, x: Act, norm: Norm, y: Act, stats: Stat) {
        self.0.layernorm(s, x, norm, y, stats);
        self.round(s, &[y]);
    }
    fn layernorm_pair(&mut self, s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat) {
        self.0.layernorm_pair(s, x, norms, y, stats);
        self.round(s, &y);
    }
    fn layernorm_bwd(&mut self, s: Shape, x: Act, stats: Stat, norm: Norm, dy: Act, dx: Act, acc: bool) {
        self.0.layernorm_bwd(s, x, stats, norm, dy, dx, acc);
        self.round(s, &[dx]);
    }
    fn layernorm_pair_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norms: [Norm; 2],
        dy: [Act; 2],
        dx: Act,
        acc: bool,
    ) {
        self.0.layernorm_pair_bwd(s, x, stats, norms, dy, dx, acc);
        self.round(s, &[dx]);
    }
    fn linear(
        &mut self,
        s: Shape,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        residual: Option<Act>,
        y: Act,
    ) {
        self.0.linear(s, x, w, bias, residual, y);
        self.round(s, &[y]);
    }
    /// The pre-activation is rounded, and its slope is that of the rounded one.
    fn linear_gelu(
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
        self.0.linear(s, x, w, [Some(bias), None], None, saved);
        self.round(s, &[saved]);
        let pre = self.values(s, saved);
        self.gelu_again(s, gelu, saved, y);
        if again {
            self.0.write_act(saved, &pre);
        }
    }
    fn gelu_again(&mut self, s: Shape, gelu: Gelu, saved: Act, y: Act) {
        let pre = self.values(s, saved);
        let y_values: Vec<f32> = pre.iter().map(|&x| value_and_slope(gelu, x).0).collect();
        let slopes: Vec<f32> = pre.iter().map(|&x| value_and_slope(gelu, x).1).collect();
        self.0.write_act(y, &y_values);
        self.round(s, &[y]);
        self.0.write_act(saved, &slopes);
    }
    fn copy(&mut self, s: Shape, from: Act, to: Act) {
        self.0.copy(s, from, to);
    }
    fn gelu_bwd(&mut self, s: Shape, gelu: Gelu, saved: Act, dy: Act) {
        self.0.gelu_bwd(s, gelu, saved, dy);
        self.round(s, &[dy]);
    }
    fn linear_bwd_input(&mut self, s: Shape, dy: Act, w: Matrix, dx: Act) {
        self.0.linear_bwd_input(s, dy, w, dx);
        self.round(s, &[dx]);
    }
    fn linear_bwd_weight(
        &mut self,
        s: Shape,
        dy: Act,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        acc: bool,
    ) {
        self.0.linear_bwd_weight(s, dy, x, w, bias, acc);
    }
    fn rotary(&mut self, s: Shape, heads: Heads, qkv: Act, first: usize) {
        self.0.rotary(s, heads, qkv, first);
        self.round(s, &[qkv]);
    }
    fn attention(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat) {
        self.0.attention(s, heads, qkv, out, lse);
        self.round(s, &[out]);
    }
    fn attention_bwd(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat, dout: Act, dqkv: Act) {
        self.0.attention_bwd(s, heads, qkv, out, lse, dout, dqkv);
        self.round(s, &[dqkv]);
    }
    fn attention_decode(&mut self, heads: Heads, qkv: Act, position: usize, out: Act) {
        self.0.attention_decode(heads, qkv, position, out);
    }
    fn cross_entropy(&mut self, s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool) {
        self.0.cross_entropy(s, logits, first_row, loss, gradient);
        if gradient {
            self.round(s, &[logits]);
        }
    }
    fn add_gradient(&mut self, from: Matrix, to: Matrix) {
        self.0.add_gradient(from, to);
    }
    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        self.0.keep_losses(loss, rows);
    }
    fn update(&mut self, params: &[AdamParam], update: Update) {
        self.0.update(params, update);
    }
    fn outcome(&mut self) -> Result<Outcome> {
        self.0.outcome()
    }
    fn steps_in_flight(&self) -> usize {
        0
    }
    fn set_applied(&mut self, applied: u64) {
        self.0.set_applied(applied);
    }
    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>> {
        self.0.read_stat(stat, rows)
    }
    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        self.0.read_act(act, rows)
    }
    fn state(&mut self) -> Result<State<'_>> {
        self.0.state()
    }
    fn load_state(&mut self, load: LoadState<'_>) -> Result<()> {
        self.0.load_state(load)
    }
    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        self.0.gradients()
    }
}

/// GELU and its derivative, by the reference.
fn value_and_slope(kind: Gelu, x: f32) -> (f32, f32) {
    let (y, slope) = gelu(f64::from(x), kind);
    (y as f32, slope as f32)
}
