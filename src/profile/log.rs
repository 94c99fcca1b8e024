//! What a profiled step did: calls with their place in the model, then with their times.
use super::nvtx::Ranges;
use crate::device::DeviceName;
use crate::model::{Matrix, Model, Norm};
use crate::ops::cost::{self, Cost};
use crate::ops::{Act, Timeline};
use crate::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;

/// The parts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From the tokens to the last norm.
    Forward,
    /// Logits, loss, and the gradients of both.
    Head,
    /// From the last norm back to the embedding, what is computed again included.
    Backward,
    /// Norm, clipping, AdamW.
    Optimizer,
}

impl Phase {
    /// As it is written in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Head => "head",
            Self::Backward => "backward",
            Self::Optimizer => "optimizer",
        }
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name in the vocabulary, and the weight it multiplies with.
    pub name: &'static str,
    /// `qkv`, `out`, `head`; empty where the operation has no matrix.
    pub weight: &'static str,
    /// Part of the step.
    pub phase: Phase,
    /// Block, where it belongs to one.
    pub layer: Option<usize>,
    /// What it must move and compute at least.
    pub cost: Cost,
    /// The activations that it reads and writes.
    pub acts: Vec<Act>,
    /// Beginning and end, in seconds from the start of the step.
    pub time: [f64; 2],
}

impl Call {
    /// `linear qkv`.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.weight).trim_end().to_owned()
    }

    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.time[1] - self.time[0]
    }
}

/// A profiled step; times are in seconds from its start, on the clock of the device.
#[derive(Clone, Debug)]
pub struct Step {
    /// All of it.
    pub seconds: f64,
    /// In order.
    pub calls: Vec<Call>,
    /// Kernels and products of a GPU, with beginning and end.
    pub launches: Vec<(String, [f64; 2])>,
}

/// Bytes that the operations move, by the backend's types.
#[derive(Clone, Copy)]
pub(super) struct Storage {
    /// Of an activation or a weight.
    pub element: usize,
    /// Whether GELU computed again rewrites what its backward needs.
    pub slope: bool,
}

/// Collects calls until their times are known.
pub struct Log {
    calls: Vec<(Call, [usize; 2])>,
    /// Block and name of every matrix, by its first element and columns.
    matrices: HashMap<[usize; 2], (Option<usize>, &'static str)>,
    /// Block of every norm, by its first element.
    norms: HashMap<usize, Option<usize>>,
    /// Where the last operation with weights was; those without belong to it.
    layer: Option<usize>,
    phase: Phase,
    pub(super) storage: Storage,
    /// Of norm and update.
    pub(super) update: Cost,
    /// Different tokens in the batch.
    pub(super) distinct: usize,
    ranges: Ranges,
}

impl Log {
    /// Of a model on a device.
    pub fn new(device: DeviceName, model: &Model) -> Self {
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
        let (storage, copy) = match device {
            DeviceName::Cpu => (Storage { element: 4, slope: true }, 0),
            _ => (Storage { element: 2, slope: false }, 2),
        };
        let norm = cost::global_norm(model.config.parameters() as usize);
        Self {
            calls: Vec::new(),
            matrices,
            norms,
            layer: None,
            phase: Phase::Forward,
            storage,
            update: norm.plus(cost::update(table, copy)),
            distinct: 0,
            ranges: Ranges::open(),
        }
    }

    /// A norm is about to be used.
    pub(super) fn at_norm(&mut self, norm: Norm) {
        self.layer = self.norms.get(&norm.weight.offset).copied().flatten();
    }

    /// A matrix is about to be used; its name.
    pub(super) fn at_matrix(&mut self, matrix: Matrix) -> &'static str {
        let (layer, name) = self.matrices.get(&key(matrix)).copied().unwrap_or((None, ""));
        self.layer = layer;
        name
    }

    /// An operation of no block.
    pub(super) fn outside(&mut self) {
        self.layer = None;
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Before the operation is issued.
    pub(super) fn begin(&mut self, name: &'static str, weight: &str) {
        self.ranges.enter(self.phase, self.layer, name, weight);
    }

    /// After it.
    pub(super) fn end(
        &mut self,
        name: &'static str,
        weight: &'static str,
        cost: Cost,
        acts: &[Act],
        (first, last): (usize, usize),
    ) {
        self.ranges.leave_operation();
        let (phase, layer) = (self.phase, self.layer);
        let call = Call { name, weight, phase, layer, cost, acts: acts.to_vec(), time: [0.0; 2] };
        self.calls.push((call, [first, last]));
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
