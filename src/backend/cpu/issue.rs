//! The operations: which part of memory each reads and writes, and the function that computes it.
use super::layernorm::{self, Affine};
use super::memory::{self, Rows, RowsMut};
use super::multiply::Multiply;
use super::parameters::Parameters;
use super::rotary;
use super::{Processor, attention, cross_entropy, embedding, linear, stat};
use crate::ops::{Act, Matrix, Norm, Op, Ops, Shape, Stat};
use std::time::Instant;

impl<E: Multiply> Ops for Processor<E> {
    fn issue(&mut self, op: &Op) {
        self.parameters.refresh_copies();
        let parameters = &self.parameters;
        let weights = parameters.matrices();
        match *op {
            Op::Embedding { s, w, x } => {
                let ([], [x]) = self.acts.borrow(s.rows(), [], [x]);
                embedding::forward(&self.tokens, Rows::matrix(weights, w), x);
            }
            Op::EmbeddingBwd { s, dx, w, accumulate } => {
                let (dx, tokens) = (self.acts.read(dx, s.rows()), &self.tokens[..s.rows()]);
                embedding::backward(tokens, dx, RowsMut::matrix(&mut self.g, w), accumulate);
            }
            Op::Zero { s, x } => {
                let ([], [x]) = self.acts.borrow(s.rows(), [], [x]);
                memory::for_row_blocks([x], 64, |_, [mut x]| {
                    (0..x.rows).for_each(|i| x.row(i).fill(E::default()))
                });
            }
            Op::Copy { s, from, to } => {
                let ([from], [to]) = self.acts.borrow(s.rows(), [from], [to]);
                memory::for_row_blocks([to], 64, |first, [mut to]| {
                    (0..to.rows).for_each(|i| to.row(i).copy_from_slice(from.row(first + i)));
                });
            }
            Op::LayerNorm { s, x, norm, y, stats } => {
                let ([x], [y]) = self.acts.borrow(s.rows(), [x], [y]);
                let ([], [stats]) = self.stats.borrow(s.rows(), [], [stat(stats)]);
                layernorm::forward(x, affine(parameters, norm), self.eps, y, stats);
            }
            Op::LayerNormPair { s, x, norms, y, stats } => {
                let ([x], y) = self.acts.borrow(s.rows(), [x], y);
                let ([], [stats]) = self.stats.borrow(s.rows(), [], [stat(stats)]);
                layernorm::forward_pair(x, norms.map(|n| affine(parameters, n)), self.eps, y, stats);
            }
            Op::LayerNormBwd { s, x, stats, norm, dy, dx, accumulate } => {
                self.layernorm_backward(s, (x, stats), [norm], [dy], dx, accumulate);
            }
            Op::LayerNormPairBwd { s, x, stats, norms, dy, dx, accumulate } => {
                self.layernorm_backward(s, (x, stats), norms, dy, dx, accumulate);
            }
            Op::Linear { s, x, w, bias, residual, y } => {
                let ([x, residual_rows], [y]) = self.acts.borrow(s.rows(), [x, residual.unwrap_or(x)], [y]);
                let bias = bias.map(|b| b.map(|b| parameters.vector(b)));
                let factors = [x, Rows::matrix(weights, w)];
                let residual = residual.map(|_| residual_rows);
                linear::forward(&mut self.products, s, factors, bias, residual, y);
            }
            Op::LinearGelu { s, x, w, bias, gelu, saved, y, again } => {
                let ([x], [saved, y]) = self.acts.borrow(s.rows(), [x], [saved, y]);
                let (factors, bias) = ([x, Rows::matrix(weights, w)], parameters.vector(bias));
                linear::forward_gelu(&mut self.products, s, factors, bias, gelu, [saved, y], !again);
            }
            Op::GeluAgain { s, gelu, saved, y } => {
                let ([], [saved, y]) = self.acts.borrow(s.rows(), [], [saved, y]);
                linear::gelu_again(gelu, saved, y);
            }
            Op::GeluBwd { s, gelu, saved, dy } => {
                let ([saved], [dy]) = self.acts.borrow(s.rows(), [saved], [dy]);
                linear::gelu_backward(gelu, saved, dy);
            }
            Op::LinearBwdInput { s, dy, w, dx } => {
                let ([dy], [dx]) = self.acts.borrow(s.rows(), [dy], [dx]);
                linear::backward_input(&mut self.products, s, [dy, Rows::matrix(weights, w)], dx);
            }
            Op::LinearBwdWeight { s, dy, x, w, bias, accumulate } => {
                let (dy, x) = (self.acts.read(dy, s.rows()), self.acts.read(x, s.rows()));
                let dw = RowsMut::matrix(&mut self.g, w);
                E::weight_gradient(&mut self.products, s, dy, x, dw, accumulate);
                for b in bias.into_iter().flatten() {
                    let place = Matrix { offset: b.offset, rows: 1, cols: b.len, ld: b.len };
                    linear::backward_bias(s, dy, RowsMut::matrix(&mut self.g, place), accumulate);
                }
            }
            Op::Rotary { s, heads, qkv, first } => {
                let ([], [qkv]) = self.acts.borrow(s.rows(), [], [qkv]);
                rotary::rotate(s, heads, &self.rotary, qkv, first, self.documents.of_batch());
            }
            Op::Attention { s, heads, qkv, out, lse } => {
                let ([qkv], [out]) = self.acts.borrow(s.rows(), [qkv], [out]);
                let ([], [lse]) = self.stats.borrow(s.rows(), [], [stat(lse)]);
                let documents = self.documents.of_batch();
                attention::forward(self.products.micro, s, heads, documents, qkv, out, lse);
            }
            Op::AttentionBwd { s, heads, qkv, out, lse, dout, dqkv } => {
                let (given, [dqkv]) = self.acts.borrow(s.rows(), [qkv, out, dout], [dqkv]);
                let lse = self.stats.read(stat(lse), s.rows());
                let documents = self.documents.of_batch();
                let micro = self.products.micro;
                attention::backward(micro, s, heads, documents, (given, lse), dqkv, &self.rotary);
            }
            Op::AttentionDecode { heads, qkv, position, out } => {
                let (qkv, out) = self.acts.borrow_rows((qkv, position + 1), (out, 1));
                attention::decode(heads, qkv, position, out);
            }
            Op::CrossEntropy { s, logits, first_row, loss, gradient } => {
                let ([], [logits]) = self.acts.borrow(s.rows(), [], [logits]);
                let ([], [loss]) = self.stats.borrow(s.rows(), [], [stat(loss)]);
                let rows = first_row..first_row + s.rows();
                let weights = if self.weights.is_empty() { &[] } else { &self.weights[rows.clone()] };
                let scale = gradient.then_some(self.scale);
                cross_entropy::forward(logits, &self.targets[rows], weights, loss, scale);
            }
            Op::AddGradient { from, to } => {
                let len = from.rows * from.cols;
                assert!(from.ld == from.cols && to.ld == to.cols && to.offset + len <= from.offset);
                let (low, high) = self.g.split_at_mut(from.offset);
                low[to.offset..to.offset + len].iter_mut().zip(&high[..len]).for_each(|(t, f)| *t += f);
            }
        }
    }

    fn mark(&mut self) -> Option<usize> {
        self.marks.push(Instant::now());
        Some(self.marks.len() - 1)
    }
}

fn affine(parameters: &Parameters, norm: Norm) -> Affine<'_> {
    Affine { weight: parameters.vector(norm.weight), bias: parameters.vector(norm.bias) }
}

impl<E: Multiply> Processor<E> {
    /// Both LayerNorm gradients: the pass over rows, then the sums of the weights in order.
    fn layernorm_backward<const N: usize>(
        &mut self,
        s: Shape,
        (x, stats): (Act, Stat),
        norms: [Norm; N],
        dy: [Act; N],
        dx: Act,
        accumulate: bool,
    ) {
        let rows = s.rows();
        let sums = Act { offset: 0, cols: 2 * N * x.cols, ld: 2 * N * x.cols };
        let chunks = layernorm::chunks(s);
        let ([x_rows, dy_first, dy_last], [dx]) = self.acts.borrow(rows, [x, dy[0], dy[N - 1]], [dx]);
        let dy = std::array::from_fn(|n| if n == 0 { dy_first } else { dy_last });
        let stats = self.stats.read(stat(stats), rows);
        let weights = norms.map(|n| self.parameters.vector(n.weight));
        let partials = RowsMut::new(&mut self.partials, sums, chunks);
        layernorm::backward(s, x_rows, stats, weights, dy, dx, partials);
        for (n, norm) in norms.iter().enumerate() {
            for (i, place) in [norm.weight, norm.bias].into_iter().enumerate() {
                let part = sums.columns((2 * n + i) * x.cols, x.cols);
                let total = &mut self.g[place.offset..place.offset + place.len];
                layernorm::reduce(Rows::new(&self.partials, part, chunks), total, accumulate);
            }
        }
    }
}
