//! LayerNorm, alone and as the pair of the parallel residual.
use crate::TIMES;
use crate::reference::Float;
use crate::reference::cast;
use crate::reference::measure::{Judge, draws};
use crate::reference::ops::{add, layernorm, layernorm_bwd, moments};
use crate::reference::random::Random;
use crate::rig::{Layout, Rig, Writes, row};
use rewarm::ops::{Act, Norm, Ops, Shape, Stat};

const EPS: f64 = 1e-5;
/// Not fewer than 7: of few numbers some are nearly equal, and one such row has all of the error.
const COLS: [usize; 6] = [32, 7, 80, 17, 129, 515];

/// What the rows are like. Each kind is judged for itself: naive f32 loses so much on the last two that its bound would
/// cover mistakes in the first.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// N(0, 1).
    Usual,
    /// One number each: the variance is 0, and any error of the mean is multiplied by 1/√ε.
    Constant,
    /// N(100, 1).
    Far,
}

fn rows(kind: Kind, random: &mut Random, count: usize, cols: usize) -> Vec<f32> {
    match kind {
        Kind::Usual => random.normals(count * cols, 0.0, 1.0),
        Kind::Far => random.normals(count * cols, 100.0, 1.0),
        Kind::Constant => (0..count).flat_map(|_| vec![random.normal() as f32 * 10.0; cols]).collect(),
    }
}

/// Where the tensors of N norms lie.
#[derive(Clone, Copy)]
struct Places<const N: usize> {
    shape: Shape,
    norms: [Norm; N],
    y: [Act; N],
    x: Act,
    dx: Act,
    stats: Stat,
}

/// Inputs of N norms, on the backend and for the reference.
struct Case<const N: usize> {
    kind: Kind,
    cols: usize,
    at: Places<N>,
    rig: Rig,
    x: Vec<f32>,
    weights: [Vec<f32>; N],
    biases: [Vec<f32>; N],
}

impl<const N: usize> Case<N> {
    fn new(kind: Kind, shape: Shape, cols: usize, random: &mut Random) -> Self {
        let (mut layout, count) = (Layout::default(), shape.rows());
        let at = Places {
            shape,
            norms: std::array::from_fn(|_| layout.norm(cols)),
            y: std::array::from_fn(|i| layout.view(count, cols, 3 * i, 2)),
            x: layout.act(count, cols),
            dx: layout.view(count, cols, 0, 9),
            stats: layout.stat(count, 2),
        };
        let mut rig = layout.build(shape, cols, (1, 2, 2, 1e4));
        let x = rows(kind, random, count, cols);
        rig.set(at.x, &x);
        let weights = std::array::from_fn(|_| random.normals(cols, 1.0, 0.5));
        let biases = std::array::from_fn(|_| random.normals(cols, 0.0, 0.5));
        for n in 0..N {
            rig.set_vector(at.norms[n].weight, &weights[n]);
            rig.set_vector(at.norms[n].bias, &biases[n]);
        }
        Self { kind, cols, at, rig, x, weights, biases }
    }

    fn forward<T: Float>(&self, n: usize) -> Vec<T> {
        let x: Vec<T> = cast(&self.x);
        layernorm(&x, &moments(&x, self.cols, EPS), &cast(&self.weights[n]), &cast(&self.biases[n]))
    }

    /// `dx` and, for each norm, the gradients of weight and bias, summed over several `dy`.
    fn backward<T: Float>(&self, dx: &[f32], dys: &[[Vec<f32>; N]]) -> Vec<Vec<T>> {
        let x: Vec<T> = cast(&self.x);
        let m = moments(&x, self.cols, EPS);
        let mut out = vec![cast(dx)];
        out.extend((0..2 * N).map(|_| vec![T::default(); self.cols]));
        for (n, dy) in dys.iter().flat_map(|dy| dy.iter().enumerate()) {
            let [d, dweight, dbias] = layernorm_bwd(&x, &m, &cast(&self.weights[n]), &cast(dy));
            [(0, d), (2 * n + 1, dweight), (2 * n + 2, dbias)].iter().for_each(|(i, d)| add(&mut out[*i], d));
        }
        out
    }

    /// Runs forward, and backward twice: onto poison, then added to that.
    fn check(
        mut self,
        judge: &mut Judge,
        random: &mut Random,
        forward: impl Fn(Places<N>, &mut dyn Ops),
        backward: impl Fn(Places<N>, &mut dyn Ops, bool),
    ) {
        let (at, cols, count) = (self.at, self.cols, self.at.shape.rows());
        let shape = format!("{:?} {cols}", at.shape);
        let what = |tensor: &str| format!("{:?} {tensor}", self.kind);
        let acts = at.y.map(|y| (y, count));
        let writes = Writes { acts: &acts, stats: &[(at.stats, count)], ..Writes::default() };
        self.rig.run(writes, |cpu| forward(at, cpu));
        for n in 0..N {
            let y = self.rig.get(at.y[n], count);
            judge.check(&what("y"), &shape, &y, &self.forward(n), &self.forward(n), cols);
        }
        let start: Vec<f32> = random.normals(count * cols, 0.0, 1.0);
        self.rig.set(at.dx, &start);
        let grads: Vec<_> = at.norms.iter().flat_map(|n| [row(n.weight), row(n.bias)]).collect();
        let mut dys = Vec::new();
        for accumulate in [false, true] {
            let dy: [Vec<f32>; N] = std::array::from_fn(|_| random.normals(count * cols, 0.0, 1.0));
            (0..N).for_each(|n| _ = self.rig.set(at.y[n], &dy[n]));
            dys.push(dy);
            let writes = Writes { acts: &[(at.dx, count)], grads: &grads, ..Writes::default() };
            self.rig.run(writes, |cpu| backward(at, cpu, accumulate));
            let (naive, exact) = (self.backward::<f32>(&start, &dys), self.backward::<f64>(&start, &dys));
            let found = self.rig.get(at.dx, count);
            judge.check(&what("dx"), &shape, &found, &naive[0], &exact[0], cols);
            for (i, place) in grads.iter().enumerate() {
                let found = self.rig.gradient(*place);
                let tensor = if i % 2 == 0 { "dweight" } else { "dbias" };
                judge.check(&what(tensor), &shape, &found, &naive[i + 1], &exact[i + 1], cols);
            }
        }
    }
}

/// Each length with two widths. The kinds other than the usual come with as many rows as it takes to compare errors:
/// there a row has one large error, that of its mean, and of seven numbers the variance is often small.
fn shapes() -> Vec<(Kind, Shape, usize)> {
    let mut shapes = Vec::new();
    for (i, time) in TIMES.into_iter().enumerate() {
        let batch = if time == 513 { 1 } else { 1 + i % 3 };
        for cols in [COLS[i % 6], COLS[(i + 3) % 6]] {
            shapes.push((Kind::Usual, Shape { batch, time }, cols));
        }
    }
    for kind in [Kind::Constant, Kind::Far] {
        let wide = COLS.into_iter().filter(|cols| *cols > 7);
        shapes.extend(wide.map(|cols| (kind, Shape { batch: 3, time: 65 }, cols)));
    }
    shapes
}

/// Every shape as often as [`draws`] asks; the gradients of weight and bias are its smallest results.
fn drawn() -> impl Iterator<Item = (Kind, Shape, usize)> {
    shapes().into_iter().flat_map(|shape| std::iter::repeat_n(shape, draws(shape.2)))
}

#[test]
fn layernorm_alone() {
    let (mut judge, mut random) = (Judge::default(), Random::new(11));
    for (kind, shape, cols) in drawn() {
        Case::<1>::new(kind, shape, cols, &mut random).check(
            &mut judge,
            &mut random,
            |at, cpu| cpu.layernorm(at.shape, at.x, at.norms[0], at.y[0], at.stats),
            |at, cpu, add| cpu.layernorm_bwd(at.shape, at.x, at.stats, at.norms[0], at.y[0], at.dx, add),
        );
    }
    judge.close();
}

#[test]
fn layernorm_pair() {
    let (mut judge, mut random) = (Judge::default(), Random::new(12));
    for (kind, shape, cols) in drawn() {
        Case::<2>::new(kind, shape, cols, &mut random).check(
            &mut judge,
            &mut random,
            |at, cpu| cpu.layernorm_pair(at.shape, at.x, at.norms, at.y, at.stats),
            |at, cpu, add| cpu.layernorm_pair_bwd(at.shape, at.x, at.stats, at.norms, at.y, at.dx, add),
        );
    }
    judge.close();
}
