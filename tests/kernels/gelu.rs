//! gelu.cu against the reference: value, gradient and the gradient of the bias.
use crate::bias_grad::sum_partials;
use crate::measure::{Stored, judge};
use crate::reference::ops::{column_sums, gelu};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode, mutations};
use crate::strided::{COLUMN_ROWS, COLUMN_SMEM, apart, column_grid, gather, spread};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer};
use rewarm::ops::{Gelu, Shape, cost};

struct Case {
    rows: usize,
    cols: usize,
    /// Of x, the saved pre-activation, y and dy.
    lds: [usize; 4],
    in_place: bool,
    kind: Gelu,
    x: Vec<f32>,
    bias: Option<Vec<f32>>,
    dy: Vec<f32>,
}

const KINDS: [Gelu; 2] = [Gelu::Erf, Gelu::Tanh];

impl Case {
    fn new(rows: usize, cols: usize, ld: usize, kind: Gelu) -> Self {
        let mut random = Random::new(9);
        let mut values = |n, sigma| bf16s(&random.normals(n, 0.0, sigma));
        let (x, bias, dy) = (values(rows * cols, 1.5), values(cols, 0.5), values(rows * cols, 1.0));
        Self { rows, cols, lds: apart(cols, ld), in_place: false, kind, x, bias: Some(bias), dy }
    }

    fn name(&self, direction: &str) -> String {
        format!("gelu_{direction}_{}", if self.kind == Gelu::Erf { "erf" } else { "tanh" })
    }

    fn forward(&self, run: &mut Run) -> Result<Buffer<bf16>> {
        let (rows, cols, [x_ld, pre_ld, y_ld, _]) = (self.rows, self.cols, self.lds);
        let x = run.upload_bf16(&spread(&self.x, cols, x_ld));
        let pre: Buffer<bf16> = if self.in_place { x } else { run.poisoned(rows * pre_ld) };
        let y: Buffer<bf16> = run.poisoned(rows * y_ld);
        let [x_ld, pre_ld, y_ld] = [x_ld, pre_ld, y_ld].map(|ld| (ld as i64).into());
        let bias = self.bias.as_ref().map_or(Arg::address(0), |b| run.upload_bf16(b).arg());
        let saved = if self.bias.is_some() { pre } else { x };
        let size = [(rows as i32).into(), (cols as i32).into()];
        let args = [vec![x.arg(), x_ld, bias, pre.arg(), pre_ld, y.arg(), y_ld], size.to_vec()].concat();
        run.launch(&self.name("fwd"), column_grid(rows, cols), 256, 0, &args)?;
        run.output("pre", &saved);
        run.output("y", &y);
        Ok(saved)
    }

    fn backward(&self, run: &mut Run, pre: Buffer<bf16>) -> Result<()> {
        let (rows, cols, chunks) = (self.rows, self.cols, self.rows.div_ceil(COLUMN_ROWS));
        let dy = run.upload_bf16(&spread(&self.dy, cols, self.lds[3]));
        let partials: Buffer<f32> = run.poisoned(chunks * cols);
        let wanted = self.bias.is_some();
        let sums = if wanted { partials.arg() } else { Arg::address(0) };
        let [pre_ld, dy_ld] = [self.saved_ld(), self.lds[3]].map(|ld| (ld as i64).into());
        let size = [(rows as i32).into(), (cols as i32).into()];
        let args = [vec![pre.arg(), pre_ld, dy.arg(), dy_ld, sums], size.to_vec()].concat();
        run.launch(&self.name("bwd"), column_grid(rows, cols), 256, COLUMN_SMEM, &args)?;
        run.output("dx", &dy);
        if wanted {
            let out = run.poisoned(cols);
            sum_partials(run, &partials, chunks, cols, &[out], false)?;
            run.output("db", &out);
        }
        Ok(())
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let pre = self.forward(run)?;
        self.backward(run, pre)
    }

    /// Without a bias the pre-activation is x.
    fn saved_ld(&self) -> usize {
        self.lds[usize::from(self.bias.is_some())]
    }

    /// The pre-activation is rounded to bf16: a stated rounding point, so it is given.
    fn pre(&self) -> Vec<f32> {
        let Some(bias) = &self.bias else { return self.x.clone() };
        let sums: Vec<f32> =
            self.x.chunks(self.cols).flat_map(|x| x.iter().zip(bias).map(|(x, b)| x + b)).collect();
        bf16s(&sums)
    }

    /// y, dx, db.
    fn reference<T: Float>(&self) -> [Vec<T>; 3] {
        let pre = cast::<f32, T>(&self.pre());
        let (y, slope): (Vec<T>, Vec<T>) = pre.iter().map(|&x| gelu(x, self.kind)).unzip();
        let dx: Vec<T> = slope.iter().zip(cast::<f32, T>(&self.dy)).map(|(&s, d)| s * d).collect();
        let db = column_sums(&dx, self.cols);
        [y, dx, db]
    }

    fn check(&self) {
        let outputs = every_mode(|run| self.run(run));
        let [y, dx, db] = self.reference::<f32>();
        let [exact_y, exact_dx, exact_db] = self.reference::<f64>();
        let shape = format!("{} {}x{}", self.name("fwd"), self.rows, self.cols);
        let matrix = |name, ld| gather(outputs.get(name), self.cols, ld);
        let [_, _, y_ld, dy_ld] = self.lds;
        assert_eq!(matrix("pre", self.saved_ld()), self.pre(), "{shape}: the saved pre-activation");
        judge(&format!("{shape} y"), Stored::Bf16, &matrix("y", y_ld), &bf16s(&y), &exact_y, self.cols);
        let shape = format!("{} {}x{}", self.name("bwd"), self.rows, self.cols);
        judge(&format!("{shape} dx"), Stored::Bf16, &matrix("dx", dy_ld), &bf16s(&dx), &exact_dx, self.cols);
        if self.bias.is_some() {
            judge(&format!("{shape} db"), Stored::F32, outputs.get("db"), &db, &exact_db, self.cols);
        }
    }
}

#[test]
fn matches_the_reference_in_every_mode() {
    for kind in KINDS {
        let narrow = [(1, 8, 8), (1, 512, 512), (9, 264, 288), (129, 768, 768), (2049, 40, 48)];
        for (rows, cols, ld) in narrow.into_iter().chain([(130, 5120, 5120), (3, 20480, 20480)]) {
            let mut case = Case::new(rows, cols, ld, kind);
            case.check();
            (case.in_place, case.lds[1]) = (true, case.lds[0]);
            case.check();
            case.bias = None;
            case.check();
        }
    }
}

/// Every bf16 from -12 to 12, and far beyond: no NaN, and the tails are right. As one row, whose bias gradient is the
/// slope before it is rounded.
#[test]
fn all_arguments() {
    let mut x: Vec<f32> =
        (0..=u16::MAX).map(|b| bf16::from_bits(b).to_f32()).filter(|x| x.abs() <= 12.0).collect();
    x.extend([50.0, -50.0, 1e4, -1e4, 1e18, -1e18]);
    x.resize(x.len().next_multiple_of(8), 0.0);
    for kind in KINDS {
        let mut case = Case::new(1, 8, 8, kind);
        (case.rows, case.bias, case.dy) = (x.len() / 8, None, vec![1.0; x.len()]);
        case.x = bf16s(&x);
        case.check();
        (case.rows, case.cols, case.lds) = (1, x.len(), [x.len(); 4]);
        case.bias = Some(vec![0.0; x.len()]);
        case.check();
    }
}

/// Sums of one value over and over: rounding errors that all have the same sign.
#[test]
fn constant_rows() {
    for kind in KINDS {
        let mut case = Case::new(300, 264, 264, kind);
        (case.bias, case.dy) = (Some(vec![0.0; 264]), vec![0.3; 300 * 264]);
        case.dy = bf16s(&case.dy);
        for (x, value) in case.x.chunks_mut(264).zip([0.7, 0.0, -50.0, 50.0, -3.0].into_iter().cycle()) {
            x.fill(value);
        }
        case.x = bf16s(&case.x);
        case.check();
    }
}

#[test]
fn traffic_is_the_cost() {
    let s = Shape { batch: 1, time: 2048 };
    // Whole tiles, and half of one.
    for (kind, cols) in [(Gelu::Erf, 512), (Gelu::Tanh, 512), (Gelu::Erf, 128), (Gelu::Tanh, 5120)] {
        let mut case = Case::new(s.time, cols, cols, kind);
        let sums = cost::sum_partials(s.time / COLUMN_ROWS, case.cols, false).bytes;
        let backward = count(|run| {
            let pre = run.upload_bf16(&case.x);
            case.backward(run, pre)
        });
        check_traffic(&backward, cost::gelu_bwd(s, case.cols, 2).bytes + sums);
        for bias in [true, false] {
            case.bias = case.bias.filter(|_| bias);
            let forward = count(|run| case.forward(run).map(|_| ()));
            check_traffic(&forward, cost::gelu(s, case.cols, bias, 2).bytes);
        }
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    for kind in KINDS {
        deterministic(|run| Case::new(300, 264, 288, kind).run(run));
    }
}

#[test]
fn every_synchronisation_is_needed() {
    for kind in KINDS {
        mutations("gelu", &[], |run| Case::new(130, 264, 264, kind).run(run));
    }
}
