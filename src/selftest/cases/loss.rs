//! Softmax cross-entropy of a chunk of rows.
use super::Case;
use crate::Result;
use crate::ops::Shape;
use crate::reference::measure::Stored::Approximate;
use crate::reference::ops::cross_entropy;
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::rig::{On, Places, RowRun, both, draw, of};

/// The last `rows` rows of a batch that has [`BEFORE`] more.
#[derive(Clone, Copy)]
pub struct Loss {
    /// Rows of logits.
    pub rows: usize,
    /// Logits per row.
    pub vocab: usize,
    /// Whether the logits become their gradient.
    pub gradient: bool,
    /// Whether some targets do not count.
    pub masked: bool,
}

/// Rows in front of the chunk.
const BEFORE: usize = 3;
const SCALE: f32 = 1.0 / 24.0;

impl Loss {
    /// Logits of the chunk, targets of the batch.
    fn inputs(&self) -> (Vec<f32>, Vec<i32>) {
        let mut random = Random::new(self.vocab as u64);
        let logits = draw(&mut random, self.rows * self.vocab, 0.0, 3.0);
        let mut targets = random.tokens(BEFORE + self.rows, self.vocab);
        if self.masked {
            targets.iter_mut().step_by(2).for_each(|t| *t = -1);
        }
        (logits, targets)
    }
}

impl Case for Loss {
    fn op(&self) -> &'static str {
        "cross_entropy"
    }

    fn shape(&self) -> String {
        let gradient = if self.gradient { "" } else { ", loss alone" };
        let masked = if self.masked { ", masked" } else { "" };
        format!("{} x {}{gradient}{masked}", self.rows, self.vocab)
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (values, targets) = self.inputs();
        let mut places = Places::default();
        let (logits, loss) = (places.act(self.rows, self.vocab), places.stat(self.rows, 1));
        let mut rig = places.build(on, Shape { batch: 1, time: targets.len() })?;
        rig.load()?;
        rig.write_act(logits, &values)?;
        rig.set_batch(&vec![0; targets.len()], &targets, SCALE);
        rig.ops().cross_entropy(Shape { batch: 1, time: self.rows }, logits, BEFORE, loss, self.gradient);
        let (losses, after) = (rig.read_stat(loss, self.rows)?, rig.read_act(logits, self.rows)?);
        rig.finish(vec![("losses", losses), ("logits", after)])
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let (logits, targets) = self.inputs();
        let (targets, scale) = (&targets[BEFORE..], f64::from(SCALE));
        let (naive, exact) = both(
            || cross_entropy(&logits, self.vocab, targets, scale),
            || cross_entropy::<f64>(&of(&logits), self.vocab, targets, scale),
        );
        let losses = Expected::new("losses", Approximate, self.rows, naive.0, exact.0);
        let after = match self.gradient {
            true => Expected::new("logits", storage.stored(), self.vocab, naive.1, exact.1),
            false => Expected::bits("logits", logits),
        };
        vec![losses, after]
    }
}
