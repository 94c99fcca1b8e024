//! layernorm_bwd.cu against the reference's gradient, and its second stage.
use crate::bias_grad::sum_partials;
use crate::measure::{Stored, judge};
use crate::reference::ops::{add, layernorm_bwd, moments};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode, mutations};
use crate::strided::{apart, gather, spread};
use rewarm::Result;
use rewarm::device::Buffer;
use rewarm::ops::{Shape, cost};

const ROWS: usize = 64;

struct Case {
    rows: usize,
    cols: usize,
    /// Of x, dy and dx.
    lds: [usize; 3],
    x: Vec<f32>,
    stats: Vec<f32>,
    w: Vec<Vec<f32>>,
    dy: Vec<Vec<f32>>,
    dx: Vec<f32>,
    /// What the gradients of the weights were before, if they accumulate.
    before: Option<Vec<f32>>,
}

impl Case {
    fn new(rows: usize, cols: usize, norms: usize) -> Self {
        let mut random = Random::new(5);
        let mut matrix = |mean, sigma| bf16s(&random.normals(rows * cols, mean, sigma));
        let (x, dx) = (matrix(0.5, 1.0), matrix(0.0, 1.0));
        let dy = (0..norms).map(|_| matrix(0.1, 1.0)).collect();
        let w = (0..norms).map(|_| random.normals(cols, 1.0, 0.2)).collect();
        let stats = moments(&x, cols, 1e-5);
        Self { rows, cols, lds: [cols; 3], x, stats, w, dy, dx, before: None }
    }

    fn kernel(&self) -> (&'static str, usize) {
        match (self.w.len(), self.cols) {
            (1, _) => ("layernorm_bwd", 640),
            (_, 0..=4096) => ("layernorm_pair_bwd_4096", 640),
            _ => ("layernorm_pair_bwd_5120", 320),
        }
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let (rows, cols, groups, chunks) = (self.rows, self.cols, 2 * self.w.len(), self.rows.div_ceil(ROWS));
        let [x_ld, dy_ld, dx_ld] = self.lds;
        let mut matrix = |m: &[f32], ld| run.upload_bf16(&spread(m, cols, ld));
        let (x, dx) = (matrix(&self.x, x_ld), matrix(&self.dx, dx_ld));
        let dy: Vec<_> = self.dy.iter().map(|d| matrix(d, dy_ld).arg()).collect();
        let w = self.w.iter().map(|w| run.upload(w).arg());
        let w: Vec<_> = w.collect();
        let partials: Buffer<f32> = run.poisoned(chunks * groups * cols);
        let head = vec![x.arg(), (x_ld as i64).into(), run.upload(&self.stats).arg()];
        let sizes = [partials.arg(), (rows as i32).into(), (cols as i32).into()];
        let tail = [vec![(dy_ld as i64).into(), dx.arg(), (dx_ld as i64).into()], sizes.to_vec()].concat();
        let (name, smem) = self.kernel();
        run.launch(name, [chunks, 1, 1], 32 * cols.div_ceil(256), smem, &[head, w, dy, tail].concat())?;
        let before = self.before.as_ref();
        let mut gradient = || match before {
            Some(b) => run.upload(&b[..cols]),
            None => run.poisoned(cols),
        };
        let out: Vec<Buffer<f32>> = (0..groups).map(|_| gradient()).collect();
        sum_partials(run, &partials, chunks, cols, &out, before.is_some())?;
        run.output("dx", &dx);
        for (name, out) in NAMES.into_iter().zip(&out) {
            run.output(name, out);
        }
        Ok(())
    }

    /// dx, then the gradients of weight and bias of each norm.
    fn reference<T: Float>(&self) -> Vec<Vec<T>> {
        let (x, stats, mut dx): (Vec<T>, Vec<T>, Vec<T>) = (cast(&self.x), cast(&self.stats), cast(&self.dx));
        let mut parts = Vec::new();
        let mut total = vec![T::default(); x.len()];
        for (w, dy) in self.w.iter().zip(&self.dy) {
            let [d, dw, db] = layernorm_bwd(&x, &stats, &cast::<_, T>(w), &cast::<_, T>(dy));
            add(&mut total, &d);
            parts.extend([dw, db]);
        }
        add(&mut dx, &total);
        for part in parts.iter_mut().filter(|_| self.before.is_some()) {
            add(part, &cast::<_, T>(&self.before.as_ref().unwrap()[..self.cols]));
        }
        [vec![dx], parts].concat()
    }

    fn check(&self) {
        let outputs = every_mode(|run| self.run(run));
        let (naive, exact) = (self.reference::<f32>(), self.reference::<f64>());
        let shape = format!("layernorm_bwd {}x{}x{}", self.w.len(), self.rows, self.cols);
        let dx = gather(outputs.get("dx"), self.cols, self.lds[2]);
        judge(&format!("{shape} dx"), Stored::Bf16, &dx, &bf16s(&naive[0]), &exact[0], self.cols);
        for (i, name) in NAMES.into_iter().take(exact.len() - 1).enumerate() {
            let got = outputs.get(name);
            judge(&format!("{shape} {name}"), Stored::F32, got, &naive[i + 1], &exact[i + 1], self.cols);
        }
    }
}

const NAMES: [&str; 4] = ["dw0", "db0", "dw1", "db1"];

#[test]
fn matches_the_reference_in_every_mode() {
    let narrow = [(1, 8), (1, 512), (3, 520), (65, 768), (130, 1024), (2049, 40)];
    for (rows, cols) in narrow.into_iter().chain([(7, 2048), (5, 4104), (1, 5120), (66, 5120)]) {
        for norms in [1, 2] {
            Case::new(rows, cols, norms).check();
        }
    }
}

#[test]
fn rows_apart_and_accumulation() {
    for norms in [1, 2] {
        let mut case = Case::new(67, 264, norms);
        case.lds = apart(264, 280);
        case.before = Some(Random::new(2).normals(264, 0.0, 10.0));
        case.check();
    }
}

/// Variance 0: rstd is 1/√ε.
#[test]
fn constant_rows_and_large_values() {
    for norms in [1, 2] {
        let mut case = Case::new(5, 256, norms);
        case.x[..256].fill(3.0);
        case.x[256..512].fill(0.0);
        case.x[512..768].iter_mut().for_each(|x| *x = (25.0 * *x).clamp(-50.0, 50.0));
        case.dy[0][768..1024].fill(50.0);
        case.x = bf16s(&case.x);
        case.stats = moments(&case.x, 256, 1e-5);
        case.check();
    }
}

#[test]
fn traffic_is_the_cost() {
    for (norms, cols) in [(1, 512), (2, 512), (2, 768), (2, 4096), (2, 5120)] {
        let case = Case::new(2048, cols, norms);
        let s = Shape { batch: 1, time: case.rows };
        let sums = cost::sum_partials(case.rows.div_ceil(ROWS), 2 * norms * cols, false);
        let counters = count(|run| case.run(run));
        check_traffic(&counters, cost::layernorm_bwd(s, cols, norms, 2).bytes + sums.bytes);
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    for (norms, cols) in [(1, 264), (2, 264), (2, 4104)] {
        deterministic(|run| Case::new(66, cols, norms).run(run));
    }
}

#[test]
fn every_synchronisation_is_needed() {
    for (norms, cols) in [(1, 512), (2, 512), (2, 4104)] {
        mutations("layernorm_bwd", &[], |run| Case::new(5, cols, norms).run(run));
    }
}
