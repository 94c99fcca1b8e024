//! residual_add.cu against the plain sum.
use crate::measure::{Stored, judge};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::rig::{Run, bf16s, check_traffic, count, every_mode};
use crate::strided::{column_grid, gather, spread};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer};
use rewarm::ops::{Shape, cost};

struct Case {
    rows: usize,
    cols: usize,
    ld: usize,
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
        Self { rows, cols, ld, a, b, biases }
    }

    fn run(&self, run: &mut Run, in_place: bool) -> Result<()> {
        let (rows, cols) = (self.rows, self.cols);
        let a = run.upload_bf16(&spread(&self.a, cols, self.ld));
        let b = run.upload_bf16(&self.b);
        let y: Buffer<bf16> = if in_place { a } else { run.poisoned(rows * self.ld) };
        let [bias0, bias1] =
            self.biases.each_ref().map(|b| b.as_ref().map_or(Arg::address(0), |b| run.upload_bf16(b).arg()));
        let (ld, dense) = (|| (self.ld as i64).into(), (cols as i64).into());
        let size = [(rows as i32).into(), (cols as i32).into()];
        let args = [vec![a.arg(), ld(), b.arg(), dense, bias0, bias1, y.arg(), ld()], size.to_vec()].concat();
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
}

#[test]
fn matches_the_reference_in_every_mode() {
    for (rows, cols, ld) in [(1, 8, 8), (1, 512, 512), (9, 264, 288), (129, 768, 768), (3, 5120, 5120)] {
        for biases in 0..3 {
            let case = Case::new(rows, cols, ld, biases);
            for in_place in [false, true] {
                let outputs = every_mode(|run| case.run(run, in_place));
                let y = gather(outputs.get("y"), cols, ld);
                let (naive, exact) = (bf16s(&case.reference::<f32>()), case.reference::<f64>());
                assert_eq!(y, naive, "the same additions in the same order");
                let what = format!("residual_add {rows}x{cols} + {biases}");
                judge(&what, Stored::Bf16, &y, &cast::<f32, f32>(&naive), &exact, cols);
            }
        }
    }
}

#[test]
fn traffic_is_the_cost() {
    let s = Shape { batch: 1, time: 2048 };
    for biases in 0..3 {
        let case = Case::new(2048, 512, 512, biases);
        check_traffic(&count(|run| case.run(run, false)), cost::residual_add(s, 512, 2).bytes);
    }
}
