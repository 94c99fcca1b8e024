//! Who computes operations, and what a backend does beside: batches, repeated work, ends of steps, reading back.
use super::{Act, AdamParam, Inputs, Op, Outcome, Shape, Stat, State, Update};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Work that a backend may prepare once for each value of this and then repeat: all else about it is in device
/// memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Forward and backward of a micro-batch. `accumulate` is false for the first of a step.
    MicroBatch {
        /// Of the batch.
        shape: Shape,
        /// Whether gradients are added to those that are there.
        accumulate: bool,
    },
    /// The losses of a batch.
    Evaluation {
        /// Of the batch.
        shape: Shape,
    },
    /// Something else, which is not repeated.
    Once,
}

/// When things happened, in seconds on the clock of whoever computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// In order; a mark is an index into them.
    pub moments: Vec<f64>,
    /// Kernels and products by name, with the marks of their beginnings and ends. A processor has none.
    pub launches: Vec<(String, [usize; 2])>,
}

/// Which algorithm was chosen for each shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GemmChoices {
    /// Where they apply: GPU, its number of SMs, versions of cuBLASLt and of the driver. Empty where there is
    /// nothing to choose.
    pub device: String,
    /// Shape to algorithm, both as text; `separate` where the epilogue is slower than a kernel of its own.
    pub algorithms: BTreeMap<String, String>,
}

/// Takes operations in the order of their issue. They cannot fail one by one: a backend that can fail (a device) keeps
/// its first error and returns it from the next call that reads results back.
///
/// This is all that the model sees: a unit of work that is captured and replayed can issue operations and cannot read
/// anything back. Each operation is a call, too (`ops.linear(…)`).
pub trait Ops {
    /// Computes an operation, after all that was issued before.
    fn issue(&mut self, op: &Op);
    /// Notes the moment at which all that was issued so far is done: an index into [`Timeline::moments`]. `None` while
    /// nothing is computed, because what will be needed is looked at first.
    fn mark(&mut self) -> Option<usize> {
        None
    }
}

/// Has the memory of a model, and what a training step needs beside operations.
pub trait Backend: Ops + State {
    /// Puts the batch of the next operations on the device.
    fn set_inputs(&mut self, inputs: Inputs);
    /// As [`Backend::set_inputs`], each sequence one document.
    fn set_batch(&mut self, tokens: &[i32], targets: &[i32], scale: f32) {
        self.set_inputs(Inputs::new(tokens, targets, scale));
    }
    /// Chooses what `work` needs, which is what `body` issues, without doing any of it. No activation survives this, and
    /// it may wait for everything: it comes before the work in whose middle it would stand otherwise.
    fn prepare(&mut self, _work: Work, _body: &mut dyn FnMut(&mut dyn Ops)) {}
    /// Runs `body` on this backend, which must issue the same operations whenever `work` is the same.
    fn perform(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops));

    /// Keeps the losses `[rows, 1]` of a micro-batch for the outcome of the step.
    fn keep_losses(&mut self, loss: Stat, rows: usize);
    /// Ends a step: global norm of the gradients in a fixed order, clipping, and, where the norm is finite, AdamW
    /// (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, decoupled decay times the rate). `params` are the
    /// same in every step; frozen tensors are left out of all of it.
    fn update(&mut self, params: &[AdamParam], update: Update);
    /// Of the oldest step whose outcome was not yet asked for; waits for it. [`Error::Stopped`] where a request to stop
    /// (`src/stop.rs`) left the step in the middle: then the state is that before it.
    fn outcome(&mut self) -> Result<Outcome>;
    /// Steps that should be in flight: issued, and their outcome not yet asked for.
    fn steps_in_flight(&self) -> usize;
    /// Sets the number of updates made so far, the exponent of Adam's bias corrections.
    fn set_applied(&mut self, applied: u64);
    /// From here on keeps the exponential moving average of the weights, which every update that is made ends with:
    /// `e ← d·e + (1 − d)·w` in f32, without bias correction. It begins as the weights, the `e₀` of a new run.
    fn keep_ema(&mut self, _decay: f64) -> Result<()> {
        Err(Error::refused("train.ema is given, and this backend keeps no moving average of the weights"))
    }
    /// Algorithms that were chosen by measuring and decide about bits: they belong to a run.
    fn choices(&self) -> GemmChoices {
        GemmChoices::default()
    }
    /// Uses these algorithms where there are any; not reproducible where they are another device's.
    fn adopt(&mut self, _: &GemmChoices) -> Result<()> {
        Ok(())
    }

    /// While this is on nothing is captured, and launches are noted in the timeline.
    fn set_profiling(&mut self, _on: bool) {}
    /// Who multiplies, where that decides the order of sums and so the bits: a micro-kernel of the processor.
    fn multiplies_by(&self) -> Option<String> {
        None
    }
    /// Everything that was noted since the last call; waits for it.
    fn timeline(&mut self) -> Result<Timeline> {
        Ok(Timeline::default())
    }

    /// Copies `rows` rows of per-row values to the host.
    fn read_stat(&mut self, stat: Stat, rows: usize) -> Result<Vec<f32>>;
    /// Copies `rows` rows of an activation to the host as f32.
    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>>;

    /// The flat buffer of gradients.
    fn gradients(&mut self) -> Result<Cow<'_, [f32]>>;
}
