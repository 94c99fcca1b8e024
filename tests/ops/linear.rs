//! Matrix products with their epilogues, on views into wider tensors.
use crate::reference::measure::{Judge, draws};
use crate::reference::ops::{add, column_sums, gelu, linear, linear_bwd_input, linear_bwd_weight};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::rig::{Layout, Rig, Writes, row};
use rewarm::ops::{Act, Gelu, Matrix, Shape, Vector};

/// B, T, inputs, outputs: everything at 1, primes, one more than a tile of 512 rows, columns or gradients' rows, the
/// vocabulary.
const CASES: [(usize, usize, usize, usize); 11] = [
    (1, 1, 1, 1),
    (2, 2, 3, 5),
    (3, 63, 17, 33),
    (2, 64, 80, 101),
    (1, 65, 64, 520),
    (2, 130, 96, 48),
    (1, 513, 80, 65),
    (2, 513, 33, 17),
    (3, 1, 530, 7),
    (1, 65, 515, 513),
    (1, 4, 64, 50304),
];

/// Every case as often as [`draws`] asks: by its smallest result, the gradient of a bias, except for the vocabulary.
fn drawn() -> impl Iterator<Item = (usize, usize, usize, usize)> {
    CASES.into_iter().flat_map(|case| {
        let count = if case.3 > 1000 { 1 } else { draws(case.3.min(case.0 * case.1 * case.2)) };
        std::iter::repeat_n(case, count)
    })
}

/// Places and values of one product.
struct Case {
    shape: Shape,
    name: String,
    inputs: usize,
    outputs: usize,
    rig: Rig,
    x: Act,
    residual: Act,
    saved: Act,
    y: Act,
    w: Matrix,
    bias: [Vector; 2],
    x_rows: Vec<f32>,
    w_rows: Vec<f32>,
    residual_rows: Vec<f32>,
    bias_rows: [Vec<f32>; 2],
}

impl Case {
    fn new((batch, time, inputs, outputs): (usize, usize, usize, usize), random: &mut Random) -> Self {
        let (mut layout, shape) = (Layout::default(), Shape { batch, time });
        let rows = shape.rows();
        // As attention and GELU lie in one buffer, and their two matrices in one.
        let (x, y) = (layout.view(rows, inputs, 3, 8), layout.view(rows, outputs, 7, 1));
        let (residual, saved) = (layout.view(rows, outputs, 0, 2), layout.act(rows, outputs));
        let w = layout.matrix(outputs, inputs, 3);
        let bias = [layout.vector(outputs), layout.vector(outputs)];
        let mut rig = layout.build(shape, 1, (1, 2, 2, 1e4));
        let x_rows = random.normals(rows * inputs, 0.0, 1.0);
        let w_rows = random.normals(outputs * inputs, 0.0, 1.5 / (inputs as f64).sqrt());
        let residual_rows = random.normals(rows * outputs, 0.0, 1.0);
        let bias_rows = std::array::from_fn(|_| random.normals(outputs, 0.0, 1.0));
        rig.set(x, &x_rows);
        rig.set_weight(w, &w_rows);
        rig.set(residual, &residual_rows);
        (0..2).for_each(|i| rig.set_vector(bias[i], &bias_rows[i]));
        let name = format!("{shape:?} {inputs} to {outputs}");
        Self {
            shape,
            name,
            inputs,
            outputs,
            rig,
            x,
            residual,
            saved,
            y,
            w,
            bias,
            x_rows,
            w_rows,
            residual_rows,
            bias_rows,
        }
    }

    /// The product with the first `biases` biases and perhaps the residual.
    fn exact<T: Float>(&self, biases: usize, residual: bool) -> Vec<T> {
        let mut y = linear::<T>(&cast(&self.x_rows), &cast(&self.w_rows), None, self.inputs);
        for bias in &self.bias_rows[..biases] {
            let bias: Vec<T> = cast(bias);
            y.chunks_mut(self.outputs).for_each(|y| add(y, &bias));
        }
        if residual {
            add(&mut y, &cast(&self.residual_rows));
        }
        y
    }
}

#[test]
fn linear_with_every_epilogue() {
    let (mut judge, mut random) = (Judge::default(), Random::new(21));
    for sizes in drawn() {
        let mut case = Case::new(sizes, &mut random);
        let rows = case.shape.rows();
        let Case { shape, x, w, y, bias, .. } = case;
        for (biases, residual) in [(0, false), (1, false), (2, true), (0, true), (2, false)] {
            // The vocabulary has neither in any model.
            if sizes.3 > 1000 && (biases > 0 || residual) {
                continue;
            }
            let some = std::array::from_fn(|i| (i < biases).then_some(bias[i]));
            let from = residual.then_some(case.residual);
            let writes = Writes { acts: &[(y, rows)], ..Writes::default() };
            case.rig.set(y, &vec![f32::NAN; rows * sizes.3]);
            case.rig.run(writes, |cpu| cpu.linear(shape, x, w, some, from, y));
            let (naive, exact) = (case.exact(biases, residual), case.exact(biases, residual));
            let what = format!("linear, {biases} biases{}", if residual { ", residual" } else { "" });
            judge.check(&what, &case.name, &case.rig.get(y, rows), &naive, &exact, sizes.3);
        }
    }
    judge.close();
}

#[test]
fn linear_gelu_and_its_gradient() {
    let (mut judge, mut random) = (Judge::default(), Random::new(22));
    // No model has GELU over the vocabulary; and a single number near the root of the derivative has no scale that an
    // error could be relative to.
    for sizes in drawn().filter(|s| (2..1000).contains(&s.3)) {
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let mut case = Case::new(sizes, &mut random);
            let rows = case.shape.rows();
            let Case { shape, x, w, y, bias, saved, .. } = case;
            let writes = Writes { acts: &[(y, rows), (saved, rows)], ..Writes::default() };
            case.rig.run(writes, |cpu| cpu.linear_gelu(shape, x, w, bias[0], kind, saved, y, false));
            let (naive, exact) = (case.exact::<f32>(1, false), case.exact::<f64>(1, false));
            let naive: Vec<_> = naive.iter().map(|&x| gelu(x, kind)).collect();
            let exact: Vec<_> = exact.iter().map(|&x| gelu(x, kind)).collect();
            let values = |x: &[(f32, f32)]| x.iter().map(|x| x.0).collect::<Vec<_>>();
            let exact_values: Vec<f64> = exact.iter().map(|x| x.0).collect();
            let found = case.rig.get(y, rows);
            judge.check(
                &format!("linear_gelu {kind:?}"),
                &case.name,
                &found,
                &values(&naive),
                &exact_values,
                sizes.3,
            );

            let dy: Vec<f32> = random.normals(rows * sizes.3, 0.0, 1.0);
            case.rig.set(y, &dy);
            let writes = Writes { acts: &[(y, rows)], ..Writes::default() };
            case.rig.run(writes, |cpu| cpu.gelu_bwd(shape, kind, saved, y));
            let naive: Vec<f32> = naive.iter().zip(&dy).map(|(g, d)| g.1 * d).collect();
            let exact: Vec<f64> = exact.iter().zip(&dy).map(|(g, &d)| g.1 * f64::from(d)).collect();
            let found = case.rig.get(y, rows);
            judge.check(&format!("gelu_bwd {kind:?}"), &case.name, &found, &naive, &exact, sizes.3);
        }
    }
    judge.close();
}

#[test]
fn gelu_again_has_the_bits_of_linear_gelu() {
    let mut random = Random::new(24);
    let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for sizes in CASES.into_iter().filter(|s| s.3 < 1000) {
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let Case { shape, name, x, w, y, bias, saved, mut rig, .. } = Case::new(sizes, &mut random);
            let rows = shape.rows();
            let both = [(y, rows), (saved, rows)];
            let writes = || Writes { acts: &both, ..Writes::default() };
            rig.run(writes(), |cpu| cpu.linear_gelu(shape, x, w, bias[0], kind, saved, y, false));
            let [y_bits, saved_bits] = [y, saved].map(|act| bits(rig.get(act, rows)));
            rig.run(writes(), |cpu| cpu.linear_gelu(shape, x, w, bias[0], kind, saved, y, true));
            assert_eq!(bits(rig.get(y, rows)), y_bits, "{name}: y while it is kept");
            rig.set(y, &vec![f32::NAN; rows * sizes.3]);
            rig.run(writes(), |cpu| cpu.gelu_again(shape, kind, saved, y));
            assert_eq!(bits(rig.get(y, rows)), y_bits, "{name}: y");
            assert_eq!(bits(rig.get(saved, rows)), saved_bits, "{name}: saved");
        }
    }
}

#[test]
fn a_copy_has_equal_bits() {
    let mut random = Random::new(25);
    for sizes in CASES.into_iter().filter(|s| s.3 < 1000) {
        let Case { shape, name, y, residual, residual_rows, mut rig, .. } = Case::new(sizes, &mut random);
        let rows = shape.rows();
        let writes = Writes { acts: &[(y, rows)], ..Writes::default() };
        rig.run(writes, |cpu| cpu.copy(shape, residual, y));
        assert_eq!(rig.get(y, rows), residual_rows, "{name}");
    }
}

#[test]
fn linear_gradients() {
    let (mut judge, mut random) = (Judge::default(), Random::new(23));
    for sizes in drawn() {
        let mut case = Case::new(sizes, &mut random);
        let rows = case.shape.rows();
        let Case { shape, x, w, y, bias, inputs, outputs, .. } = case;
        let mut dys: Vec<f32> = Vec::new();
        for (accumulate, biases) in [(false, 2), (true, 2)] {
            let dy: Vec<f32> = random.normals(rows * outputs, 0.0, 1.0);
            case.rig.set(y, &dy);
            dys.extend(&dy);
            let grads = [w, row(bias[0]), row(bias[1])];
            let some = std::array::from_fn(|i| (i < biases).then_some(bias[i]));
            let writes = Writes { grads: &grads, ..Writes::default() };
            case.rig.run(writes, |cpu| cpu.linear_bwd_weight(shape, y, x, w, some, accumulate));
            // The second time, twice the rows: the same inputs under the gradients of both.
            let xs = case.x_rows.repeat(dys.len() / dy.len());
            let naive = linear_bwd_weight::<f32>(&dys, &xs, outputs, inputs);
            let exact = linear_bwd_weight::<f64>(&cast(&dys), &cast(&xs), outputs, inputs);
            let name = format!("{} accumulate {accumulate}", case.name);
            judge.check("linear_bwd_weight", &name, &case.rig.gradient(w), &naive, &exact, inputs);
            let (naive, exact) = (column_sums(&dys, outputs), column_sums(&cast(&dys), outputs));
            for place in &grads[1..] {
                judge.check("bias", &name, &case.rig.gradient(*place), &naive, &exact, outputs);
            }
        }
        let dx = x;
        let dy = &dys[rows * outputs..];
        case.rig.set(dx, &vec![f32::NAN; rows * inputs]);
        let writes = Writes { acts: &[(dx, rows)], ..Writes::default() };
        case.rig.run(writes, |cpu| cpu.linear_bwd_input(shape, y, w, dx));
        let naive = linear_bwd_input(dy, &case.w_rows, inputs);
        let exact = linear_bwd_input::<f64>(&cast(dy), &cast(&case.w_rows), inputs);
        judge.check("linear_bwd_input", &case.name, &case.rig.get(dx, rows), &naive, &exact, inputs);
    }
    judge.close();
}
