//! The vocabulary on a device: which launches an operation is, and what is asked of a backend beside.
use super::Gpu;
use super::held::IN_FLIGHT;
use crate::Result;
use crate::ops::{
    Act, AdamParam, Backend, GemmChoices, Inputs, Op, Ops, Outcome, Stat, Timeline, Update, Work,
};
use half::bf16;
use std::borrow::Cow;

impl Ops for Gpu {
    fn issue(&mut self, op: &Op) {
        match *op {
            Op::Embedding { s, w, x } => self.embed(s, w, x),
            Op::EmbeddingBwd { s, dx, w, accumulate } => self.embed_backward(s, dx, w, accumulate),
            Op::Zero { s, x } => {
                assert_eq!(x.ld, x.cols, "a whole tensor");
                self.before_write(x);
                self.fill(self.layout.acts.part(2 * x.offset, 2 * s.rows() * x.cols), 0);
            }
            Op::Copy { s, from, to } => self.copy_rows(s, from, to),
            Op::LayerNorm { s, x, norm, y, stats } => self.layernorm_forward(s, x, &[norm], &[y], stats),
            Op::LayerNormPair { s, x, norms, y, stats } => self.layernorm_forward(s, x, &norms, &y, stats),
            Op::LayerNormBwd { s, x, stats, norm, dy, dx, accumulate } => {
                self.layernorm_backward(s, (x, stats), &[norm], &[dy], dx, accumulate);
            }
            Op::LayerNormPairBwd { s, x, stats, norms, dy, dx, accumulate } => {
                self.layernorm_backward(s, (x, stats), &norms, &dy, dx, accumulate);
            }
            Op::Linear { s, x, w, bias, residual, y } => self.linear_forward(s, x, w, bias, residual, y),
            // What is saved is the pre-activation, which serves GELU again and its backward.
            Op::LinearGelu { s, x, w, bias, gelu, saved, y, .. } => {
                self.linear_forward(s, x, w, [Some(bias), None], None, saved);
                self.gelu_forward(s, gelu, saved, y);
            }
            Op::GeluAgain { s, gelu, saved, y } => self.gelu_forward(s, gelu, saved, y),
            Op::GeluBwd { s, gelu, saved, dy } => self.gelu_backward(s, gelu, saved, dy),
            Op::LinearBwdInput { s, dy, w, dx } => self.linear_backward_input(s, dy, w, dx),
            Op::LinearBwdWeight { s, dy, x, w, bias, accumulate } => {
                self.linear_backward_weight(s, dy, x, w, bias, accumulate);
            }
            Op::Rotary { s, heads, qkv, first } => self.rotate(s, heads, qkv, first),
            Op::Attention { s, heads, qkv, out, lse } => self.attention_forward(s, heads, qkv, out, lse),
            Op::AttentionBwd { s, heads, qkv, out, lse, dout, dqkv } => {
                self.attention_backward(s, heads, [qkv, out, dout], lse, dqkv);
            }
            Op::AttentionDecode { heads, qkv, position, out } => {
                self.attention_of_one(heads, qkv, position, out);
            }
            Op::CrossEntropy { s, logits, first_row, loss, gradient } => {
                self.softmax_loss(s, logits, first_row, loss, gradient);
            }
            Op::AddGradient { from, to } => {
                let (from_span, to_span) = (self.gradient_span(from), self.gradient_span(to));
                assert_eq!(from_span.bytes, to_span.bytes, "tensors of one shape");
                self.add_f32(from_span, to.offset);
            }
        }
    }

    fn mark(&mut self) -> Option<usize> {
        self.moment()
    }
}

impl Backend for Gpu {
    fn set_inputs(&mut self, inputs: Inputs) {
        self.attempt(|gpu| gpu.upload_batch(inputs));
    }

    fn prepare(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        self.prepare_work(work, body);
    }

    fn perform(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        self.run_work(work, body);
    }

    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        self.attempt(|gpu| gpu.download_losses(loss, rows));
    }

    fn update(&mut self, params: &[AdamParam], update: Update) {
        self.finish_sums();
        self.attempt(|gpu| gpu.end_step(params, update));
    }

    fn outcome(&mut self) -> Result<Outcome> {
        self.wait_for_step()
    }

    fn steps_in_flight(&self) -> usize {
        IN_FLIGHT
    }

    fn set_applied(&mut self, applied: u64) {
        self.attempt(|gpu| gpu.write_applied(applied));
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

    fn timeline(&mut self) -> Result<Timeline> {
        self.read_clock()
    }

    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>> {
        self.read_f32(self.layout.stats.part(4 * stat.offset, 4 * rows * stat.cols))
    }

    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        let span = self.rows(act, rows);
        let mut all = vec![bf16::ZERO; span.bytes / 2];
        self.read(span, &mut all)?;
        Ok(all.chunks(act.ld).flat_map(|row| &row[..act.cols]).map(|x| x.to_f32()).collect())
    }

    fn keep_ema(&mut self, decay: f64) -> Result<()> {
        self.begin_ema(decay)
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        self.finish_sums();
        self.read_f32(self.layout.g).map(Cow::Owned)
    }
}
