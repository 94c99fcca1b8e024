//! The vocabulary of fused operations that the model is written in. A backend implements [`Ops`] once;
//! `model/` never changes when a backend is added.
//!
//! Operations are issued in order and cannot fail one by one: a backend that can fail (a device) keeps its
//! first error and returns it from the next call that reads results back.
//!
//! Every operation is defined so that a row's result depends on its own sequence only, and every gradient is
//! a sum over sequences in sample order. So neither the number of threads nor the split of a batch into
//! micro-batches can change a bit.
pub mod attention;
pub mod cost;

use crate::device::GemmChoices;
use crate::model::{Gelu, Matrix, Norm, Vector};
use crate::optim::AdamSettings;
use crate::{Error, Result};
use std::borrow::Cow;

/// `batch` sequences of `time` tokens: `batch · time` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// `B`.
    pub batch: usize,
    /// `T`.
    pub time: usize,
}

impl Shape {
    /// `B·T`.
    pub fn rows(self) -> usize {
        self.batch * self.time
    }
}

/// A tensor `[rows, cols]` of activations in the backend's arena (f32 on the CPU, bf16 on a GPU): row `i`
/// starts at element `offset + i·ld`. The rows come from the [`Shape`] of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// First element.
    pub offset: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub ld: usize,
}

impl Act {
    /// The same tensor from row `row` on.
    pub fn from_row(self, row: usize) -> Self {
        Self { offset: self.offset + row * self.ld, ..self }
    }

    /// Columns `first..first + cols` of it.
    pub fn columns(self, first: usize, cols: usize) -> Self {
        Self { offset: self.offset + first, cols, ld: self.ld }
    }
}

/// f32 values kept per row (LayerNorm's mean and rstd, attention's log-sum-exp, losses): `[rows, cols]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// First element.
    pub offset: usize,
    /// Values per row.
    pub cols: usize,
}

impl Stat {
    /// The same tensor from row `row` on.
    pub fn from_row(self, row: usize) -> Self {
        Self { offset: self.offset + row * self.cols, ..self }
    }
}

/// How a `[rows, 3C]` tensor holds queries, keys and values: per head `q[D], k[D], v[D]`, of which the first
/// `rotary` dimensions of q and k rotate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// `H`.
    pub count: usize,
    /// `D`.
    pub size: usize,
    /// Dimensions that rotate; even.
    pub rotary: usize,
}

/// How one step changes the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// β, ε and clipping.
    pub adam: AdamSettings,
    /// Learning rate before group multipliers.
    pub lr: f64,
    /// Factors on the decay of tensors, and of those whose decay follows the rate.
    pub decay_scale: [f64; 2],
    /// Key of random numbers.
    pub seed: u64,
    /// Attempted steps before this one: part of the counter of random numbers.
    pub step: u64,
}

impl Update {
    /// With every decay as it is given, and seed 0.
    pub fn new(adam: AdamSettings, lr: f64, step: u64) -> Self {
        Self { adam, lr, decay_scale: [1.0; 2], seed: 0, step }
    }
}

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Loss of each row of each micro-batch, in order.
    pub losses: Vec<f32>,
    /// Global norm of the gradients before clipping.
    pub norm: f64,
    /// Sum of the absolute values of the gradients before clipping.
    pub norm_l1: f64,
    /// False where the norm is not finite: weights and moments are as they were.
    pub applied: bool,
}

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

/// A tensor's part in the update: where it lies, and its group's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamParam {
    /// Place in the flat buffers.
    pub place: Matrix,
    /// Multiplies the learning rate; 0: frozen.
    pub lr_mult: f64,
    /// Decoupled decay, times the learning rate.
    pub weight_decay: f64,
    /// Which of [`Update::decay_scale`] is on the decay.
    pub decay_follows_rate: bool,
}

impl AdamParam {
    /// A frozen tensor keeps its weights and moments, and its gradient is no part of the global norm, as where
    /// PyTorch's `requires_grad` is false.
    pub fn is_frozen(&self) -> bool {
        self.lr_mult == 0.0
    }

    /// The decay at a step.
    pub fn decay(&self, scale: [f64; 2]) -> f64 {
        self.weight_decay * scale[usize::from(self.decay_follows_rate)]
    }
}

/// The flat f32 buffers of weights and moments, borrowed from a host backend or copied from a device. The
/// moments are empty unless training.
pub struct State<'a> {
    /// Weights.
    pub w: Cow<'a, [f32]>,
    /// First moments.
    pub m: Cow<'a, [f32]>,
    /// Second moments.
    pub v: Cow<'a, [f32]>,
    /// The moving average of the weights, where one is kept.
    pub ema: Option<Cow<'a, [f32]>>,
}

/// When things happened, in seconds on the clock of whoever computes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// In order; a mark is an index into them.
    pub moments: Vec<f64>,
    /// Kernels and products by name, with the marks of their beginnings and ends. A processor has none.
    pub launches: Vec<(String, [usize; 2])>,
}

/// Fills the flat buffers of weights, first and second moments.
pub type LoadState<'a> = &'a mut dyn FnMut(&mut [f32], &mut [f32], &mut [f32]) -> Result<()>;

/// The operations. `w` and gradients are flat buffers addressed by [`Matrix`] and [`Vector`]; gradients are
/// overwritten when `accumulate` is false and added to otherwise.
pub trait Ops {
    /// Puts the inputs and targets `[B, T]` of the next operations on the device. A negative target is ignored
    /// by the loss; gradients are those of the sum of the losses times `scale`. Tokens and targets are below the
    /// size of the vocabulary.
    fn set_batch(&mut self, tokens: &[i32], targets: &[i32], scale: f32);
    /// Chooses what `work` needs, which is what `body` issues, without doing any of it. No activation survives this, and
    /// it may wait for everything: it comes before the work in whose middle it would stand otherwise.
    fn prepare(&mut self, _work: Work, _body: &mut dyn FnMut(&mut dyn Ops)) {}
    /// Runs `body` on this backend, which must issue the same operations whenever `work` is the same. What reads
    /// results back stays outside.
    fn perform(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops));

    /// `x[i] = w[token[i]]`.
    fn embedding(&mut self, s: Shape, w: Matrix, x: Act);
    /// `x = 0`.
    fn zero(&mut self, s: Shape, x: Act);
    /// `to = from`, of equally many columns.
    fn copy(&mut self, s: Shape, from: Act, to: Act);
    /// `dw[token[i]] += dx[i]`, in order of `i`.
    fn embedding_bwd(&mut self, s: Shape, dx: Act, w: Matrix, accumulate: bool);

    /// `y = (x - mean)·rstd·weight + bias`; keeps mean and rstd. Ba et al. 2016, arXiv:1607.06450.
    fn layernorm(&mut self, s: Shape, x: Act, norm: Norm, y: Act, stats: Stat);
    /// Both norms of the parallel residual: they share one pass over `x` and its statistics.
    fn layernorm_pair(&mut self, s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat);
    /// `dx += d layernorm`, and the gradients of weight and bias.
    #[allow(clippy::too_many_arguments, reason = "the tensors of one fused operation")]
    fn layernorm_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norm: Norm,
        dy: Act,
        dx: Act,
        accumulate: bool,
    );
    /// `dx +=` both, in one pass.
    #[allow(clippy::too_many_arguments, reason = "the tensors of one fused operation")]
    fn layernorm_pair_bwd(
        &mut self,
        s: Shape,
        x: Act,
        stats: Stat,
        norms: [Norm; 2],
        dy: [Act; 2],
        dx: Act,
        accumulate: bool,
    );

    /// `y = [residual +] x·wᵀ [+ bias₀ + bias₁]`.
    fn linear(
        &mut self,
        s: Shape,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        residual: Option<Act>,
        y: Act,
    );
    /// `y = gelu(x·wᵀ + bias)`; `saved` is what [`Ops::gelu_bwd`] needs or, with `again`, [`Ops::gelu_again`], of
    /// the backend's choosing.
    #[allow(clippy::too_many_arguments, reason = "the tensors of one fused operation")]
    fn linear_gelu(
        &mut self,
        s: Shape,
        x: Act,
        w: Matrix,
        bias: Vector,
        gelu: Gelu,
        saved: Act,
        y: Act,
        again: bool,
    );
    /// `y` of a [`Ops::linear_gelu`] with `again`, the same bits; `saved` becomes what [`Ops::gelu_bwd`] needs.
    fn gelu_again(&mut self, s: Shape, gelu: Gelu, saved: Act, y: Act);
    /// `dy *= gelu'`, in place.
    fn gelu_bwd(&mut self, s: Shape, gelu: Gelu, saved: Act, dy: Act);
    /// `dx = dy·w`.
    fn linear_bwd_input(&mut self, s: Shape, dy: Act, w: Matrix, dx: Act);
    /// `dw += dyᵀ·x` and `db += Σ dy` for each bias, sequence by sequence.
    fn linear_bwd_weight(
        &mut self,
        s: Shape,
        dy: Act,
        x: Act,
        w: Matrix,
        bias: [Option<Vector>; 2],
        accumulate: bool,
    );

    /// Rotates the first `heads.rotary` dimensions of q and k in place; row `t` of a sequence is at position
    /// `first + t`. Su et al. 2021, arXiv:2104.09864, half-split pairs as in GPT-NeoX.
    fn rotary(&mut self, s: Shape, heads: Heads, qkv: Act, first: usize);
    /// Causal softmax attention with scale `1/√D`, `out [rows, C]`; keeps the log-sum-exp per row and head.
    fn attention(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat);
    /// Gradient of [`Ops::attention`] and of the rotation before it (from position 0) into `dqkv`, in the
    /// interleaved layout.
    #[allow(clippy::too_many_arguments, reason = "the tensors of one fused operation")]
    fn attention_bwd(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat, dout: Act, dqkv: Act);
    /// One query against a cache: rows `0..=position` of `qkv` hold keys and values, row `position` the query.
    fn attention_decode(&mut self, heads: Heads, qkv: Act, position: usize, out: Act);

    /// Softmax cross-entropy of rows of logits against the targets from row `first_row` of the batch on:
    /// `loss[i]` (0 where ignored), and, with `gradient`, the logits replaced by `(softmax - onehot)·scale`.
    fn cross_entropy(&mut self, s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool);

    /// Adds the tied output matrix's gradient to the embedding's, once per step.
    fn add_gradient(&mut self, from: Matrix, to: Matrix);
    /// Keeps the losses of a micro-batch for the outcome of the step.
    fn keep_losses(&mut self, loss: Stat, rows: usize);
    /// Ends a step: global norm of the gradients in a fixed order, clipping, and, where the norm is finite, AdamW
    /// (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, decoupled decay times the rate). `params` are the
    /// same in every step; frozen tensors are left out of all of it.
    fn update(&mut self, params: &[AdamParam], update: Update);
    /// Of the oldest step whose outcome was not yet asked for; waits for it. [`Error::Stopped`] where a request to stop
    /// ([`crate::stop`]) left the step in the middle: then the state is that before it.
    fn outcome(&mut self) -> Result<Outcome>;
    /// Steps that should be in flight: issued, and their outcome not yet asked for.
    fn steps_in_flight(&self) -> usize;
    /// Sets the number of updates made so far, the exponent of Adam's bias corrections.
    fn set_applied(&mut self, applied: u64);
    /// From here on keeps the exponential moving average of the weights, which every update that is made ends with:
    /// `e ← d·e + (1 − d)·w` in f32, without bias correction. `load` finds the weights in it, the `e₀` of a new
    /// run, and may fill it otherwise.
    fn keep_ema(&mut self, _decay: f64, _load: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
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
    /// Notes the moment at which all that was issued so far is done: an index into [`Timeline::moments`]. `None` while
    /// nothing is computed, because what will be needed is looked at first.
    fn mark(&mut self) -> Option<usize> {
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

    /// The flat buffers of weights and moments, for checkpoints.
    fn state(&mut self) -> Result<State<'_>>;
    /// Lets `load` fill the flat buffers of weights and moments.
    fn load_state(&mut self, load: LoadState<'_>) -> Result<()>;
    /// The flat buffer of gradients.
    fn gradients(&mut self) -> Result<Cow<'_, [f32]>>;
}
