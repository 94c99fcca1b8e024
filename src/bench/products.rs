//! The matrix product of an operation by the `gemm` crate itself, whole and on all threads: what the tiles of the
//! processor's backend are compared with. It leaves out biases and residuals; GELU follows in a pass of its own.
use super::cases::Cases;
use crate::backend::cpu::{whole_gelu, whole_product};
use crate::ops::Gelu;
use std::time::Instant;

/// Samples of a product, and seconds that they take in all.
const SAMPLES: usize = 10;
const SECONDS: f64 = 0.6;

/// `c[m, n] = a·b`.
#[derive(Clone, Copy)]
pub struct Product {
    /// `m`, `n` and `k` of the product.
    pub size: [usize; 3],
    /// Whether a and b are stored transposed.
    transposed: [bool; 2],
    /// Whether it is added to c.
    accumulate: bool,
    /// What follows it.
    gelu: Option<Gelu>,
}

impl Product {
    /// The product of a case, where it is one.
    pub fn of(cases: &Cases, name: &str) -> Option<Self> {
        let (operation, matrix) = name.split_once(' ')?;
        let config = &cases.model.config;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let (outputs, inputs) = match matrix {
            "qkv" => (3 * c, c),
            "up" => (f, c),
            "out" => (c, c + f),
            "dense" => (c, c),
            "down" => (c, f),
            "head" => (config.vocab_size, c),
            _ => return None,
        };
        let at = cases.first();
        let rows = if matrix == "head" { at.chunk.rows() } else { at.s.rows() };
        let (size, transposed, accumulate) = match operation {
            "linear" | "linear_gelu" => ([rows, outputs, inputs], [false, true], false),
            "linear_bwd_input" => ([rows, inputs, outputs], [false, false], false),
            "linear_bwd_weight" => ([outputs, inputs, rows], [true, false], true),
            _ => return None,
        };
        let gelu = (operation == "linear_gelu").then_some(config.gelu);
        Some(Self { size, transposed, accumulate, gelu })
    }

    /// Seconds of each repetition. Operands are used in turn until they exceed `rotated` bytes.
    pub fn samples(&self, rotated: usize) -> Vec<f64> {
        let [m, n, k] = self.size;
        let results = if self.gelu.is_some() { 2 } else { 1 };
        let bytes = 4 * (m * k + k * n + results * m * n);
        let copies = rotated.div_ceil(bytes).max(2);
        let values =
            |len: usize| -> Vec<f32> { (0..len).map(|i| (i * 7919 % 4093) as f32 / 4093.0 - 0.5).collect() };
        let mut operands: Vec<_> = (0..copies)
            .map(|_| (values(m * k), values(k * n), values(m * n), values((results - 1) * m * n)))
            .collect();
        let mut once = |i: usize| {
            let (a, b, c, y) = &mut operands[i % copies];
            let started = Instant::now();
            whole_product(c, self.size, self.accumulate, (a, self.transposed[0]), (b, self.transposed[1]));
            if let Some(kind) = self.gelu {
                whole_gelu(kind, c, y, n);
            }
            started.elapsed().as_secs_f64()
        };
        once(0);
        let (mut samples, mut total) = (Vec::new(), 0.0);
        while samples.len() < SAMPLES || total < SECONDS {
            let seconds = once(samples.len() + 1);
            samples.push(seconds);
            total += seconds;
        }
        samples
    }
}
