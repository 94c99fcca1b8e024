//! The vocabulary, operation by operation.
use super::{Gpu, optimizer};
use crate::Result;
use crate::device::GemmChoices;
use crate::model::{Gelu, Matrix, Norm, Vector};
use crate::ops::{
    Act, AdamParam, Heads, LoadState, Ops, Outcome, Shape, Stat, State, Timeline, Update, Work,
};
use half::bf16;
use std::borrow::Cow;

impl Ops for Gpu {
    fn set_batch(&mut self, tokens: &[i32], targets: &[i32], scale: f32) {
        self.issue(|gpu| gpu.upload_batch(tokens, targets, scale));
    }

    fn prepare(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        self.prepare_work(work, body);
    }

    fn perform(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        self.run_work(work, body);
    }

    fn embedding(&mut self, s: Shape, w: Matrix, x: Act) {
        self.embed(s, w, x);
    }

    fn zero(&mut self, s: Shape, x: Act) {
        assert_eq!(x.ld, x.cols, "a whole tensor");
        self.before_write(x);
        self.fill(self.layout.acts.part(2 * x.offset, 2 * s.rows() * x.cols), 0);
    }

    fn copy(&mut self, s: Shape, from: Act, to: Act) {
        self.copy_rows(s, from, to);
    }

    fn embedding_bwd(&mut self, s: Shape, dx: Act, w: Matrix, accumulate: bool) {
        self.embed_backward(s, dx, w, accumulate);
    }

    fn layernorm(&mut self, s: Shape, x: Act, norm: Norm, y: Act, stats: Stat) {
        self.layernorm_forward(s, x, &[norm], &[y], stats);
    }

    fn layernorm_pair(&mut self, s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat) {
        self.layernorm_forward(s, x, &norms, &y, stats);
    }

    fn layernorm_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norm: Norm,
        dy: Act,
        dx: Act,
        accumulate: bool,
    ) {
        self.layernorm_backward(s, x, stats, &[norm], &[dy], dx, accumulate);
    }

    fn layernorm_pair_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norms: [Norm; 2],
        dy: [Act; 2],
        dx: Act,
        accumulate: bool,
    ) {
        self.layernorm_backward(s, x, stats, &norms, &dy, dx, accumulate);
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
        self.linear_forward(s, x, w, bias, residual, y);
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
        _again: bool,
    ) {
        // What is saved is the pre-activation, which serves both.
        self.linear_forward(s, x, w, [Some(bias), None], None, saved);
        self.gelu_forward(s, gelu, saved, y);
    }

    fn gelu_again(&mut self, s: Shape, gelu: Gelu, saved: Act, y: Act) {
        self.gelu_forward(s, gelu, saved, y);
    }

    fn gelu_bwd(&mut self, s: Shape, gelu: Gelu, saved: Act, dy: Act) {
        self.gelu_backward(s, gelu, saved, dy);
    }

    fn linear_bwd_input(&mut self, s: Shape, dy: Act, w: Matrix, dx: Act) {
        self.linear_backward_input(s, dy, w, dx);
    }

    fn linear_bwd_weight(
        &mut self,
        s: Shape,
        dy: Act,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        accumulate: bool,
    ) {
        self.linear_backward_weight(s, dy, x, w, bias, accumulate);
    }

    fn rotary(&mut self, s: Shape, heads: Heads, qkv: Act, first: usize) {
        self.rotate(s, heads, qkv, first);
    }

    fn attention(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat) {
        self.attention_forward(s, heads, qkv, out, lse);
    }

    fn attention_bwd(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat, dout: Act, dqkv: Act) {
        self.attention_backward(s, heads, qkv, out, lse, dout, dqkv);
    }

    fn attention_decode(&mut self, heads: Heads, qkv: Act, position: usize, out: Act) {
        self.attention_of_one(heads, qkv, position, out);
    }

    fn cross_entropy(&mut self, s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool) {
        self.softmax_loss(s, logits, first_row, loss, gradient);
    }

    fn add_gradient(&mut self, from: Matrix, to: Matrix) {
        let (from_span, to_span) = (self.gradient_span(from), self.gradient_span(to));
        assert_eq!(from_span.bytes, to_span.bytes, "tensors of one shape");
        self.add_f32(from_span, to.offset);
    }

    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        self.issue(|gpu| gpu.download_losses(loss, rows));
    }

    fn update(&mut self, params: &[AdamParam], update: Update) {
        self.finish_sums();
        self.issue(|gpu| gpu.end_step(params, update));
    }

    fn outcome(&mut self) -> Result<Outcome> {
        self.wait_for_step()
    }

    fn steps_in_flight(&self) -> usize {
        optimizer::IN_FLIGHT
    }

    fn set_applied(&mut self, applied: u64) {
        self.issue(|gpu| gpu.write_applied(applied));
    }

    fn choices(&self) -> GemmChoices {
        self.device.choices()
    }

    fn adopt(&mut self, choices: &GemmChoices) -> Result<()> {
        if choices.device.is_empty() { Ok(()) } else { self.device.adopt(choices) }
    }

    fn set_profiling(&mut self, on: bool) {
        self.clock.profiling = on;
    }

    fn mark(&mut self) -> Option<usize> {
        self.moment()
    }

    fn timeline(&mut self) -> Result<Timeline> {
        self.read_clock()
    }

    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>> {
        self.read_f32(self.layout.stats.part(4 * stat.offset, 4 * rows * stat.cols))
    }

    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        let mut row = vec![bf16::ZERO; act.cols];
        let mut values = Vec::with_capacity(rows * act.cols);
        for i in 0..rows {
            let span = self.layout.acts.part(2 * (act.offset + i * act.ld), 2 * act.cols);
            self.read(span, &mut row)?;
            values.extend(row.iter().map(|x| x.to_f32()));
        }
        Ok(values)
    }

    fn state(&mut self) -> Result<State<'_>> {
        let w = self.read_weights()?;
        let [m, v] = [self.layout.m, self.layout.v].map(|span| self.read_moments(span));
        let ema = self.ema.map(|(span, _)| self.read_f32(span)).transpose()?;
        Ok(State { w: Cow::Owned(w), m: Cow::Owned(m?), v: Cow::Owned(v?), ema: ema.map(Cow::Owned) })
    }

    fn load_state(&mut self, load: LoadState<'_>) -> Result<()> {
        let zeros = |len| vec![0f32; len];
        let trained = if self.layout.m.bytes > 0 { self.total } else { 0 };
        let (mut w, mut m, mut v) = (zeros(self.total), zeros(trained), zeros(trained));
        load(&mut w, &mut m, &mut v)?;
        self.write_moments(self.layout.m, &m)?;
        self.write_moments(self.layout.v, &v)?;
        self.write_weights(&w)
    }

    fn keep_ema(&mut self, decay: f64, load: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        self.begin_ema(decay, load)
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        self.finish_sums();
        self.read_f32(self.layout.g).map(Cow::Owned)
    }
}
