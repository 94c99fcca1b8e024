//! LayerNorm and its gradient.
use super::layout::NORM_ROWS;
use super::{Gpu, int, long};
use crate::ops::{Act, Norm, Shape, Stat};

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

    pub(super) fn layernorm_backward(
        &mut self,
        s: Shape,
        (x, stats): (Act, Stat),
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
        let (chunks, cols, outs) = (s.rows().div_ceil(NORM_ROWS), x.cols, 2 * norms.len());
        self.before_write(dx);
        let partials = self.partials(chunks, outs * cols);
        let mut args = vec![self.act(x), long(x.ld), self.stat(stats)];
        args.extend(norms.iter().map(|n| self.w32(n.weight.offset)));
        args.extend(dy.iter().map(|&dy| self.act(dy)));
        args.extend([long(dy[0].ld), self.act(dx), long(dx.ld), self.span(partials)]);
        args.extend([int(s.rows()), int(cols)]);
        self.launch(name, [chunks, 1, 1], 32 * cols.div_ceil(256), shared_bytes, args);
        for (i, to) in norms.iter().flat_map(|n| [n.weight.offset, n.bias.offset]).enumerate() {
            self.leave_sum(partials, i * cols, to, [chunks, cols, outs * cols], accumulate);
        }
        self.finish_sums();
    }
}
