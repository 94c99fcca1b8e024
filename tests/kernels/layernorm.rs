//! layernorm.cu against the reference's layernorm.
use crate::measure::{Stored, judge};
use crate::reference::ops::{layernorm, moments};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode, mutations};
use crate::strided::{apart, gather, spread};
use half::bf16;
use rewarm::Result;
use rewarm::device::Buffer;
use rewarm::ops::{Shape, cost};

const EPS: f32 = 1e-5;

struct Case {
    rows: usize,
    cols: usize,
    norms: usize,
    /// Of x, of y.
    lds: [usize; 2],
    x: Vec<f32>,
    /// Weight and bias of each norm.
    affine: Vec<[Vec<f32>; 2]>,
}

impl Case {
    fn new(rows: usize, cols: usize, norms: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let x = bf16s(&random.normals(rows * cols, 0.5, 1.0));
        let affine = (0..norms).map(|_| [random.normals(cols, 1.0, 0.2), random.normals(cols, 0.0, 0.2)]);
        Self { rows, cols, norms, lds: [cols; 2], x, affine: affine.collect() }
    }

    /// The instance for this width: its name, and its shared memory.
    fn kernel(&self) -> (String, usize) {
        let width = [512, 1024, 2048, 5120].into_iter().find(|&w| self.cols <= w).unwrap();
        let pair = if self.norms == 2 { "pair_" } else { "" };
        (format!("layernorm_{pair}fwd_{width}"), 8 * self.norms * width)
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let (rows, cols, [x_ld, y_ld]) = (self.rows, self.cols, self.lds);
        let x = run.upload_bf16(&spread(&self.x, cols, x_ld));
        let y: Vec<Buffer<bf16>> = (0..self.norms).map(|_| run.poisoned(rows * y_ld)).collect();
        let stats: Buffer<f32> = run.poisoned(2 * rows);
        let mut args = vec![x.arg(), (x_ld as i64).into()];
        for affine in &self.affine {
            args.extend(affine.iter().map(|a| run.upload(a).arg()));
        }
        args.extend(y.iter().map(Buffer::arg));
        let sizes = [(rows as i32).into(), (cols as i32).into()];
        args.extend([(y_ld as i64).into(), stats.arg(), EPS.into()].into_iter().chain(sizes));
        let (name, smem) = self.kernel();
        run.launch(&name, [rows.div_ceil(64), 1, 1], 256, smem, &args)?;
        run.output("stats", &stats);
        for (name, y) in ["y0", "y1"].into_iter().zip(&y) {
            run.output(name, y);
        }
        Ok(())
    }

    /// Moments, then the outputs, unrounded.
    fn reference<T: Float>(&self) -> Vec<Vec<T>> {
        let x: Vec<T> = cast(&self.x);
        let stats = moments(&x, self.cols, f64::from(EPS));
        let outputs =
            self.affine.iter().map(|[w, b]| layernorm(&x, &stats, &cast::<_, T>(w), &cast::<_, T>(b)));
        let outputs: Vec<_> = outputs.collect();
        [vec![stats], outputs].concat()
    }

    fn check(&self) {
        let outputs = every_mode(|run| self.run(run));
        let (naive, exact) = (self.reference::<f32>(), self.reference::<f64>());
        let shape = format!("layernorm {}x{}x{}", self.norms, self.rows, self.cols);
        judge(&format!("{shape} stats"), Stored::F32, outputs.get("stats"), &naive[0], &exact[0], 2);
        for (i, name) in ["y0", "y1"].into_iter().take(self.norms).enumerate() {
            let (naive, exact) = (bf16s(&naive[i + 1]), &exact[i + 1]);
            let y = gather(outputs.get(name), self.cols, self.lds[1]);
            judge(&format!("{shape} {name}"), Stored::Bf16, &y, &naive, exact, self.cols);
        }
    }
}

#[test]
fn matches_the_reference_in_every_mode() {
    let narrow = [(1, 8), (1, 512), (3, 520), (65, 768), (130, 1024), (2049, 40)];
    for (rows, cols) in narrow.into_iter().chain([(9, 2048), (1, 4104), (1, 5120), (66, 5120)]) {
        for norms in [1, 2] {
            Case::new(rows, cols, norms, 7).check();
        }
    }
}

#[test]
fn rows_apart() {
    for norms in [1, 2] {
        let mut case = Case::new(67, 264, norms, 5);
        case.lds = apart(264, 280);
        case.check();
    }
}

#[test]
fn constant_rows_large_means_and_large_values() {
    let mut case = Case::new(5, 256, 2, 3);
    case.x[..256].fill(3.0);
    case.x[256..512].fill(0.0);
    for x in &mut case.x[512..768] {
        *x = bf16::from_f32(100.0 + *x).to_f32();
    }
    for x in &mut case.x[1024..] {
        *x = bf16::from_f32(25.0 * *x).to_f32().clamp(-50.0, 50.0);
    }
    case.check();
}

#[test]
fn traffic_is_the_cost() {
    // Every instance at its width.
    for cols in [512, 1024, 2048, 5120] {
        for norms in [1, 2] {
            let case = Case::new(2048, cols, norms, 1);
            let s = Shape { batch: 1, time: case.rows };
            check_traffic(&count(|run| case.run(run)), cost::layernorm(s, case.cols, norms, 2).bytes);
        }
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    for norms in [1, 2] {
        deterministic(|run| Case::new(200, 264, norms, 1).run(run));
    }
}

#[test]
fn every_synchronisation_is_needed() {
    mutations("layernorm", &[], |run| Case::new(16, 512, 2, 1).run(run));
}
