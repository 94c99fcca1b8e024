//! Kernels that no operation of the vocabulary launches, called by name.
use super::Case;
use super::rotary::{Rotary, dims};
use crate::Result;
use crate::backend::cpu::rotary::Tables;
use crate::device::Device;
use crate::reference::Float;
use crate::reference::attention::rotary;
use crate::reference::measure::Stored::{Bf16, F32};
use crate::reference::random::{Random, philox};
use crate::selftest::judge::{Activations, Expected, Outputs};
use crate::selftest::launch::{Input, Program, given, half_values, halves, poison, run, values};
use crate::selftest::rig::{On, RowRun, draw, of};
use std::f64::consts::TAU;

/// Launches `program` and looks at the buffers that it leaves.
pub fn found(
    device: Box<dyn Device>,
    program: &Program,
    outputs: impl FnOnce(&[Vec<u8>]) -> Outputs,
) -> Result<RowRun> {
    let buffers = run(device, program)?;
    Ok(RowRun { outputs: outputs(&buffers), kernels: vec![program.kernel.to_owned()] })
}

/// `n` values of bf16 as f32.
#[derive(Clone, Copy)]
pub struct Cast(pub usize);

impl Cast {
    fn x(self) -> Vec<f32> {
        draw(&mut Random::new(3), self.0, 0.0, 100.0)
    }
}

impl Case for Cast {
    fn op(&self) -> &'static str {
        "cast_bf16_f32"
    }

    fn shape(&self) -> String {
        self.0.to_string()
    }

    fn kernel_alone(&self) -> bool {
        true
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let inputs = vec![halves(&self.x()), poison::<f32>(self.0), Input::Long(self.0 as u64)];
        let grid = [self.0.div_ceil(4096) as u32, 1, 1];
        let program = Program { kernel: self.op(), grid, threads: 256, shared_bytes: 0, inputs };
        found(on.device()?, &program, |out| vec![("y", values(&out[1]))])
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        vec![Expected::bits("y", self.x())]
    }
}

/// What random bits become.
#[derive(Clone, Copy, PartialEq)]
pub enum Draw {
    /// The raw 32-bit words of the generator.
    Bits,
    /// Numbers uniform in (0, 1).
    Uniform,
    /// Of N([`MEAN`], [`SIGMA`]²), two from two by Box and Muller.
    Normal,
}

/// A launch that draws `n` random numbers by Philox 4x32-10.
#[derive(Clone, Copy)]
pub struct Philox {
    /// What is drawn.
    pub draw: Draw,
    /// How many numbers are drawn.
    pub n: usize,
}

const MEAN: f32 = 0.25;
const SIGMA: f32 = 0.02;
const SEED: u64 = 0x299f_31d0_a409_3822;
const STREAM: u64 = 0x0370_7344_1319_8a2e;

impl Philox {
    /// Whole groups of four.
    fn bits(&self) -> Vec<u32> {
        (0..self.n.div_ceil(4)).flat_map(|i| philox(SEED, [i as u64, STREAM])).collect()
    }

    fn uniforms<T: Float>(&self) -> Vec<T> {
        self.bits().iter().map(|&x| T::of((f64::from(x >> 9) + 0.5) / f64::from(1 << 23))).collect()
    }

    fn normals<T: Float>(&self) -> Vec<T> {
        let of = |x: f32| T::of(x.into());
        let pair = |u: &[T]| {
            let (far, angle) = ((T::of(-2.0) * u[0].ln()).sqrt(), T::of(TAU) * u[1]);
            let angle = angle.to_f64();
            [angle.cos(), angle.sin()].map(|x| of(MEAN) + of(SIGMA) * far * T::of(x))
        };
        self.uniforms().chunks(2).flat_map(pair).take(self.n).collect()
    }
}

/// As numbers that f32 holds.
fn parts(bits: &[u32]) -> Vec<f32> {
    bits.iter().flat_map(|x| [x & 0xffff, x >> 16]).map(|x| x as f32).collect()
}

impl Case for Philox {
    fn op(&self) -> &'static str {
        match self.draw {
            Draw::Bits => "philox_bits",
            Draw::Uniform => "philox_uniform",
            Draw::Normal => "philox_normal",
        }
    }

    fn shape(&self) -> String {
        self.n.to_string()
    }

    fn kernel_alone(&self) -> bool {
        true
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let mut inputs = vec![poison::<u32>(self.n), Input::Long(self.n as u64)];
        inputs.extend([Input::Long(SEED), Input::Long(STREAM)]);
        if self.draw == Draw::Normal {
            inputs.extend([Input::Float(MEAN), Input::Float(SIGMA)]);
        }
        let grid = [self.n.div_ceil(1024) as u32, 1, 1];
        let program = Program { kernel: self.op(), grid, threads: 256, shared_bytes: 0, inputs };
        let as_bits = self.draw == Draw::Bits;
        found(on.device()?, &program, |out| {
            vec![("out", if as_bits { parts(&values(&out[0])) } else { values(&out[0]) })]
        })
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        vec![match self.draw {
            Draw::Bits => Expected::bits("out", parts(&self.bits()[..self.n])),
            Draw::Uniform => Expected::bits("out", self.uniforms()[..self.n].to_vec()),
            Draw::Normal => Expected::new("out", F32, self.n, self.normals(), self.normals()),
        }]
    }
}

/// `y = a + b`, and so many biases.
#[derive(Clone, Copy)]
pub struct ResidualAdd {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// 0, 1 or 2.
    pub biases: usize,
}

impl ResidualAdd {
    /// a, b and both biases.
    fn terms(&self) -> [Vec<f32>; 4] {
        let (mut random, n) = (Random::new(21), self.rows * self.cols);
        [n, n, self.cols, self.cols].map(|n| draw(&mut random, n, 0.0, 1.0))
    }

    fn reference<T: Float>(&self) -> Vec<T> {
        let terms = self.terms().map(|x| of::<T>(&x));
        let at = |i: usize| {
            let biases = terms[2..][..self.biases].iter().map(|bias| bias[i % self.cols]);
            biases.fold(terms[0][i] + terms[1][i], |sum, bias| sum + bias)
        };
        (0..terms[0].len()).map(at).collect()
    }
}

impl Case for ResidualAdd {
    fn op(&self) -> &'static str {
        "residual_add"
    }

    fn shape(&self) -> String {
        format!("{} x {}, {} biases", self.rows, self.cols, self.biases)
    }

    fn kernel_alone(&self) -> bool {
        true
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let [a, b, first, second] = self.terms().map(|x| halves(&x));
        let bias = |i: usize, values| if i < self.biases { values } else { Input::Null };
        let ld = || Input::Long(self.cols as u64);
        let mut inputs = vec![a, ld(), b, ld(), bias(0, first), bias(1, second)];
        inputs.extend([poison::<u16>(self.rows * self.cols), ld()]);
        inputs.extend([self.rows, self.cols].map(|n| Input::Int(n as i32)));
        let grid = [self.rows.div_ceil(128) as u32, self.cols.div_ceil(256) as u32, 1];
        let program = Program { kernel: self.op(), grid, threads: 256, shared_bytes: 0, inputs };
        found(on.device()?, &program, |out| vec![("y", half_values(out.last().expect("y")))])
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        vec![Expected::new("y", Bf16, self.cols, self.reference(), self.reference())]
    }
}

/// The rotation back, which attention's gradient does by itself.
#[derive(Clone, Copy)]
pub struct RotaryBackward(pub Rotary);

impl RotaryBackward {
    /// By the elements of an access: the most that divides half of the rotating dimensions.
    fn kernel(&self) -> &'static str {
        let half = self.0.heads.rotary / 2;
        let kernels = [(8, "rotary_bwd_8"), (4, "rotary_bwd_4"), (2, "rotary_bwd_2"), (1, "rotary_bwd_1")];
        kernels.into_iter().find(|(n, _)| half.is_multiple_of(*n)).expect("1 divides it").1
    }
}

impl Case for RotaryBackward {
    fn op(&self) -> &'static str {
        "rotary_bwd"
    }

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn kernel_alone(&self) -> bool {
        true
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let Rotary { s, heads, first } = self.0;
        let d = dims(s, heads);
        let tables = Tables::new(first + s.time, heads.rotary, d.base);
        let positions: Vec<i32> = (0..s.rows()).map(|row| (first + row % s.time) as i32).collect();
        let mut inputs = vec![halves(&self.0.qkv()), Input::Long(d.width() as u64), given(&positions)];
        inputs.extend([tables.cos(), tables.sin()].map(given));
        inputs.extend([s.rows(), heads.count, heads.size, heads.rotary].map(|n| Input::Int(n as i32)));
        let grid = [s.rows().div_ceil(16) as u32, 1, 1];
        let program = Program { kernel: self.kernel(), grid, threads: 256, shared_bytes: 0, inputs };
        found(on.device()?, &program, |out| vec![("qkv", half_values(&out[0]))])
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        let (d, qkv) = (dims(self.0.s, self.0.heads), self.0.qkv());
        let (mut naive, mut exact) = (qkv.clone(), of::<f64>(&qkv));
        rotary(d, &mut naive, self.0.first, -1.0);
        rotary(d, &mut exact, self.0.first, -1.0);
        vec![Expected::new("qkv", Bf16, d.size, naive, exact)]
    }
}
