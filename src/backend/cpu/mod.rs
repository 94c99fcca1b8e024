//! The `cpu` backend on the current rayon pool: f32 with matrix products by the `gemm` crate, or bf16 activations and
//! weights of products with f32 sums, by micro-kernels of our own. Moments and master weights are f32, or, but for those of
//! norms and biases, bf16.
//!
//! Work is cut into tasks by shapes alone, every sum has a fixed order, and tasks write disjoint elements, so
//! results are equal in bits for any number of threads.
//!
//! Once a stop is requested the tasks of operations do nothing. Weights are updated wholly or, where an operation before
//! may have been left out, not at all, and results cannot be read: what is saved is the state after the last whole step.
mod adamw;
mod attention;
mod buffers;
mod cross_entropy;
mod documents;
mod element;
mod embedding;
mod gemm;
mod issue;
mod layernorm;
mod linear;
pub mod math;
mod memory;
mod multiply;
mod parameters;
mod product;
pub(crate) mod rotary;
mod state;
mod stochastic;
#[cfg(test)]
mod tests;
mod tiles;

use super::memory_plan::MemoryPlan;
use crate::model::{ModelConfig, ParamTable, Precision, Workspace};
use crate::ops::{
    Act, AdamParam, AdamSettings, AdamStep, Backend, Inputs, Ops, Outcome, Part, Stat, Timeline, Update, Work,
};
use crate::stop;
use crate::{Error, Result};
pub use adamw::average;
use attention::Attend;
use buffers::{FlatBuffer, zeros};
use documents::KeptDocuments;
pub use gemm::whole as whole_product;
use half::bf16;
pub use linear::whole_gelu;

use multiply::Multiply;
use parameters::Parameters;
pub use product::MicroKernel;
use product::Products;
use std::borrow::Cow;
use std::time::Instant;
pub use stochastic::Draw;

/// All in f32.
pub type Cpu = Processor<f32>;
/// Activations and the weights that products read in bf16. Master weights and moments in f32, or, in
/// [`Precision::Bf16`], moments in bf16 and master weights of norms and biases only.
pub type MixedCpu = Processor<bf16>;

/// Parameters, their gradients and moments, and the activations of one shape, in `E`.
pub struct Processor<E> {
    /// Weights and moments, laid out by the parameter table.
    parameters: Parameters,
    /// Gradients; empty unless training.
    g: Vec<f32>,
    /// The moving average of the weights, where one is kept, and its decay.
    ema: Option<(Vec<f32>, f64)>,
    acts: FlatBuffer<E>,
    stats: FlatBuffer,
    products: Products,
    /// Per-chunk sums of LayerNorm's weight gradients.
    partials: Vec<f32>,
    tokens: Vec<i32>,
    targets: Vec<i32>,
    /// Of the targets; empty where each is 1.
    weights: Vec<f32>,
    documents: KeptDocuments,
    /// Of the gradients of the batch's losses.
    scale: f32,
    /// Losses of the micro-batches of the step.
    losses: Vec<f32>,
    /// Of the step that was ended.
    outcome: Option<Outcome>,
    /// Updates made.
    applied: u64,
    rotary: rotary::Tables,
    eps: f32,
    /// When [`Ops::mark`] was called.
    marks: Vec<Instant>,
}

/// What [`Cpu::new`] and [`Backend::keep_ema`] allocate, for `threads` threads.
pub fn memory_plan(
    config: &ModelConfig,
    table: &ParamTable,
    workspace: &Workspace,
    threads: usize,
) -> MemoryPlan {
    let bytes = |elements: usize| elements * size_of::<f32>();
    let in_f32 = table.precision == Precision::F32;
    let kept = |elements: usize| elements * if in_f32 { size_of::<f32>() } else { size_of::<bf16>() };
    let trains = workspace.trains();
    let [weights, moments] = if in_f32 {
        parameters::bytes::<f32>(table, trains)
    } else {
        parameters::bytes::<bf16>(table, trains)
    };
    let logits = workspace.logits_len();
    MemoryPlan {
        weights,
        gradients: if trains { bytes(table.grad_total) } else { 0 },
        moments,
        activations: kept(workspace.acts_len - logits) + bytes(workspace.stats_len),
        logits: kept(logits),
        ema: if table.average { bytes(table.total) } else { 0 },
        scratch: bytes(partials_len(workspace))
            + if in_f32 {
                threads * f32::scratch_bytes(config.heads(), workspace.shape.time)
            } else {
                bf16_scratch(config, table, workspace, threads)
            },
    }
}

/// Bytes that bf16 takes on its way through f32: the panels of products and of attention, and what a thread borrows at most,
/// which is some columns of all rows or a row of logits.
fn bf16_scratch(config: &ModelConfig, table: &ParamTable, workspace: &Workspace, threads: usize) -> usize {
    let shape = workspace.shape;
    let borrowed = (64 * shape.rows()).max(config.vocab_size) * size_of::<f32>();
    let attention = bf16::scratch_bytes(config.heads(), shape.time);
    let matrices = table.layers.iter().flat_map(|l| [l.qkv, l.out, l.up]).chain([table.head]);
    product::scratch_bytes(matrices, shape.rows()) + threads * (borrowed + attention + product::THREAD_BYTES)
}

/// Resident memory of a process that has allocated nothing yet, of a release build: `rewarm doctor` peaks at 10.7 MB.
pub const PROCESS_BYTES: usize = 10 << 20;
/// What the `gemm` crate packs operands into, and the heap of a thread around it. Measured: with this the plans of three
/// models of 290 to 520 MB are within 3 % of their peaks on two threads.
const THREAD_BYTES: usize = 8 << 20;

/// What a process that computes on `threads` threads has resident beside [`memory_plan`].
pub fn process_bytes(threads: usize) -> usize {
    PROCESS_BYTES + threads * THREAD_BYTES
}

fn partials_len(workspace: &Workspace) -> usize {
    if workspace.trains() { layernorm::chunks(workspace.shape) * 4 * workspace.channels } else { 0 }
}

impl<E: Multiply> Processor<E> {
    /// Allocates everything; the weights are zero until they are loaded or initialised.
    pub fn new(config: &ModelConfig, table: &ParamTable, workspace: &Workspace) -> Self {
        Self {
            parameters: Parameters::new::<E>(table, workspace.trains()),
            g: zeros(if workspace.trains() { table.grad_total } else { 0 }),
            ema: None,
            acts: FlatBuffer::new(workspace.acts_len),
            stats: FlatBuffer::new(workspace.stats_len),
            products: Products::new(MicroKernel::of_machine()),
            partials: vec![0.0; partials_len(workspace)],
            tokens: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            documents: KeptDocuments::default(),
            scale: 0.0,
            losses: Vec::new(),
            outcome: None,
            applied: 0,
            rotary: rotary::Tables::new(workspace.shape.time, config.rotary_size(), config.rotary_emb_base),
            eps: config.layer_norm_eps as f32,
            marks: Vec::new(),
        }
    }

    /// Multiplies by another micro-kernel than this machine's fastest.
    pub fn multiply_by(&mut self, micro: MicroKernel) {
        self.products = Products::new(micro);
    }

    /// Euclidean norm of the first `len` elements of the gradients and the sum of their absolute values, summed in a
    /// fixed order.
    pub fn global_norms(&self, len: usize) -> [f64; 2] {
        adamw::norms(&self.g[..len])
    }

    /// One update of the weights and moments. Where they are bf16, they are rounded by random numbers of `draw`.
    pub fn adamw(&mut self, params: &[AdamParam], step: AdamStep, draw: Draw) {
        self.parameters.refresh_copies();
        adamw::update(&mut self.parameters, &self.g, params, step, draw);
    }

    /// Overwrites as many rows of a tensor as `values [rows, cols]` has: how tests give one operation its inputs.
    pub fn write_act(&mut self, act: Act, values: &[f32]) {
        let ([], [mut view]) = self.acts.borrow(values.len() / act.cols, [], [act]);
        E::write(view.part_mut(0..values.len() / act.cols, 0..act.cols), |mut view| {
            values.chunks_exact(act.cols).enumerate().for_each(|(i, row)| view.row(i).copy_from_slice(row));
        });
    }

    /// The same of per-row values.
    pub fn write_stat(&mut self, s: Stat, values: &[f32]) {
        let ([], [mut view]) = self.stats.borrow(values.len() / s.cols, [], [stat(s)]);
        values.chunks_exact(s.cols).enumerate().for_each(|(i, row)| view.row(i).copy_from_slice(row));
    }

    /// Overwrites the flat buffer of gradients.
    pub fn write_gradients(&mut self, values: &[f32]) {
        self.g.copy_from_slice(values);
    }
}

fn stat(s: Stat) -> Act {
    Act { offset: s.offset, cols: s.cols, ld: s.cols }
}

impl<E: Multiply> Backend for Processor<E> {
    fn set_inputs(&mut self, inputs: Inputs) {
        self.scale = inputs.scale;
        self.tokens.clear();
        self.tokens.extend_from_slice(inputs.tokens);
        self.targets.clear();
        self.targets.extend_from_slice(inputs.targets);
        self.weights.clear();
        self.weights.extend_from_slice(inputs.weights);
        self.documents.keep(inputs.documents);
    }

    fn perform(&mut self, _: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        body(self);
    }

    fn keep_losses(&mut self, loss: Stat, rows: usize) {
        let view = self.stats.read(stat(loss), rows);
        (0..rows).for_each(|i| self.losses.extend_from_slice(view.row(i)));
    }

    fn update(&mut self, params: &[AdamParam], update: Update) {
        // A request is never taken back: had a task above seen it, it would be seen here.
        if stop::requested() {
            return self.losses.clear();
        }
        adamw::clear_frozen(&mut self.g, params);
        let [norm, norm_l1] = self.global_norms(self.parameters.len);
        let applied = norm.is_finite();
        if applied {
            self.applied += 1;
            let Update { adam, lr, decay_scale, seed, step } = update;
            let (grad_scale, applied) = (adam.clip_factor(norm), self.applied);
            let AdamSettings { betas, eps, .. } = adam;
            let adam = AdamStep { lr, decay_scale, betas, eps, grad_scale, applied };
            self.adamw(params, adam, Draw { seed, step });
            if let Some((ema, decay)) = &mut self.ema {
                adamw::average(ema, &self.parameters.w32, *decay);
            }
        }
        self.outcome = Some(Outcome { losses: std::mem::take(&mut self.losses), norm, norm_l1, applied });
    }

    fn outcome(&mut self) -> Result<Outcome> {
        if self.outcome.is_none() {
            stop::check()?; // the step was left in the middle
        }
        Ok(self.outcome.take().expect("a step was ended"))
    }

    fn steps_in_flight(&self) -> usize {
        0
    }

    fn set_applied(&mut self, applied: u64) {
        self.applied = applied;
    }

    fn multiplies_by(&self) -> Option<String> {
        E::ROUNDS.then(|| self.products.micro.to_string())
    }

    fn timeline(&mut self) -> Result<Timeline> {
        let marks = std::mem::take(&mut self.marks);
        let moments = marks.iter().map(|mark| mark.duration_since(marks[0]).as_secs_f64()).collect();
        Ok(Timeline { moments, launches: Vec::new() })
    }

    fn read_stat(&mut self, s: Stat, rows: usize) -> Result<Vec<f32>> {
        stop::check()?;
        let view = self.stats.read(stat(s), rows);
        Ok((0..rows).flat_map(|i| view.row(i)).copied().collect())
    }

    fn read_act(&mut self, act: Act, rows: usize) -> Result<Vec<f32>> {
        stop::check()?;
        Ok(E::read(self.acts.read(act, rows), |view| (0..rows).flat_map(|i| view.row(i)).copied().collect()))
    }

    fn keep_ema(&mut self, decay: f64) -> Result<()> {
        let weights = self.parameters.wide(Part::Weights);
        let weights =
            weights.ok_or_else(|| Error::refused("an average is one of f32 weights; here they are bf16"))?;
        self.ema = Some((weights.to_vec(), decay));
        Ok(())
    }

    fn gradients(&mut self) -> Result<Cow<'_, [f32]>> {
        stop::check()?;
        Ok(Cow::Borrowed(&self.g))
    }
}
