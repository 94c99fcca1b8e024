//! Training steps to measure: what is trained, and the same step as `train` takes, over and over.
use crate::backend::{self, MemoryPlan};
use crate::data::{Batch, Corpus, Order, Side, Split, fill_batch};
use crate::device::DeviceName;
use crate::model::{Init, Model, ModelConfig, Precision, Purpose, Recompute, Workspace, initialize};
use crate::ops::{AdamParam, Backend, Shape, Update};
use crate::optim::assign;
use crate::train::{Issued, Micro, StepResult, finish_step, issue_step};
use crate::{Error, Result, config};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// Of weights, tokens and order: every measurement computes the same.
const SEED: u64 = 1234;
/// Batches of random tokens that are used in turn.
const BATCHES: usize = 4;
/// A rate that changes weights and breaks nothing, whatever the model.
const LR: f64 = 3e-4;

/// What is trained.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Of the model, for the record.
    pub model: String,
    /// Its sizes.
    pub sizes: ModelConfig,
    /// Where.
    pub device: DeviceName,
    /// Tokens of a sequence.
    pub time: usize,
    /// Sequences of a micro-batch.
    pub micro: usize,
    /// Micro-batches of a step.
    pub accumulation: usize,
    /// What weights and moments are kept in.
    pub precision: Precision,
    /// Whether gradients of biases are never summed by products.
    pub separate_bias_gradients: bool,
    /// What the backward computes again.
    pub recompute: Recompute,
    /// Rows of logits at once; none: as training settles it.
    pub chunk_rows: Option<usize>,
    /// Bytes that the device can give; `None` where the system does not tell.
    pub available: Option<u64>,
    /// Of the update.
    pub optim: config::Optim,
    /// Token shards; none: random tokens.
    pub data: Vec<String>,
}

/// The performance class of a device's arithmetic: figures are compared inside one only.
pub fn precision_class(device: DeviceName, precision: Precision) -> &'static str {
    match (device, precision) {
        (DeviceName::Cpu, _) => "f32",
        (_, Precision::Mixed) => "P1",
        (_, Precision::Bf16) => "P2",
    }
}

impl Workload {
    /// A micro-batch.
    pub fn shape(&self) -> Shape {
        Shape { batch: self.micro, time: self.time }
    }

    /// Tokens of a step.
    pub fn tokens_per_step(&self) -> usize {
        self.micro * self.accumulation * self.time
    }

    /// Useful FLOPs of a step.
    pub fn flops_per_step(&self) -> f64 {
        self.sizes.flops_per_token(self.time) * self.tokens_per_step() as f64
    }

    /// The model.
    pub fn model(&self) -> Model {
        Model::new(self.sizes.clone())
            .with_precision(self.precision)
            .with_separate_bias_gradients(self.separate_bias_gradients)
    }

    /// The layout of a model's activations.
    pub fn workspace(&self) -> Workspace {
        Workspace::new(&self.sizes, self.shape(), self.chunk_rows(), Purpose::Train(self.recompute))
    }

    /// Rows of logits at once, as they were chosen or as they fit.
    pub fn chunk_rows(&self) -> usize {
        self.chunk_rows.unwrap_or_else(|| {
            let table = self.model().table;
            let what = (self.shape(), Purpose::Train(self.recompute));
            let (threads, free) = (rayon::current_num_threads(), self.available.unwrap_or(u64::MAX));
            backend::chunk_rows(self.device, &self.sizes, &table, what, threads, free)
        })
    }

    /// What it allocates.
    pub fn memory(&self) -> MemoryPlan {
        let table = self.model().table;
        let threads = rayon::current_num_threads();
        backend::memory_plan(self.device, &self.sizes, &table, &self.workspace(), threads)
    }

    /// For the record.
    pub fn settings(&self) -> Value {
        let data = if self.data.is_empty() { json!("synthetic") } else { json!(self.data) };
        json!({
            "implementation": "rewarm",
            "model": self.model,
            "parameters": self.sizes.parameters(),
            "device": self.device,
            "precision": precision_class(self.device, self.precision),
            "seq_len": self.time,
            "micro_batch": self.micro,
            "accumulation": self.accumulation,
            "recompute": self.recompute,
            "chunk_rows": self.chunk_rows(),
            "threads": rayon::current_num_threads(),
            "data": data,
        })
    }
}

/// Where batches come from.
pub enum Tokens {
    /// Random inputs and targets, used in turn.
    Random(Vec<(Vec<i32>, Vec<i32>)>),
    /// Samples of shards, in the order of a run.
    Shards(Box<Order>, Batch),
}

impl Tokens {
    fn open(w: &Workload) -> Result<Self> {
        if w.data.is_empty() {
            return Ok(Self::random(w.tokens_per_step(), w.sizes.vocab_size));
        }
        let corpus = Arc::new(Corpus::open(&w.data)?);
        let order = Order::new(corpus, Side::All, Split::NONE, w.time, SEED)?;
        Ok(Self::Shards(Box::new(order), Batch::default()))
    }

    /// Batches of `len` tokens below `vocab`.
    pub fn random(len: usize, vocab: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let mut tokens = || (0..len).map(|_| (rng.next_u32() as usize % vocab) as i32).collect();
        Self::Random((0..BATCHES).map(|_| (tokens(), tokens())).collect())
    }

    /// Inputs and targets of a step.
    fn of_step(&mut self, step: u64, sequences: usize, vocab: usize) -> Result<(&[i32], &[i32])> {
        match self {
            Self::Random(batches) => {
                let (tokens, targets) = &batches[step as usize % batches.len()];
                Ok((tokens, targets))
            }
            Self::Shards(order, batch) => {
                fill_batch(order, step * sequences as u64, sequences, vocab as u32, batch)?;
                Ok((&batch.tokens, &batch.targets))
            }
        }
    }
}

/// Everything of a step but the backend that computes it.
pub struct Job {
    /// What is trained.
    pub model: Model,
    /// Its activations.
    pub workspace: Workspace,
    params: Vec<AdamParam>,
    workload: Workload,
    tokens: Tokens,
    /// Steps issued so far.
    step: u64,
}

impl Job {
    /// Issues the next step.
    pub fn issue(&mut self, ops: &mut dyn Backend) -> Result<Issued> {
        let w = &self.workload;
        let sequences = w.micro * w.accumulation;
        let (tokens, targets) = self.tokens.of_step(self.step, sequences, w.sizes.vocab_size)?;
        let input = Micro { tokens, targets, time: w.time, batch: w.micro };
        let update = Update::new(w.optim.adam(), LR, self.step);
        self.step += 1;
        Ok(issue_step(&self.model, ops, &self.workspace, input, &self.params, update))
    }
}

/// A model on a device, about to be trained.
pub struct Trainer {
    /// The steps.
    pub job: Job,
    /// What computes them.
    pub ops: Box<dyn Backend>,
}

impl Trainer {
    /// Allocates memory and initialises the weights. Refused where they do not fit.
    pub fn open(workload: &Workload) -> Result<Self> {
        workload.sizes.validate()?;
        super::check_fits(workload)?;
        let tokens = Tokens::open(workload)?;
        let mut model = workload.model();
        let workspace = workload.workspace();
        let mut ops = backend::open(workload.device, &model.config, &model.table, &workspace)?;
        ops.load_state(&mut |w, _, _| {
            initialize(&model.config, &model.table, Init::Normal, SEED, w);
            Ok(())
        })?;
        let optim = &workload.optim;
        let params = assign(&model.table, &optim.groups, optim.weight_decay);
        model.freeze(&params);
        let job = Job { model, workspace, params, workload: workload.clone(), tokens, step: 0 };
        Ok(Self { job, ops })
    }

    /// Takes `count` steps, as many of them in flight as in training; tells of each when it is finished.
    pub fn steps(&mut self, count: usize, seen: &mut dyn FnMut(StepResult)) -> Result<()> {
        let mut in_flight = VecDeque::new();
        for step in 1..=count {
            in_flight.push_back(self.job.issue(&mut *self.ops)?);
            let most = if step == count { 0 } else { self.ops.steps_in_flight() };
            while in_flight.len() > most
                && let Some(issued) = in_flight.pop_front()
            {
                let result = finish_step(&mut *self.ops, issued)?;
                if !result.applied {
                    return Err(Error::failed(format!(
                        "the gradient norm of a measured step is {}: nothing to measure",
                        result.norm
                    )));
                }
                seen(result);
            }
        }
        Ok(())
    }
}
