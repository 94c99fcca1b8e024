//! copy_rows.cu: equal bits.
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode};
use crate::strided::{column_grid, gather, spread};
use rewarm::Result;
use rewarm::ops::{Shape, cost};

struct Case {
    rows: usize,
    cols: usize,
    /// Of x and y.
    lds: [usize; 2],
    x: Vec<f32>,
}

impl Case {
    fn new(rows: usize, cols: usize, lds: [usize; 2]) -> Self {
        Self { rows, cols, lds, x: bf16s(&Random::new(5).normals(rows * cols, 0.0, 1.0)) }
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let [x_ld, y_ld] = self.lds;
        let x = run.upload_bf16(&spread(&self.x, self.cols, x_ld));
        let y = run.poisoned::<half::bf16>(self.rows * y_ld);
        let [x_ld, y_ld] = self.lds.map(|ld| (ld as i64).into());
        let args = [x.arg(), x_ld, y.arg(), y_ld, (self.rows as i32).into(), (self.cols as i32).into()];
        run.launch("copy_rows", column_grid(self.rows, self.cols), 256, 0, &args)?;
        run.output("y", &y);
        Ok(())
    }
}

#[test]
fn equal_bits_in_every_mode() {
    let cases = [
        (1, 8, [8, 8]),
        (9, 264, [264, 288]),
        (129, 768, [3840, 768]),
        (2049, 40, [48, 200]),
        (130, 5120, [5120, 5120]),
    ];
    for (rows, cols, lds) in cases {
        let case = Case::new(rows, cols, lds);
        let outputs = every_mode(|run| case.run(run));
        let y = gather(outputs.get("y"), cols, lds[1]);
        assert!(y.iter().zip(&case.x).all(|(y, x)| y.to_bits() == x.to_bits()), "{rows} x {cols}");
    }
}

#[test]
fn nan_stays() {
    let mut case = Case::new(2, 8, [8, 16]);
    case.x[3] = f32::NAN;
    let outputs = every_mode(|run| case.run(run));
    assert!(gather(outputs.get("y"), 8, 16)[3].is_nan());
}

#[test]
fn equal_bits_whatever_runs_first() {
    deterministic(|run| Case::new(300, 264, [272, 528]).run(run));
}

#[test]
fn traffic_is_the_cost() {
    let s = Shape { batch: 1, time: 2048 };
    for cols in [128, 512, 5120] {
        let case = Case::new(s.time, cols, [cols, 5 * cols]);
        check_traffic(&count(|run| case.run(run)), cost::copy(s, cols, 2).bytes);
    }
}
