//! residual_add.cu against the plain sum.
use crate::measure::{Stored, judge};
use crate::reference::Float;
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode};
use crate::strided::{apart, column_grid, gather, spread};
use rewarm::Result;
use rewarm::device::Arg;
use rewarm::ops::{Shape, cost};

/// Where the sum goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    Fresh,
    A,
    B,
}

struct Case {
    rows: usize,
    cols: usize,
    /// Of a, b and a fresh y.
    lds: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
    biases: [Option<Vec<f32>>; 2],
}

impl Case {
    fn new(rows: usize, cols: usize, ld: usize, biases: usize) -> Self {
        let mut random = Random::new(21);
        let mut values = |n| bf16s(&random.normals(n, 0.0, 1.0));
        let (a, b) = (values(rows * cols), values(rows * cols));
        let biases = [0, 1].map(|i| (i < biases).then(|| values(cols)));
        Self { rows, cols, lds: apart(cols, ld), a, b, biases }
    }

    /// The leading dimension of y.
    fn ld(&self, to: To) -> usize {
        let [a, b, fresh] = self.lds;
        match to {
            To::Fresh => fresh,
            To::A => a,
            To::B => b,
        }
    }

    fn run(&self, run: &mut Run, to: To) -> Result<()> {
        let (rows, cols, [a_ld, b_ld, y_ld]) = (self.rows, self.cols, self.lds);
        let a = run.upload_bf16(&spread(&self.a, cols, a_ld));
        let b = run.upload_bf16(&spread(&self.b, cols, b_ld));
        let y = match to {
            To::Fresh => run.poisoned(rows * y_ld),
            To::A => a,
            To::B => b,
        };
        let [bias0, bias1] =
            self.biases.each_ref().map(|b| b.as_ref().map_or(Arg::address(0), |b| run.upload_bf16(b).arg()));
        let [a_ld, b_ld, y_ld] = [a_ld, b_ld, self.ld(to)].map(|ld| (ld as i64).into());
        let size = [(rows as i32).into(), (cols as i32).into()];
        let args = [vec![a.arg(), a_ld, b.arg(), b_ld, bias0, bias1, y.arg(), y_ld], size.to_vec()].concat();
        run.launch("residual_add", column_grid(rows, cols), 256, 0, &args)?;
        run.output("y", &y);
        Ok(())
    }

    fn reference<T: Float>(&self) -> Vec<T> {
        let at = |i: usize| {
            let mut sum = T::of(self.a[i].into()) + T::of(self.b[i].into());
            for bias in self.biases.iter().flatten() {
                sum += T::of(bias[i % self.cols].into());
            }
            sum
        };
        (0..self.a.len()).map(at).collect()
    }

    fn check(&self) {
        let (naive, exact) = (bf16s(&self.reference::<f32>()), self.reference::<f64>());
        for to in [To::Fresh, To::A, To::B] {
            let outputs = every_mode(|run| self.run(run, to));
            let y = gather(outputs.get("y"), self.cols, self.ld(to));
            assert_eq!(y, naive, "the same additions in the same order");
            let what = format!("residual_add {}x{} into {to:?}", self.rows, self.cols);
            judge(&what, Stored::Bf16, &y, &naive, &exact, self.cols);
        }
    }
}

#[test]
fn matches_the_reference_in_every_mode() {
    let narrow = [(1, 8, 8), (1, 512, 512), (9, 264, 288), (129, 768, 768), (2049, 40, 48)];
    for (rows, cols, ld) in narrow.into_iter().chain([(1, 5120, 5120), (130, 5120, 5120)]) {
        for biases in 0..3 {
            Case::new(rows, cols, ld, biases).check();
        }
    }
}

/// Sums that cancel, and rows that are all one value.
#[test]
fn large_and_constant_values() {
    let mut case = Case::new(5, 256, 256, 2);
    case.a[..256].fill(50.0);
    case.b[..256].fill(-50.0);
    case.a[256..512].fill(0.0);
    case.b[256..512].fill(0.0);
    case.a[512..].iter_mut().for_each(|x| *x = (25.0 * *x).clamp(-50.0, 50.0));
    case.a = bf16s(&case.a);
    case.check();
}

#[test]
fn traffic_is_the_cost() {
    let s = Shape { batch: 1, time: 2048 };
    for cols in [128, 512, 5120] {
        for biases in 0..3 {
            let case = Case::new(s.time, cols, cols, biases);
            check_traffic(&count(|run| case.run(run, To::Fresh)), cost::residual_add(s, cols, 2).bytes);
        }
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    for to in [To::Fresh, To::A, To::B] {
        deterministic(|run| Case::new(300, 264, 272, 2).run(run, to));
    }
}
