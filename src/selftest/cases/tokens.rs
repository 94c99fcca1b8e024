//! The embedding, its gradient, and what else moves tensors about.
use super::Case;
use crate::Result;
use crate::ops::Shape;
use crate::reference::measure::Stored::F32;
use crate::reference::ops::{add, embedding, embedding_bwd};
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::rig::{On, Places, RowRun, draw, gather, of, scatter};

/// Rows of a table by token, the same copied, and a tensor of zeros.
#[derive(Clone, Copy)]
pub struct Embedding {
    /// Number of tokens.
    pub rows: usize,
    /// Rows of the table.
    pub vocab: usize,
    /// Columns of the table.
    pub cols: usize,
}

/// Its gradient, added to what is there where `accumulate`, and then to another table's.
#[derive(Clone, Copy)]
pub struct EmbeddingBackward {
    /// The tokens and the table that they index.
    pub of: Embedding,
    /// Whether there is something.
    pub accumulate: bool,
}

impl Embedding {
    fn s(&self) -> Shape {
        Shape { batch: 1, time: self.rows }
    }

    /// Like text: token `t` with a probability of about 1/(t + 1).
    fn tokens(&self) -> Vec<i32> {
        let mut random = Random::new(17);
        let power = |x: usize| (self.vocab as f64).powf(x as f64 / f64::from(1 << 20)) - 1.0;
        (0..self.rows).map(|_| power(random.below(1 << 20)) as i32).collect()
    }

    /// Weights that are rounded on the way, gradients of rows, and what is there before.
    fn values(&self) -> [Vec<f32>; 3] {
        let mut random = Random::new((self.rows + self.vocab) as u64);
        let (table, rows) = (self.vocab * self.cols, self.rows * self.cols);
        [random.normals(table, 0.0, 1.0), draw(&mut random, rows, 0.0, 1.0), random.normals(table, 0.0, 1.0)]
    }

    fn text(&self) -> String {
        format!("{} x {}, {} tokens", self.rows, self.cols, self.vocab)
    }
}

impl Case for Embedding {
    fn op(&self) -> &'static str {
        "embedding"
    }

    fn shape(&self) -> String {
        self.text()
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let mut places = Places::default();
        let (x, zeros) = (places.view(self.rows, self.cols), places.act(self.rows, self.cols));
        let copy = places.view(self.rows, self.cols);
        let w = places.matrix(self.vocab, self.cols, 0);
        let mut rig = places.build(on, self.s())?;
        scatter(&mut rig.weights, w, &self.values()[0]);
        rig.load()?;
        rig.set_batch(&self.tokens(), &vec![-1; self.rows], 0.0);
        rig.ops().embedding(self.s(), w, x);
        rig.ops().zero(self.s(), zeros);
        rig.ops().copy(self.s(), x, copy);
        let [x, zeros, copy] = [x, zeros, copy].map(|act| rig.read_act(act, self.rows));
        rig.finish(vec![("x", x?), ("zero", zeros?), ("copy", copy?)])
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let x = embedding(&self.tokens(), &storage.kept(&self.values()[0]), self.cols);
        let zeros = vec![0.0; x.len()];
        vec![Expected::bits("zero", zeros), Expected::bits("copy", x.clone()), Expected::bits("x", x)]
    }
}

impl Case for EmbeddingBackward {
    fn op(&self) -> &'static str {
        "embedding_bwd"
    }

    fn shape(&self) -> String {
        self.of.text() + if self.accumulate { ", added" } else { "" }
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (case, [_, dx_values, before]) = (self.of, self.of.values());
        let mut places = Places::default();
        let dx = places.view(case.rows, case.cols);
        // In this order, as a model's embedding comes before its head.
        let (other, w) = (places.matrix(case.vocab, case.cols, 0), places.matrix(case.vocab, case.cols, 0));
        let mut rig = places.build(on, case.s())?;
        scatter(&mut rig.gradients, w, &before);
        scatter(&mut rig.gradients, other, &before);
        rig.load()?;
        rig.write_act(dx, &dx_values)?;
        rig.set_batch(&case.tokens(), &vec![-1; case.rows], 0.0);
        rig.ops().embedding_bwd(case.s(), dx, w, self.accumulate);
        rig.ops().add_gradient(w, other);
        let all = rig.gradients()?.into_owned();
        rig.finish(vec![("dw", gather(&all, w)), ("sum", gather(&all, other))])
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        let (case, [_, dx, before]) = (self.of, self.of.values());
        let mut naive = embedding_bwd(&case.tokens(), &dx, case.vocab, case.cols);
        let mut exact = embedding_bwd::<f64>(&case.tokens(), &of(&dx), case.vocab, case.cols);
        if self.accumulate {
            add(&mut naive, &before);
            add(&mut exact, &of::<f64>(&before));
        }
        let (mut sum, mut exact_sum) = (naive.clone(), exact.clone());
        add(&mut sum, &before);
        add(&mut exact_sum, &of::<f64>(&before));
        vec![
            Expected::new("dw", F32, case.cols, naive, exact),
            Expected::new("sum", F32, case.cols, sum, exact_sum),
        ]
    }
}
