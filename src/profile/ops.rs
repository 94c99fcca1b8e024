//! The vocabulary around a backend: each operation is issued as it came, between two marks, under its name and with
//! its cost.
use super::log::{Log, Phase};
use crate::Result;
use crate::device::GemmChoices;
use crate::model::{Gelu, Matrix, Norm, Vector};
use crate::ops::cost::{self, Cost};
use crate::ops::{
    Act, AdamParam, Heads, LoadState, Ops, Outcome, Shape, Stat, State, Timeline, Update, Work,
};
use std::borrow::Cow;

/// A backend whose operations are noted.
pub(super) struct Profiled<'a> {
    pub inner: &'a mut dyn Ops,
    pub log: &'a mut Log,
}

impl Profiled<'_> {
    fn call(&mut self, name: &'static str, cost: Cost, acts: &[Act], issue: impl FnOnce(&mut dyn Ops)) {
        self.with_matrix(name, "", cost, acts, issue);
    }

    fn with_matrix(
        &mut self,
        name: &'static str,
        weight: &'static str,
        cost: Cost,
        acts: &[Act],
        issue: impl FnOnce(&mut dyn Ops),
    ) {
        let first = self.inner.mark();
        // Without marks nothing is computed now.
        if first.is_some() {
            self.log.begin(name, weight);
        }
        issue(self.inner);
        if let Some(marks) = first.zip(self.inner.mark()) {
            self.log.end(name, weight, cost, acts, marks);
        }
    }

    /// Bytes of an element.
    fn e(&self) -> usize {
        self.log.storage.element
    }
}

impl Ops for Profiled<'_> {
    fn set_batch(&mut self, tokens: &[i32], targets: &[i32], scale: f32) {
        self.log.enter(Phase::Forward);
        self.log.outside();
        // Inputs, targets, and the scale of each target.
        let cost = Cost { bytes: (12 * tokens.len()) as f64, flops: 0.0 };
        self.call("set_batch", cost, &[], |ops| ops.set_batch(tokens, targets, scale));
        let mut sorted = tokens.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        self.log.distinct = sorted.len();
    }

    fn prepare(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        self.inner.prepare(work, body);
    }

    fn perform(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        let log = &mut *self.log;
        self.inner.perform(work, &mut |inner| body(&mut Profiled { inner, log: &mut *log }));
    }

    fn embedding(&mut self, s: Shape, w: Matrix, x: Act) {
        self.log.enter(Phase::Forward);
        self.log.outside();
        self.call("embedding", cost::embedding(s, x.cols, self.e()), &[x], |ops| ops.embedding(s, w, x));
    }

    fn zero(&mut self, s: Shape, x: Act) {
        // The gradient of the stream, which the last norm's is added to.
        if self.log.phase() == Phase::Head {
            self.log.enter(Phase::Backward);
        }
        self.call("zero", cost::zero(s, x.cols, self.e()), &[x], |ops| ops.zero(s, x));
    }

    fn copy(&mut self, s: Shape, from: Act, to: Act) {
        self.call("copy", cost::copy(s, to.cols, self.e()), &[from, to], |ops| ops.copy(s, from, to));
    }

    fn embedding_bwd(&mut self, s: Shape, dx: Act, w: Matrix, accumulate: bool) {
        self.log.outside();
        let cost = cost::embedding_bwd(s, dx.cols, self.log.distinct, self.e());
        self.call("embedding_bwd", cost, &[dx], |ops| ops.embedding_bwd(s, dx, w, accumulate));
    }

    fn layernorm(&mut self, s: Shape, x: Act, norm: Norm, y: Act, stats: Stat) {
        self.log.at_norm(norm);
        let cost = cost::layernorm(s, x.cols, 1, self.e());
        self.call("layernorm", cost, &[x, y], |ops| ops.layernorm(s, x, norm, y, stats));
    }

    fn layernorm_pair(&mut self, s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat) {
        self.log.at_norm(norms[0]);
        let cost = cost::layernorm(s, x.cols, 2, self.e());
        self.call("layernorm_pair", cost, &[x, y[0], y[1]], |ops| ops.layernorm_pair(s, x, norms, y, stats));
    }

    fn layernorm_bwd(&mut self, s: Shape, x: Act, stats: Stat, norm: Norm, dy: Act, dx: Act, add: bool) {
        self.log.at_norm(norm);
        let cost = cost::layernorm_bwd(s, x.cols, 1, self.e());
        self.call("layernorm_bwd", cost, &[x, dy, dx], |ops| {
            ops.layernorm_bwd(s, x, stats, norm, dy, dx, add)
        });
    }

    fn layernorm_pair_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norms: [Norm; 2],
        dy: [Act; 2],
        dx: Act,
        add: bool,
    ) {
        self.log.at_norm(norms[0]);
        let cost = cost::layernorm_bwd(s, x.cols, 2, self.e());
        self.call("layernorm_pair_bwd", cost, &[x, dy[0], dy[1], dx], |ops| {
            ops.layernorm_pair_bwd(s, x, stats, norms, dy, dx, add)
        });
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
        let weight = self.log.at_matrix(w);
        if weight == "head" {
            self.log.enter(Phase::Head);
        }
        let cost = cost::linear(s, w.cols, w.rows, self.e());
        let acts = [Some(x), residual, Some(y)].into_iter().flatten().collect::<Vec<_>>();
        self.with_matrix("linear", weight, cost, &acts, |ops| ops.linear(s, x, w, bias, residual, y));
    }

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
        let weight = self.log.at_matrix(w);
        let cost = cost::linear_gelu(s, w.cols, w.rows, self.e());
        self.with_matrix("linear_gelu", weight, cost, &[x, saved, y], |ops| {
            ops.linear_gelu(s, x, w, bias, gelu, saved, y, again)
        });
    }

    fn gelu_again(&mut self, s: Shape, gelu: Gelu, saved: Act, y: Act) {
        let cost = cost::gelu(s, y.cols, self.log.storage.slope, self.e());
        self.call("gelu_again", cost, &[saved, y], |ops| ops.gelu_again(s, gelu, saved, y));
    }

    fn gelu_bwd(&mut self, s: Shape, gelu: Gelu, saved: Act, dy: Act) {
        let cost = cost::gelu_bwd(s, dy.cols, self.e());
        self.call("gelu_bwd", cost, &[saved, dy], |ops| ops.gelu_bwd(s, gelu, saved, dy));
    }

    fn linear_bwd_input(&mut self, s: Shape, dy: Act, w: Matrix, dx: Act) {
        let weight = self.log.at_matrix(w);
        let cost = cost::linear(s, w.rows, w.cols, self.e());
        self.with_matrix("linear_bwd_input", weight, cost, &[dy, dx], |ops| {
            ops.linear_bwd_input(s, dy, w, dx)
        });
    }

    fn linear_bwd_weight(
        &mut self,
        s: Shape,
        dy: Act,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        add: bool,
    ) {
        let weight = self.log.at_matrix(w);
        let cost = cost::linear_bwd_weight(s, w.cols, w.rows, self.e(), add);
        self.with_matrix("linear_bwd_weight", weight, cost, &[dy, x], |ops| {
            ops.linear_bwd_weight(s, dy, x, w, bias, add)
        });
    }

    fn rotary(&mut self, s: Shape, heads: Heads, qkv: Act, first: usize) {
        self.call("rotary", cost::rotary(s, heads, self.e()), &[qkv], |ops| ops.rotary(s, heads, qkv, first));
    }

    fn attention(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat) {
        let cost = cost::attention(s, heads, self.e());
        self.call("attention", cost, &[qkv, out], |ops| ops.attention(s, heads, qkv, out, lse));
    }

    fn attention_bwd(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat, dout: Act, dqkv: Act) {
        let cost = cost::attention_bwd(s, heads, self.e());
        self.call("attention_bwd", cost, &[qkv, out, dout, dqkv], |ops| {
            ops.attention_bwd(s, heads, qkv, out, lse, dout, dqkv)
        });
    }

    fn attention_decode(&mut self, heads: Heads, qkv: Act, position: usize, out: Act) {
        self.inner.attention_decode(heads, qkv, position, out); // no part of a training step
    }

    fn cross_entropy(&mut self, s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool) {
        let cost = match gradient {
            true => cost::cross_entropy(s, logits.cols, self.e()),
            false => cost::cross_entropy_fwd(s, logits.cols, self.e()),
        };
        self.call("cross_entropy", cost, &[logits], |ops| {
            ops.cross_entropy(s, logits, first_row, loss, gradient)
        });
    }

    fn add_gradient(&mut self, from: Matrix, to: Matrix) {
        self.log.outside();
        let cost = cost::add_gradient(from.rows * from.cols);
        self.call("add_gradient", cost, &[], |ops| ops.add_gradient(from, to));
    }

    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        self.log.outside();
        let cost = Cost { bytes: (8 * rows * loss.cols) as f64, flops: 0.0 };
        self.call("keep_losses", cost, &[], |ops| ops.keep_losses(loss, rows));
    }

    fn update(&mut self, params: &[AdamParam], update: Update) {
        self.log.enter(Phase::Optimizer);
        self.log.outside();
        self.call("update", self.log.update, &[], |ops| ops.update(params, update));
    }

    fn outcome(&mut self) -> Result<Outcome> {
        self.inner.outcome()
    }

    fn steps_in_flight(&self) -> usize {
        self.inner.steps_in_flight()
    }

    fn set_applied(&mut self, applied: u64) {
        self.inner.set_applied(applied);
    }

    fn choices(&self) -> GemmChoices {
        self.inner.choices()
    }

    fn adopt(&mut self, choices: &GemmChoices) -> Result<()> {
        self.inner.adopt(choices)
    }

    fn set_profiling(&mut self, on: bool) {
        self.inner.set_profiling(on);
    }

    fn mark(&mut self) -> Option<usize> {
        self.inner.mark()
    }

    fn timeline(&mut self) -> Result<Timeline> {
        self.inner.timeline()
    }

    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>> {
        self.inner.read_stat(stat, rows)
    }

    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        self.inner.read_act(act, rows)
    }

    fn state(&mut self) -> Result<State<'_>> {
        self.inner.state()
    }

    fn load_state(&mut self, load: LoadState<'_>) -> Result<()> {
        self.inner.load_state(load)
    }

    fn keep_ema(&mut self, decay: f64, load: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        self.inner.keep_ema(decay, load)
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        self.inner.gradients()
    }
}
