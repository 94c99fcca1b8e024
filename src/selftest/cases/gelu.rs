//! The up-projection with its GELU, and GELU's gradient with that of the bias, which it sums on the way.
use super::Case;
use crate::Result;
use crate::ops::{Gelu, Ops, Shape};
use crate::reference::Float;
use crate::reference::measure::Stored::{Approximate, F32};
use crate::reference::ops::{column_sums, gelu, linear, linear_bwd_weight};
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::naive::weight_gradient;
use crate::selftest::rig::{On, Places, RowRun, both, draw, of, row, scatter};

/// `rows` rows of `cols` GELUs.
#[derive(Clone, Copy)]
pub struct Up {
    /// Whether GELU is erf's or tanh's.
    pub kind: Gelu,
    /// Rows of the activation.
    pub rows: usize,
    /// Columns of the activation.
    pub cols: usize,
}

/// The gradient of [`Up`] with respect to what GELU was given.
#[derive(Clone, Copy)]
pub struct UpBackward(pub Up);

/// Features that go in: few, as products have rows of their own.
const INPUTS: usize = 64;

struct Values {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    pre: Vec<f32>,
    dy: Vec<f32>,
}

impl Up {
    fn s(&self) -> Shape {
        Shape { batch: 1, time: self.rows }
    }

    fn name(&self) -> &'static str {
        if self.kind == Gelu::Erf { "erf" } else { "tanh" }
    }

    fn values(&self) -> Values {
        let mut random = Random::new((self.rows + self.cols) as u64);
        let n = self.rows * self.cols;
        Values {
            x: draw(&mut random, self.rows * INPUTS, 0.0, 1.0),
            w: draw(&mut random, self.cols * INPUTS, 0.0, 0.2),
            bias: draw(&mut random, self.cols, 0.0, 0.5),
            pre: draw(&mut random, n, 0.0, 1.5),
            dy: draw(&mut random, n, 0.0, 1.0),
        }
    }

    /// dx before it is rounded, its columns' sums, and `dw` of what is rounded.
    fn gradients<T: Float>(&self, v: &Values) -> [Vec<T>; 2] {
        let pre: Vec<T> = of(&v.pre);
        let dy: Vec<T> = of(&v.dy);
        let dx: Vec<T> = pre.iter().zip(dy).map(|(&x, d)| gelu(x, self.kind).1 * d).collect();
        let db = column_sums(&dx, self.cols);
        [dx, db]
    }
}

impl Case for Up {
    fn op(&self) -> &'static str {
        "linear_gelu"
    }

    fn shape(&self) -> String {
        format!("{} x {INPUTS} x {} {}", self.rows, self.cols, self.name())
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let v = self.values();
        let mut places = Places::summing(self.cols);
        let (x, saved) = (places.act(self.rows, INPUTS), places.act(self.rows, self.cols));
        let y = places.view(self.rows, self.cols);
        let (w, bias) = (places.matrix(self.cols, INPUTS, 0), places.vector(self.cols));
        let mut rig = places.build(on, self.s())?;
        scatter(&mut rig.weights, w, &v.w);
        scatter(&mut rig.weights, row(bias), &v.bias);
        let mut issue = |ops: &mut dyn Ops| ops.linear_gelu(self.s(), x, w, bias, self.kind, saved, y, false);
        rig.perform(&mut issue, |rig| {
            rig.load()?;
            rig.write_act(x, &v.x)?;
            let poison = vec![f32::NAN; self.rows * self.cols];
            rig.write_act(saved, &poison)?;
            rig.write_act(y, &poison)
        })?;
        let (saved, y) = (rig.read_act(saved, self.rows)?, rig.read_act(y, self.rows)?);
        rig.finish(vec![("saved", saved), ("y", y)])
    }

    /// A device keeps the pre-activation, rounded: a stated rounding point. A processor keeps the slope.
    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let v = self.values();
        let (naive, exact) = both(
            || linear(&v.x, &v.w, Some(&v.bias), INPUTS),
            || linear::<f64>(&of(&v.x), &of(&v.w), Some(&of::<f64>(&v.bias)), INPUTS),
        );
        let (naive_y, naive_slope) = storage.kept(&naive).iter().map(|&x| gelu(x, self.kind)).unzip();
        let (exact_y, exact_slope) = exact.iter().map(|&x| gelu(x, self.kind)).unzip();
        let (naive, exact) = match storage {
            Activations::F32 => (naive_slope, exact_slope),
            Activations::Bf16 => (naive, exact),
        };
        vec![
            Expected::new("saved", storage.stored(), self.cols, naive, exact),
            Expected::new("y", storage.stored(), self.cols, naive_y, exact_y),
        ]
    }
}

impl Case for UpBackward {
    fn op(&self) -> &'static str {
        "gelu_bwd"
    }

    fn shape(&self) -> String {
        format!("{} x {} {}", self.0.rows, self.0.cols, self.0.name())
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (case, v) = (self.0, self.0.values());
        let mut places = Places::summing(case.cols);
        let (x, saved) = (places.act(case.rows, INPUTS), places.act(case.rows, case.cols));
        let dy = places.view(case.rows, case.cols);
        let (w, bias) = (places.matrix(case.cols, INPUTS, 0), places.vector(case.cols));
        let saves = match on.storage() {
            Activations::F32 => v.pre.iter().map(|&x| gelu(x, case.kind).1).collect(),
            Activations::Bf16 => v.pre,
        };
        let mut rig = places.build(on, case.s())?;
        let mut issue = |ops: &mut dyn Ops| {
            ops.gelu_bwd(case.s(), case.kind, saved, dy);
            ops.linear_bwd_weight(case.s(), dy, x, w, [Some(bias), None], false);
        };
        rig.perform(&mut issue, |rig| {
            rig.load()?;
            rig.write_act(x, &v.x)?;
            rig.write_act(saved, &saves)?;
            rig.write_act(dy, &v.dy)
        })?;
        let dx = rig.read_act(dy, case.rows)?;
        let (dw, db) = (rig.gradient(w)?, rig.gradient(row(bias))?);
        rig.finish(vec![("dx", dx), ("dw", dw), ("db", db)])
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let (case, v) = (self.0, self.0.values());
        let (naive, exact) = both(|| case.gradients::<f32>(&v), || case.gradients::<f64>(&v));
        let ([dx, db], [exact_dx, exact_db]) = (naive, exact);
        // The product reads the rounded gradient.
        let dw = match storage {
            Activations::F32 => linear_bwd_weight(&dx, &v.x, case.cols, INPUTS),
            Activations::Bf16 => weight_gradient(&storage.kept(&dx), &v.x, case.cols, INPUTS),
        };
        let exact_dw = linear_bwd_weight(&exact_dx, &of(&v.x), case.cols, INPUTS);
        vec![
            Expected::new("dx", storage.stored(), case.cols, dx, exact_dx),
            Expected::new("dw", F32, INPUTS, dw, exact_dw),
            Expected::new("db", Approximate, case.cols, db, exact_db),
        ]
    }
}
