//! What a profiled step did: calls with their place in the model, then with their times.
use super::nvtx::Ranges;
use super::step::{Call, Step, StepPart};
use crate::model::Model;
use crate::ops::cost::{self, Cost, Storage};
use crate::ops::{Matrix, Op, Timeline};
use crate::perf::ledger;
use crate::{Error, Result};
use std::collections::HashMap;

/// Collects calls until their times are known.
pub struct Log {
    calls: Vec<(Call, [usize; 2])>,
    /// Block and name of every matrix, by its first element and columns.
    matrices: HashMap<[usize; 2], (Option<usize>, &'static str)>,
    /// Block of every norm, by its first element.
    norms: HashMap<usize, Option<usize>>,
    /// Where the last operation with weights was; those without belong to it.
    layer: Option<usize>,
    /// The name of the matrix of the last operation, if it had one.
    weight: &'static str,
    phase: StepPart,
    storage: Storage,
    /// Of norm and update.
    pub(super) update: Cost,
    /// Different tokens in the batch.
    distinct: usize,
    ranges: Ranges,
}

impl Log {
    /// Of a model.
    pub fn new(model: &Model) -> Self {
        let (mut matrices, mut norms) = (HashMap::new(), HashMap::new());
        let table = &model.table;
        for (i, layer) in table.layers.iter().enumerate() {
            let named = [
                ("qkv", layer.qkv),
                ("out", layer.out),
                ("dense", layer.dense),
                ("up", layer.up),
                ("down", layer.down),
            ];
            matrices.extend(named.map(|(name, m)| (key(m), (Some(i), name))));
            norms.extend([layer.norm_attn, layer.norm_mlp].map(|n| (n.weight.offset, Some(i))));
        }
        matrices.extend([table.head, table.head_grad].map(|m| (key(m), (None, "head"))));
        norms.insert(table.final_norm.weight.offset, None);
        let norm = cost::global_norm(model.config.parameters() as usize);
        Self {
            calls: Vec::new(),
            matrices,
            norms,
            layer: None,
            weight: "",
            phase: StepPart::Forward,
            storage: table.precision.storage(),
            update: norm.plus(ledger::update_cost(table)),
            distinct: 0,
            ranges: Ranges::open(),
        }
    }

    /// An operation is about to be issued: its part of the step, its block and its weight.
    pub(super) fn at(&mut self, op: &Op) {
        self.weight = "";
        match *op {
            Op::Embedding { .. } => {
                self.enter(StepPart::Forward);
                self.layer = None;
            }
            Op::EmbeddingBwd { .. } | Op::AddGradient { .. } => self.layer = None,
            Op::LayerNorm { norm, .. }
            | Op::LayerNormBwd { norm, .. }
            | Op::LayerNormPair { norms: [norm, _], .. }
            | Op::LayerNormPairBwd { norms: [norm, _], .. } => {
                self.layer = self.norms.get(&norm.weight.offset).copied().flatten();
            }
            // The gradient of the stream, which the last norm's is added to.
            Op::Zero { .. } if self.phase == StepPart::Head => self.enter(StepPart::Backward),
            _ => {}
        }
        if let Some(matrix) = op.matrix() {
            (self.layer, self.weight) = self.matrices.get(&key(matrix)).copied().unwrap_or((None, ""));
        }
        if matches!(op, Op::Linear { .. }) && self.weight == "head" {
            self.enter(StepPart::Head);
        }
    }

    /// What it must move and compute at least, of this batch.
    pub(super) fn cost(&self, op: &Op) -> Cost {
        match *op {
            Op::EmbeddingBwd { s, dx, .. } => {
                cost::embedding_bwd(s, dx.cols, self.distinct, self.storage.element)
            }
            _ => op.cost(self.storage),
        }
    }

    /// The tokens of the next operations.
    pub(super) fn see(&mut self, tokens: &[i32]) {
        let mut sorted = tokens.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        self.distinct = sorted.len();
    }

    /// A call of no block is about to be made.
    pub(super) fn outside(&mut self) {
        (self.layer, self.weight) = (None, "");
    }

    pub(super) fn enter(&mut self, phase: StepPart) {
        self.phase = phase;
    }

    /// Before the operation is issued.
    pub(super) fn begin(&mut self, name: &'static str) {
        self.ranges.enter(self.phase, self.layer, name, self.weight);
    }

    /// After it.
    pub(super) fn end(&mut self, name: &'static str, cost: Cost, marks: (usize, usize)) {
        self.ranges.leave_operation();
        let (phase, layer, weight) = (self.phase, self.layer, self.weight);
        let call = Call { name, weight, phase, layer, cost, time: [0.0; 2] };
        self.calls.push((call, [marks.0, marks.1]));
    }

    /// The step that lies between these marks.
    pub(super) fn take(&mut self, timeline: Timeline, step: [Option<usize>; 2]) -> Result<Step> {
        self.ranges.leave_all();
        let Timeline { moments, launches } = timeline;
        let [Some(first), Some(last)] = step else {
            return Err(Error::failed("the device does not tell the time"));
        };
        let start = moments[first];
        let at = |marks: [usize; 2]| marks.map(|mark| moments[mark] - start);
        let calls = std::mem::take(&mut self.calls).into_iter();
        Ok(Step {
            seconds: moments[last] - start,
            calls: calls.map(|(call, marks)| Call { time: at(marks), ..call }).collect(),
            launches: launches.into_iter().map(|(name, marks)| (name, at(marks))).collect(),
        })
    }
}

fn key(m: Matrix) -> [usize; 2] {
    [m.offset, m.cols]
}
