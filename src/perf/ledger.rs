//! The vocabulary once more, computing nothing: a step is written down operation by operation, with what each must
//! move and compute as the `gpu` backend has it (bf16 activations, GELU as a pass of its own).
use crate::model::{Gelu, Matrix, Model, Norm, Pass, Vector, Workspace};
use crate::ops::cost::{self, Cost};
use crate::ops::{Act, AdamParam, Heads, LoadState, Ops, Outcome, Shape, Stat, State, Update, Work};
use crate::{Error, Result};
use std::borrow::Cow;

/// Bytes of an activation or of a weight that a product reads.
const E: usize = 2;

/// What limits an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix product of these sizes: `2·m·n·k` FLOPs.
    Product {
        /// Rows of the result.
        m: usize,
        /// Columns of the result.
        n: usize,
        /// Length of the sums.
        k: usize,
    },
    /// Causal attention with heads of this size.
    Attention {
        /// `D`.
        head_size: usize,
        /// Forward or backward.
        backward: bool,
    },
    /// Memory.
    Memory,
    /// Memory, over logits.
    Logits,
    /// Memory, once a step.
    Update,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// What limits it.
    pub kind: Kind,
    /// What it moves and computes.
    pub cost: Cost,
}

/// Operations in the order of their issue.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The operations.
    pub entries: Vec<Entry>,
    /// Whose columns were summed on the way.
    summed: Option<Act>,
}

impl Ledger {
    /// One step of `accumulation` micro-batches that fill the workspace.
    pub fn of_step(model: &Model, ws: &Workspace, accumulation: usize) -> Self {
        let mut ledger = Self::default();
        for i in 0..accumulation {
            model.forward(&mut ledger, ws, ws.shape, Pass::Sequences);
            model.loss_and_gradient(&mut ledger, ws, ws.shape, i > 0);
        }
        model.finish_gradient(&mut ledger);
        ledger.add(Kind::Update, cost::global_norm(model.table.grad_total));
        ledger.add(Kind::Update, cost::update(&model.table, E));
        if model.table.average {
            ledger.add(Kind::Update, cost::ema(model.table.total));
        }
        ledger
    }

    fn add(&mut self, kind: Kind, cost: Cost) {
        self.entries.push(Entry { kind, cost });
    }

    fn product(&mut self, m: usize, n: usize, k: usize) {
        let cost = cost::linear(Shape { batch: 1, time: m }, k, n, E);
        self.add(Kind::Product { m, n, k }, cost);
    }

    fn memory(&mut self, cost: Cost) {
        self.add(Kind::Memory, cost);
    }
}

/// What only a backend with memory can answer.
fn nothing<T>() -> Result<T> {
    Err(Error::failed("a ledger holds no values"))
}

impl Ops for Ledger {
    fn set_batch(&mut self, _: &[i32], _: &[i32], _: f32) {}

    fn perform(&mut self, _: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        body(self);
    }

    fn embedding(&mut self, s: Shape, w: Matrix, _: Act) {
        self.memory(cost::embedding(s, w.cols, E));
    }

    fn zero(&mut self, s: Shape, x: Act) {
        self.memory(Cost { bytes: (s.rows() * x.cols * E) as f64, flops: 0.0 });
    }

    fn copy(&mut self, s: Shape, from: Act, _: Act) {
        self.memory(cost::copy(s, from.cols, E));
    }

    fn embedding_bwd(&mut self, s: Shape, _: Act, w: Matrix, _: bool) {
        // At most so many different tokens.
        self.memory(cost::embedding_bwd(s, w.cols, s.rows().min(w.rows), E));
    }

    fn layernorm(&mut self, s: Shape, x: Act, _: Norm, _: Act, _: Stat) {
        self.memory(cost::layernorm(s, x.cols, 1, E));
    }

    fn layernorm_pair(&mut self, s: Shape, x: Act, _: [Norm; 2], _: [Act; 2], _: Stat) {
        self.memory(cost::layernorm(s, x.cols, 2, E));
    }

    fn layernorm_bwd(&mut self, s: Shape, x: Act, _: Stat, _: Norm, _: Act, _: Act, _: bool) {
        self.memory(cost::layernorm_bwd(s, x.cols, 1, E));
    }

    fn layernorm_pair_bwd(&mut self, s: Shape, x: Act, _: Stat, _: [Norm; 2], _: [Act; 2], _: Act, _: bool) {
        self.memory(cost::layernorm_bwd(s, x.cols, 2, E));
    }

    fn linear(&mut self, s: Shape, _: Act, w: Matrix, _: [Option<Vector>; 2], _: Option<Act>, _: Act) {
        self.product(s.rows(), w.rows, w.cols);
    }

    fn linear_gelu(
        &mut self,
        s: Shape,
        _: Act,
        w: Matrix,
        _: Vector,
        gelu: Gelu,
        saved: Act,
        y: Act,
        _: bool,
    ) {
        self.product(s.rows(), w.rows, w.cols);
        self.gelu_again(s, gelu, saved, y);
    }

    fn gelu_again(&mut self, s: Shape, _: Gelu, _: Act, y: Act) {
        self.memory(cost::gelu(s, y.cols, false, E));
    }

    fn gelu_bwd(&mut self, s: Shape, _: Gelu, _: Act, dy: Act) {
        self.memory(cost::gelu_bwd(s, dy.cols, E));
        self.summed = Some(dy);
    }

    fn linear_bwd_input(&mut self, s: Shape, _: Act, w: Matrix, _: Act) {
        self.product(s.rows(), w.cols, w.rows);
    }

    fn linear_bwd_weight(
        &mut self,
        s: Shape,
        dy: Act,
        _: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        _: bool,
    ) {
        self.product(w.rows, w.cols, s.rows());
        if bias != [None, None] && self.summed != Some(dy) {
            self.memory(cost::bias_grad(s, dy.cols, E));
        }
    }

    fn rotary(&mut self, s: Shape, heads: Heads, _: Act, _: usize) {
        self.memory(cost::rotary(s, heads, E));
    }

    fn attention(&mut self, s: Shape, heads: Heads, _: Act, _: Act, _: Stat) {
        let kind = Kind::Attention { head_size: heads.size, backward: false };
        self.add(kind, cost::attention(s, heads, E));
    }

    fn attention_bwd(&mut self, s: Shape, heads: Heads, _: Act, _: Act, _: Stat, _: Act, _: Act) {
        let kind = Kind::Attention { head_size: heads.size, backward: true };
        self.add(kind, cost::attention_bwd(s, heads, E));
    }

    fn attention_decode(&mut self, _: Heads, _: Act, _: usize, _: Act) {}

    fn cross_entropy(&mut self, s: Shape, logits: Act, _: usize, _: Stat, _: bool) {
        self.add(Kind::Logits, cost::cross_entropy(s, logits.cols, E));
    }

    fn add_gradient(&mut self, from: Matrix, _: Matrix) {
        let elements = from.rows * from.cols;
        self.add(Kind::Update, Cost { bytes: (12 * elements) as f64, flops: elements as f64 });
    }

    fn keep_losses(&mut self, _: Stat, _: usize) {}

    fn update(&mut self, _: &[AdamParam], _: Update) {}

    fn outcome(&mut self) -> Result<Outcome> {
        nothing()
    }

    fn steps_in_flight(&self) -> usize {
        1
    }

    fn set_applied(&mut self, _: u64) {}

    fn read_stat(&mut self, _: Stat, _: usize) -> Result<Vec<f32>> {
        nothing()
    }

    fn read_act(&mut self, _: Act, _: usize) -> Result<Vec<f32>> {
        nothing()
    }

    fn state(&mut self) -> Result<State<'_>> {
        nothing()
    }

    fn load_state(&mut self, _: LoadState<'_>) -> Result<()> {
        nothing()
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        nothing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PRESETS, Purpose, Recompute, preset};

    /// Products and attention of a step without recomputation, the recomputed scores of attention's backward excluded.
    fn useful_flops(ledger: &Ledger) -> f64 {
        let useful = |entry: &Entry| match entry.kind {
            Kind::Product { .. } | Kind::Attention { backward: false, .. } => entry.cost.flops,
            Kind::Attention { backward: true, .. } => entry.cost.flops * 4.0 / 5.0,
            _ => 0.0,
        };
        ledger.entries.iter().map(useful).sum()
    }

    #[test]
    fn a_written_step_has_the_useful_flops_of_every_published_size() {
        for (name, ..) in PRESETS {
            let model = Model::new(preset(name).unwrap());
            let shape = Shape { batch: 2, time: 2048 };
            let ws = Workspace::new(&model.config, shape, 1024, Purpose::Train(Recompute::None));
            let step = Ledger::of_step(&model, &ws, 3);
            let tokens = (3 * shape.rows()) as f64;
            assert_eq!(useful_flops(&step), model.config.flops_per_token(2048) * tokens, "{name}");
        }
    }

    #[test]
    fn recomputation_is_written_down_too() {
        let model = Model::new(preset("pythia-160m").unwrap());
        let shape = Shape { batch: 4, time: 2048 };
        let step = |recompute| {
            let ws = Workspace::new(&model.config, shape, 1024, Purpose::Train(recompute));
            let step = Ledger::of_step(&model, &ws, 1);
            (useful_flops(&step), step.entries.iter().map(|e| e.cost.bytes).sum::<f64>())
        };
        let [none, cheap, block] = Recompute::ALL.map(step);
        assert!(cheap.0 == none.0 && cheap.1 > none.1, "passes over memory only: {none:?} {cheap:?}");
        // All but the output product of 11 of 12 blocks once more.
        let config = &model.config;
        let (c, t) = (config.hidden_size as f64, 2048.0);
        let again = 11.0 * shape.rows() as f64 * (2.0 * 7.0 * c * c + 2.0 * c * t);
        assert_eq!(block.0 - none.0, again);
    }
}
