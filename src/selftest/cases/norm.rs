//! LayerNorm of one and of two norms, and its gradients.
use super::Case;
use crate::Result;
use crate::ops::{Act, Norm, Shape, Stat};
use crate::reference::Float;
use crate::reference::measure::Stored::F32;
use crate::reference::ops::{add, layernorm, layernorm_bwd, moments};
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::rig::{EPS, On, Places, Rig, RowRun, both, draw, of, row, scatter};

/// `norms` norms of `[rows, cols]`.
#[derive(Clone, Copy)]
pub struct Norms {
    /// Rows of the activation.
    pub rows: usize,
    /// Columns of the activation, over which mean and variance are taken.
    pub cols: usize,
    /// Norms of the same input: 1, or the 2 of the parallel residual.
    pub norms: usize,
    /// Seed of the inputs.
    pub seed: u64,
}

/// Its gradients; with two norms those of the weights are added to what is there.
#[derive(Clone, Copy)]
pub struct NormsBackward(pub Norms);

struct Inputs {
    x: Vec<f32>,
    /// Weight and bias of each norm.
    affine: Vec<[Vec<f32>; 2]>,
    dy: Vec<Vec<f32>>,
    dx: Vec<f32>,
    stats: Vec<f32>,
    /// What the gradients of weights and biases were.
    before: Vec<f32>,
}

struct Tensors {
    x: Act,
    y: Vec<Act>,
    dx: Act,
    stats: Stat,
    norms: Vec<Norm>,
}

impl Norms {
    fn s(&self) -> Shape {
        Shape { batch: 1, time: self.rows }
    }

    fn inputs(&self) -> Inputs {
        let mut random = Random::new(self.seed);
        let n = self.rows * self.cols;
        let x = draw(&mut random, n, 0.5, 1.0);
        let mut affine = || [random.normals(self.cols, 1.0, 0.2), random.normals(self.cols, 0.0, 0.2)];
        let affine = (0..self.norms).map(|_| affine()).collect();
        let dy = (0..self.norms).map(|_| draw(&mut random, n, 0.1, 1.0)).collect();
        let dx = draw(&mut random, n, 0.0, 1.0);
        let stats = moments(&x, self.cols, EPS);
        Inputs { x, affine, dy, dx, stats, before: random.normals(self.cols, 0.0, 3.0) }
    }

    fn rig(&self, on: On, inputs: &Inputs) -> Result<(Rig, Tensors)> {
        let (rows, cols) = (self.rows, self.cols);
        let mut places = Places::summing(cols);
        let (x, dx, stats) = (places.view(rows, cols), places.act(rows, cols), places.stat(rows, 2));
        let y = (0..self.norms).map(|_| places.view(rows, cols)).collect();
        let norms: Vec<Norm> = (0..self.norms).map(|_| places.norm(cols)).collect();
        let mut rig = places.build(on, self.s())?;
        for (norm, affine) in norms.iter().zip(&inputs.affine) {
            for (place, values) in [norm.weight, norm.bias].into_iter().zip(affine) {
                scatter(&mut rig.weights, row(place), values);
                scatter(&mut rig.gradients, row(place), &inputs.before);
            }
        }
        rig.load()?;
        rig.write_act(x, &inputs.x)?;
        Ok((rig, Tensors { x, y, dx, stats, norms }))
    }

    /// Moments, then the outputs.
    fn reference<T: Float>(&self, inputs: &Inputs) -> Vec<Vec<T>> {
        let x: Vec<T> = of(&inputs.x);
        let stats = moments(&x, self.cols, EPS);
        let y = inputs.affine.iter().map(|[w, b]| layernorm(&x, &stats, &of::<T>(w), &of::<T>(b)));
        let y: Vec<_> = y.collect();
        [vec![stats], y].concat()
    }

    /// dx, then the gradients of weight and bias of each norm.
    fn gradients<T: Float>(&self, inputs: &Inputs) -> Vec<Vec<T>> {
        let (x, stats): (Vec<T>, Vec<T>) = (of(&inputs.x), of(&inputs.stats));
        let (mut total, mut parts) = (vec![T::default(); x.len()], Vec::new());
        for ([w, _], dy) in inputs.affine.iter().zip(&inputs.dy) {
            let [dx, dw, db] = layernorm_bwd(&x, &stats, &of::<T>(w), &of::<T>(dy));
            add(&mut total, &dx);
            parts.extend([dw, db]);
        }
        if self.norms == 2 {
            parts.iter_mut().for_each(|part| add(part, &of::<T>(&inputs.before)));
        }
        let mut dx: Vec<T> = of(&inputs.dx);
        add(&mut dx, &total);
        [vec![dx], parts].concat()
    }
}

const OUTPUTS: [&str; 3] = ["stats", "y0", "y1"];
const GRADIENTS: [&str; 5] = ["dx", "dw0", "db0", "dw1", "db1"];

impl Case for Norms {
    fn op(&self) -> &'static str {
        if self.norms == 2 { "layernorm_pair" } else { "layernorm" }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.rows, self.cols)
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (mut rig, t) = self.rig(on, &self.inputs())?;
        match (&t.norms[..], &t.y[..]) {
            (&[a, b], &[y0, y1]) => rig.ops().layernorm_pair(self.s(), t.x, [a, b], [y0, y1], t.stats),
            _ => rig.ops().layernorm(self.s(), t.x, t.norms[0], t.y[0], t.stats),
        }
        let mut outputs = vec![(OUTPUTS[0], rig.read_stat(t.stats, self.rows)?)];
        for (name, &y) in OUTPUTS[1..].iter().zip(&t.y) {
            outputs.push((name, rig.read_act(y, self.rows)?));
        }
        rig.finish(outputs)
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let inputs = self.inputs();
        let (naive, exact) = both(|| self.reference::<f32>(&inputs), || self.reference::<f64>(&inputs));
        let kind = |i| if i == 0 { (F32, 2) } else { (storage.stored(), self.cols) };
        let expected = naive.into_iter().zip(exact).enumerate();
        expected.map(|(i, (n, e))| Expected::new(OUTPUTS[i], kind(i).0, kind(i).1, n, e)).collect()
    }
}

impl Case for NormsBackward {
    fn op(&self) -> &'static str {
        if self.0.norms == 2 { "layernorm_pair_bwd" } else { "layernorm_bwd" }
    }

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (case, inputs) = (self.0, self.0.inputs());
        let (mut rig, t) = case.rig(on, &inputs)?;
        rig.write_act(t.dx, &inputs.dx)?;
        rig.write_stat(t.stats, &inputs.stats)?;
        for (&dy, values) in t.y.iter().zip(&inputs.dy) {
            rig.write_act(dy, values)?;
        }
        let s = case.s();
        match (&t.norms[..], &t.y[..]) {
            (&[a, b], &[dy0, dy1]) => {
                rig.ops().layernorm_pair_bwd(s, t.x, t.stats, [a, b], [dy0, dy1], t.dx, true);
            }
            _ => rig.ops().layernorm_bwd(s, t.x, t.stats, t.norms[0], t.y[0], t.dx, false),
        }
        let mut outputs = vec![(GRADIENTS[0], rig.read_act(t.dx, case.rows)?)];
        let places = t.norms.iter().flat_map(|n| [n.weight, n.bias]);
        for (name, place) in GRADIENTS[1..].iter().zip(places) {
            outputs.push((name, rig.gradient(row(place))?));
        }
        rig.finish(outputs)
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let (case, inputs) = (self.0, self.0.inputs());
        let (naive, exact) = both(|| case.gradients::<f32>(&inputs), || case.gradients::<f64>(&inputs));
        let kind = |i| if i == 0 { storage.stored() } else { F32 };
        let expected = naive.into_iter().zip(exact).enumerate();
        expected.map(|(i, (n, e))| Expected::new(GRADIENTS[i], kind(i), case.cols, n, e)).collect()
    }
}
