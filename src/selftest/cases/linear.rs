//! Matrix products in every layout of a training step.
use super::Case;
use crate::Result;
use crate::ops::{Act, Matrix, Ops, Shape, Vector};
use crate::reference::measure::Stored::F32;
use crate::reference::ops::{add, column_sums, linear, linear_bwd_input, linear_bwd_weight};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::selftest::judge::{Activations, Expected, bf16s};
use crate::selftest::naive::weight_gradient;
use crate::selftest::rig::{On, Places, RowRun, both, draw, of, row, scatter};

/// The products of a step and what is fused into them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Product {
    /// `y = x·wᵀ`.
    Plain,
    /// `y = x·wᵀ + bias`.
    Bias,
    /// `+ residual + bias + bias`: the output of the parallel block.
    Residual,
    /// `dx = dy·w`.
    Input,
    /// `dw = dyᵀ·x`, and the bias's gradient.
    Weight,
    /// The same, added to what is there.
    Accumulate,
}

/// `rows` rows from `inputs` to `outputs` features.
#[derive(Clone, Copy)]
pub struct Linear {
    /// Which product it is.
    pub product: Product,
    /// Rows of the activations.
    pub rows: usize,
    /// Input features of the weight.
    pub inputs: usize,
    /// Output features of the weight.
    pub outputs: usize,
    /// Whether the product of a weight's gradient sums the bias's too.
    pub sums_bias: bool,
}

struct Values {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: [Vec<f32>; 2],
    /// The residual; where gradients go back, `dy`.
    y: Vec<f32>,
    /// Gradients of weight and bias before.
    before: [Vec<f32>; 2],
}

struct Results<T> {
    main: Vec<T>,
    bias: Vec<T>,
}

impl Linear {
    fn values(&self) -> Values {
        let Self { rows, inputs, outputs, .. } = *self;
        let mut random = Random::new((rows + inputs + outputs) as u64);
        Values {
            x: draw(&mut random, rows * inputs, 0.0, 1.0),
            w: draw(&mut random, outputs * inputs, 0.0, 0.1),
            bias: [(); 2].map(|()| draw(&mut random, outputs, 0.0, 1.0)),
            y: draw(&mut random, rows * outputs, 0.0, 1.0),
            before: [outputs * inputs, outputs].map(|n| random.normals(n, 0.0, 3.0)),
        }
    }

    fn issue(&self, ops: &mut dyn Ops, [x, y, residual]: [Act; 3], w: Matrix, b: [Vector; 2]) {
        let s = Shape { batch: 1, time: self.rows };
        match self.product {
            Product::Plain => ops.linear(s, x, w, [None, None], None, y),
            Product::Bias => ops.linear(s, x, w, [Some(b[0]), None], None, y),
            Product::Residual => ops.linear(s, x, w, b.map(Some), Some(residual), y),
            Product::Input => ops.linear_bwd_input(s, y, w, x),
            Product::Weight => ops.linear_bwd_weight(s, y, x, w, [Some(b[0]), None], false),
            Product::Accumulate => ops.linear_bwd_weight(s, y, x, w, b.map(Some), true),
        }
    }

    /// The two biases are added up before.
    fn reference<T: Float>(&self, v: &Values, two: &[T]) -> Results<T> {
        let (x, w, y): (Vec<T>, Vec<T>, Vec<T>) = (of(&v.x), of(&v.w), of(&v.y));
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut main = match self.product {
            Product::Plain => linear(&x, &w, None, inputs),
            Product::Bias => linear(&x, &w, Some(&of::<T>(&v.bias[0])), inputs),
            Product::Residual => linear(&x, &w, Some(two), inputs),
            Product::Input => linear_bwd_input(&y, &w, inputs),
            _ => linear_bwd_weight(&y, &x, outputs, inputs),
        };
        if self.product == Product::Residual {
            add(&mut main, &y);
        }
        let mut bias = column_sums(&y, outputs);
        if self.product == Product::Accumulate {
            add(&mut main, &of::<T>(&v.before[0]));
            add(&mut bias, &of::<T>(&v.before[1]));
        }
        Results { main, bias }
    }

    /// The kernels keep the sum of two biases in bf16. Sums that stay f32 are those of tensor cores.
    fn naive(&self, v: &Values, two: &[f64], storage: Activations) -> Results<f32> {
        if storage == Activations::F32 {
            return self.reference(v, &cast::<f64, f32>(two));
        }
        let mut results = self.reference(v, &bf16s(&cast::<f64, f32>(two)));
        if self.backward() {
            results.main = weight_gradient(&v.y, &v.x, self.outputs, self.inputs);
        }
        if self.sums_bias {
            results.bias = weight_gradient(&v.y, &vec![1.0; self.rows], self.outputs, 1);
        }
        if self.product == Product::Accumulate {
            add(&mut results.main, &v.before[0]);
        }
        if self.product == Product::Accumulate && self.sums_bias {
            add(&mut results.bias, &v.before[1]);
        }
        results
    }

    fn backward(&self) -> bool {
        matches!(self.product, Product::Weight | Product::Accumulate)
    }
}

impl Case for Linear {
    fn op(&self) -> &'static str {
        match self.product {
            Product::Plain | Product::Bias | Product::Residual => "linear",
            Product::Input => "linear_bwd_input",
            _ => "linear_bwd_weight",
        }
    }

    fn shape(&self) -> String {
        let what = format!("{:?}", self.product).to_lowercase();
        let fused = if self.sums_bias { " with bias" } else { "" };
        format!("{} x {} x {} {what}{fused}", self.rows, self.inputs, self.outputs)
    }

    fn optional(&self) -> bool {
        self.sums_bias
    }

    fn large(&self) -> bool {
        self.rows >= 2048
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (rows, v) = (self.rows, self.values());
        let mut places = Places::summing(self.inputs.max(self.outputs));
        let (x, y) = (places.view(rows, self.inputs), places.view(rows, self.outputs));
        let residual = places.act(rows, self.outputs);
        // As the two matrices that share their rows.
        let w = places.matrix(self.outputs, self.inputs, 64);
        let bias = [(); 2].map(|()| places.vector(self.outputs));
        places.pair = (self.product == Product::Residual).then_some(bias);
        let mut rig = places.build(on, Shape { batch: 1, time: rows })?;
        if let Some(gpu) = rig.gpu() {
            gpu.sum_biases_in_products(self.sums_bias);
        }
        scatter(&mut rig.weights, w, &v.w);
        scatter(&mut rig.gradients, w, &v.before[0]);
        for (place, values) in bias.into_iter().zip(&v.bias) {
            scatter(&mut rig.weights, row(place), values);
            scatter(&mut rig.gradients, row(place), &v.before[1]);
        }
        let poison = |act: Act| vec![f32::NAN; rows * act.cols];
        rig.perform(&mut |ops| self.issue(ops, [x, y, residual], w, bias), |rig| {
            rig.load()?;
            rig.write_act(residual, &v.y)?;
            rig.write_act(
                x,
                if self.product == Product::Input { poison(x) } else { v.x.clone() }.as_slice(),
            )?;
            let given = self.backward() || self.product == Product::Input;
            rig.write_act(y, if given { v.y.clone() } else { poison(y) }.as_slice())
        })?;
        let outputs = match self.product {
            Product::Input => vec![("dx", rig.read_act(x, rows)?)],
            _ if self.backward() => {
                vec![("dw", rig.gradient(w)?), ("db", rig.gradient(row(bias[0]))?)]
            }
            _ => vec![("y", rig.read_act(y, rows)?)],
        };
        rig.finish(outputs)
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let v = self.values();
        let [first, second] = v.bias.each_ref().map(|b| of::<f64>(b));
        let two: Vec<f64> = first.iter().zip(second).map(|(a, b)| a + b).collect();
        let (naive, exact) = both(|| self.naive(&v, &two, storage), || self.reference::<f64>(&v, &two));
        match self.product {
            Product::Input => {
                vec![Expected::new("dx", storage.stored(), self.inputs, naive.main, exact.main)]
            }
            _ if self.backward() => vec![
                Expected::new("dw", F32, self.inputs, naive.main, exact.main),
                Expected::new("db", F32, self.outputs, naive.bias, exact.bias),
            ],
            _ => vec![Expected::new("y", storage.stored(), self.outputs, naive.main, exact.main)],
        }
    }
}
