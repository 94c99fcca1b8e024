//! Matrix products and what is fused with them. A row-major `[rows, cols]` is a column-major `[cols, rows]`, so
//! every product is written with its operands exchanged.
use super::layout::BIAS_ROWS;
use super::sums::{COLUMN_SHARED, column_grid};
use super::{Gpu, int, long};
use crate::device::{Arg, Epilogue, Gemm, GemmShape, Type};
use crate::ops::{Act, Gelu, Matrix, Shape, Vector};

impl Gpu {
    fn act_address(&self, act: Act) -> u64 {
        self.at(self.layout.acts, 2, act.offset)
    }

    fn w16_address(&self, offset: usize) -> u64 {
        self.at(self.layout.w16, 2, offset)
    }

    fn gemm(&mut self, gemm: Gemm) {
        if let Some(shapes) = &mut self.planning {
            shapes.push(gemm.shape);
        }
        self.attempt_named("a matrix product", |gpu| gpu.device.gemm(gpu.compute, gemm));
    }

    /// Address of the sum of these biases, 0 without one.
    fn bias(&self, bias: [Option<Vector>; 2]) -> u64 {
        match bias {
            [None, None] => 0,
            [Some(b), None] | [None, Some(b)] => self.w16_address(b.offset),
            [Some(first), Some(second)] => {
                let pairs = &self.layout.bias_pairs;
                let pair = pairs.iter().position(|&p| p == [first, second]).expect("a pair of the model");
                self.at(self.layout.bias_sums, 2, pair * first.len)
            }
        }
    }

    pub(super) fn linear_forward(
        &mut self,
        s: Shape,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        residual: Option<Act>,
        y: Act,
    ) {
        let bias = self.bias(bias);
        let c = residual.unwrap_or(y);
        let shape = GemmShape {
            m: w.rows,
            n: s.rows(),
            k: w.cols,
            transpose_a: true,
            transpose_b: false,
            lda: w.ld,
            ldb: x.ld,
            ldc: c.ld,
            ldd: y.ld,
            output: Type::Bf16,
            beta: u8::from(residual.is_some()),
            epilogue: if bias == 0 { Epilogue::None } else { Epilogue::Bias },
        };
        let (a, b) = (self.w16_address(w.offset), self.act_address(x));
        let (c, d) = (self.act_address(c), self.act_address(y));
        self.gemm(Gemm { shape, a, b, c, d, bias });
    }

    pub(super) fn copy_rows(&mut self, s: Shape, from: Act, to: Act) {
        let (rows, cols) = (s.rows(), to.cols);
        let args = vec![self.act(from), long(from.ld), self.act(to), long(to.ld), int(rows), int(cols)];
        self.launch("copy_rows", column_grid(rows, cols), 256, 0, args);
    }

    /// Not an epilogue: cuBLASLt knows the tanh form alone, and applies it before the pre-activation is rounded, so
    /// that what [`crate::ops::Ops::gelu_again`] makes of the rounded one would have other bits.
    pub(super) fn gelu_forward(&mut self, s: Shape, gelu: Gelu, pre: Act, y: Act) {
        let args = vec![
            self.act(pre),
            long(pre.ld),
            Arg::address(0), // the product has added the bias
            self.act(pre),
            long(pre.ld),
            self.act(y),
            long(y.ld),
            int(s.rows()),
            int(y.cols),
        ];
        self.launch(&format!("gelu_fwd_{gelu}"), column_grid(s.rows(), y.cols), 256, 0, args);
    }

    /// Sums the columns of the new `dy` on its way.
    pub(super) fn gelu_backward(&mut self, s: Shape, gelu: Gelu, pre: Act, dy: Act) {
        let (rows, cols) = (s.rows(), dy.cols);
        self.before_write(dy);
        let chunks = rows.div_ceil(BIAS_ROWS);
        let partials = self.partials(chunks, cols);
        let mut args = vec![self.act(pre), long(pre.ld), self.act(dy), long(dy.ld)];
        args.extend([self.span(partials), int(rows), int(cols)]);
        self.launch(&format!("gelu_bwd_{gelu}"), column_grid(rows, cols), 256, COLUMN_SHARED, args);
        self.columns_summed(dy, partials, chunks);
    }

    pub(super) fn linear_backward_input(&mut self, s: Shape, dy: Act, w: Matrix, dx: Act) {
        self.before_write(dx);
        let shape = GemmShape {
            m: w.cols,
            n: s.rows(),
            k: w.rows,
            transpose_a: false,
            transpose_b: false,
            lda: w.ld,
            ldb: dy.ld,
            ldc: dx.ld,
            ldd: dx.ld,
            output: Type::Bf16,
            beta: 0,
            epilogue: Epilogue::None,
        };
        let (a, b, d) = (self.w16_address(w.offset), self.act_address(dy), self.act_address(dx));
        self.gemm(Gemm { shape, a, b, c: d, d, bias: 0 });
    }

    pub(super) fn linear_backward_weight(
        &mut self,
        s: Shape,
        dy: Act,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        accumulate: bool,
    ) {
        let plain = GemmShape {
            m: w.cols,
            n: w.rows,
            k: s.rows(),
            transpose_a: false,
            transpose_b: true,
            lda: x.ld,
            ldb: dy.ld,
            ldc: w.ld,
            ldd: w.ld,
            output: Type::F32,
            beta: u8::from(accumulate),
            epilogue: Epilogue::None,
        };
        let offsets: Vec<usize> = bias.into_iter().flatten().map(|b| b.offset).collect();
        let d = self.at(self.layout.g, 4, w.offset);
        let (a, b) = (self.act_address(x), self.act_address(dy));
        let product = Gemm { shape: plain, a, b, c: d, d, bias: 0 };
        let summing = GemmShape { epilogue: Epilogue::BiasGradient, ..plain };
        if !offsets.is_empty() && !self.has_column_sums(dy) && self.sums_bias(summing) {
            // Written, not added to: one more row of partial sums.
            let sums = self.partials(1, dy.cols);
            self.gemm(Gemm { shape: summing, bias: self.at(sums, 1, 0), ..product });
            self.columns_summed(dy, sums, 1);
        } else {
            self.gemm(product);
        }
        self.bias_gradients(s, dy, &offsets, accumulate);
    }

    /// Whether products of this shape sum the gradient of a bias, which is decided once.
    fn sums_bias(&mut self, shape: GemmShape) -> bool {
        if let Some(shapes) = &mut self.planning {
            shapes.push(shape);
        }
        self.summing.contains(&shape)
    }
}
