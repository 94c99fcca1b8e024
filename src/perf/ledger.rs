//! A step that nobody computes: it is written down operation by operation, with what each must
//! move and compute in the model's precision, GELU as a pass of its own, as the `gpu` backend has it.
use crate::model::{Model, Param, ParamTable, Pass, Precision, Workspace};
use crate::ops::cost::{self, Cost, Storage};
use crate::ops::{Act, Op, Ops};

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

/// One operation of a step and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LedgerRow {
    /// What limits its speed.
    pub kind: Kind,
    /// What it moves and computes.
    pub cost: Cost,
}

/// Operations in the order of their issue.
#[derive(Debug)]
pub struct Ledger {
    /// The operations in the order of their issue.
    pub entries: Vec<LedgerRow>,
    storage: Storage,
    /// Whose columns were summed on the way.
    summed: Option<Act>,
}

impl Ledger {
    /// One step of `accumulation` micro-batches that fill the workspace.
    pub fn of_step(model: &Model, ws: &Workspace, accumulation: usize) -> Self {
        let storage = model.table.precision.storage();
        let mut ledger = Self { entries: Vec::new(), storage, summed: None };
        for i in 0..accumulation {
            model.forward(&mut ledger, ws, ws.shape, Pass::Sequences);
            model.loss_and_gradient(&mut ledger, ws, ws.shape, i > 0);
        }
        model.finish_gradient(&mut ledger);
        ledger.add(Kind::Update, cost::global_norm(model.table.grad_total));
        ledger.add(Kind::Update, update_cost(&model.table));
        if model.table.average {
            ledger.add(Kind::Update, cost::ema(model.table.total));
        }
        ledger
    }

    fn add(&mut self, kind: Kind, cost: Cost) {
        self.entries.push(LedgerRow { kind, cost });
    }
}

impl Ops for Ledger {
    fn issue(&mut self, op: &Op) {
        let cost = op.cost(self.storage);
        match *op {
            Op::Linear { s, w, .. } => self.add(Kind::Product { m: s.rows(), n: w.rows, k: w.cols }, cost),
            // A GPU has GELU as a pass of its own.
            Op::LinearGelu { s, x, w, saved, y, .. } => {
                self.issue(&Op::Linear { s, x, w, bias: [None; 2], residual: None, y: saved });
                self.add(Kind::Memory, cost::gelu(s, y.cols, false, self.storage.element));
            }
            Op::LinearBwdInput { s, w, .. } => {
                self.add(Kind::Product { m: s.rows(), n: w.cols, k: w.rows }, cost);
            }
            Op::LinearBwdWeight { s, dy, w, bias, .. } => {
                self.add(Kind::Product { m: w.rows, n: w.cols, k: s.rows() }, cost);
                if bias != [None, None] && self.summed != Some(dy) {
                    self.add(Kind::Memory, cost::bias_grad(s, dy.cols, self.storage.element));
                }
            }
            Op::GeluBwd { dy, .. } => {
                self.add(Kind::Memory, cost);
                self.summed = Some(dy);
            }
            Op::Attention { heads, .. } => {
                self.add(Kind::Attention { head_size: heads.size, backward: false }, cost);
            }
            Op::AttentionBwd { heads, .. } => {
                self.add(Kind::Attention { head_size: heads.size, backward: true }, cost);
            }
            Op::CrossEntropy { .. } => self.add(Kind::Logits, cost),
            Op::AddGradient { .. } => self.add(Kind::Update, cost),
            _ => self.add(Kind::Memory, cost),
        }
    }
}

/// AdamW of a whole model, in its precision.
pub fn update_cost(table: &ParamTable) -> Cost {
    let elements = |p: &Param| p.place.rows * p.place.cols;
    let all = table.params.iter().map(elements).sum();
    match table.precision {
        Precision::F32 => cost::adamw(all, 0),
        // A copy of the weights is written beside.
        Precision::Mixed => cost::adamw(all, table.precision.storage().element),
        Precision::Bf16 => {
            cost::adamw_bf16(all, table.params.iter().filter(|p| p.has_master()).map(elements).sum())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PRESETS, Purpose, Recompute, preset};
    use crate::ops::Shape;

    /// Products and attention of a step without recomputation, the recomputed scores of attention's backward excluded.
    fn useful_flops(ledger: &Ledger) -> f64 {
        let useful = |entry: &LedgerRow| match entry.kind {
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

    /// The same operations, whose activations are twice as wide in f32; a copy of the weights is written in mixed alone.
    #[test]
    fn costs_follow_the_precision() {
        let shape = Shape { batch: 2, time: 512 };
        let [f32, mixed, bf16] = [Precision::F32, Precision::Mixed, Precision::Bf16].map(|precision| {
            let model = Model::new(preset("pythia-14m").unwrap()).with_precision(precision);
            let ws = Workspace::new(&model.config, shape, 256, Purpose::Train(Recompute::None));
            (Ledger::of_step(&model, &ws, 1).entries, update_cost(&model.table).bytes)
        });
        assert_eq!(f32.0.len(), mixed.0.len());
        for ((wide, narrow), low) in f32.0.iter().zip(&mixed.0).zip(&bf16.0) {
            assert_eq!((wide.kind, wide.cost.flops), (narrow.kind, narrow.cost.flops));
            if wide.kind == Kind::Update {
                continue;
            }
            // Gradients of weights and statistics are f32 in each; logits are nothing but activations.
            let least = if wide.kind == Kind::Logits { 1.99 } else { 1.0 };
            let ratio = wide.cost.bytes / narrow.cost.bytes;
            assert!(ratio > least && ratio <= 2.0, "{wide:?} {narrow:?}");
            assert_eq!(narrow, low);
        }
        let parameters = preset("pythia-14m").unwrap().parameters() as f64;
        assert_eq!(mixed.1 - f32.1, 2.0 * parameters);
        assert!(bf16.1 < 0.65 * mixed.1, "{} {}", bf16.1, mixed.1);
    }

    /// The products of a step add up to the convention for useful FLOPs; the attention backward executes five
    /// products of which four are useful.
    #[test]
    fn products_add_up_to_the_flops_of_a_step() {
        for &(name, ..) in PRESETS {
            let config = preset(name).unwrap();
            let (c, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
            let (s, heads) = (Shape { batch: 3, time: 384 }, config.heads());
            let products =
                [cost::linear(s, c, 3 * c, 4), cost::linear_gelu(s, c, f, 4), cost::linear(s, c + f, c, 4)];
            let layer: f64 = products.iter().map(|p| 3.0 * p.flops).sum::<f64>()
                + cost::attention(s, heads, 4).flops
                + cost::attention_bwd(s, heads, 4).flops * 4.0 / 5.0;
            let step = layer * config.num_hidden_layers as f64 + 3.0 * cost::linear(s, c, v, 4).flops;
            assert_eq!(step, config.flops_per_token(s.time) * s.rows() as f64, "{name}");
        }
    }

    /// Useful GFLOP a token at T = 2048, from its own formula: 6(12 L d² + V d) + 6 L T d.
    #[test]
    fn useful_flops_are_those_of_the_convention() {
        for &(name, layers, hidden, _, vocab) in PRESETS {
            let products = 6 * (12 * layers * hidden * hidden + vocab * hidden);
            let expected = (products + 6 * layers * 2048 * hidden) as f64;
            assert_eq!(preset(name).unwrap().flops_per_token(2048), expected, "{name}");
        }
        let published = [("160m", 0.855), ("410m", 2.423), ("1.4b", 8.470), ("6.9b", 41.50)];
        for (name, gflop) in published {
            let config = preset(&format!("pythia-{name}")).unwrap();
            let found = config.flops_per_token(2048) / 1e9;
            assert!((found / gflop - 1.0).abs() < 1e-3, "{name}: {found}");
        }
    }
}
