//! LayerNorm and its gradient.
use super::layout::NORM_ROWS;
use super::{Gpu, int, long};
use crate::device::{Arg, Span};
use crate::model::Norm;
use crate::ops::{Act, Shape, Stat};

/// Widths that have kernels: the smallest that is wide enough runs.
const WIDTHS: [usize; 4] = [512, 1024, 2048, 5120];

impl Gpu {
    pub(super) fn layernorm_forward(&mut self, s: Shape, x: Act, norms: &[Norm], y: &[Act], stats: Stat) {
        let width = WIDTHS.into_iter().find(|&w| x.cols <= w).expect("checked when the backend was made");
        let kind = if norms.len() == 2 { "pair_" } else { "" };
        assert!(y.iter().all(|a| a.ld == y[0].ld), "outputs with equal rows");
        let mut args = vec![self.act(x), long(x.ld)];
        args.extend(norms.iter().flat_map(|n| [self.w32(n.weight.offset), self.w32(n.bias.offset)]));
        args.extend(y.iter().map(|&y| self.act(y)));
        args.extend([long(y[0].ld), self.stat(stats), self.eps.into(), int(s.rows()), int(x.cols)]);
        let grid = [s.rows().div_ceil(NORM_ROWS), 1, 1];
        self.launch(&format!("layernorm_{kind}fwd_{width}"), grid, 256, 8 * norms.len() * width, args);
    }

    #[allow(clippy::too_many_arguments, reason = "the tensors of one fused operation")]
    pub(super) fn layernorm_backward(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norms: &[Norm],
        dy: &[Act],
        dx: Act,
        accumulate: bool,
    ) {
        assert!(dy.iter().all(|a| a.ld == dy[0].ld), "gradients with equal rows");
        let (name, shared_bytes) = match (norms.len(), x.cols) {
            (1, _) => ("layernorm_bwd", 640),
            (_, 0..=4096) => ("layernorm_pair_bwd_4096", 640),
            _ => ("layernorm_pair_bwd_5120", 320),
        };
        let chunks = s.rows().div_ceil(NORM_ROWS);
        let mut args = vec![self.act(x), long(x.ld), self.stat(stats)];
        args.extend(norms.iter().map(|n| self.w32(n.weight.offset)));
        args.extend(dy.iter().map(|&dy| self.act(dy)));
        args.extend([long(dy[0].ld), self.act(dx), long(dx.ld), self.span(self.layout.partials)]);
        args.extend([int(s.rows()), int(x.cols)]);
        self.summed = None;
        self.launch(name, [chunks, 1, 1], 32 * x.cols.div_ceil(256), shared_bytes, args);
        let outs: Vec<usize> = norms.iter().flat_map(|n| [n.weight.offset, n.bias.offset]).collect();
        self.sum_partials(chunks, x.cols, &outs, accumulate);
    }

    /// Adds up the partials `[chunks, outs, cols]` in order, into gradients at these offsets.
    pub(super) fn sum_partials(&mut self, chunks: usize, cols: usize, outs: &[usize], accumulate: bool) {
        self.sum_chunks(self.layout.partials, chunks, cols, outs, accumulate);
    }

    /// Adds f32 values to the gradients from `to` on: a sum of one chunk.
    pub(super) fn add_f32(&mut self, from: Span, to: usize) {
        self.sum_chunks(from, 1, from.bytes / 4, &[to], true);
    }

    fn sum_chunks(&mut self, from: Span, chunks: usize, cols: usize, outs: &[usize], accumulate: bool) {
        let mut args = vec![self.span(from), int(chunks), int(cols)];
        args.extend((0..4).map(|i| outs.get(i).map_or(Arg::address(0), |&o| self.gradient(o))));
        args.push(i32::from(accumulate).into());
        self.launch("sum_partials", [cols.div_ceil(128), outs.len(), 1], 256, 4096, args);
    }
}
