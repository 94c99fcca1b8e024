//! Training steps to measure: the same step as `train` takes, over and over.
use super::fit::check_fits;
use super::workload::Workload;
use crate::backend;
use crate::data::{Batch, Corpus, Order, Side, Split, fill_batch};
use crate::model::{Init, Model, Workspace, initialize};
use crate::ops::{AdamParam, Backend, Update};
use crate::optim::assign;
use crate::train::{Issued, Micro, StepResult, finish_step, issue_step};
use crate::{Error, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::sync::Arc;

/// Of weights, tokens and order: every measurement computes the same.
const SEED: u64 = 1234;
/// Batches of random tokens that are used in turn.
const BATCHES: usize = 4;
/// A rate that changes weights and breaks nothing, whatever the model.
const LR: f64 = 3e-4;

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
    /// The model that is trained.
    pub model: Model,
    /// Where its activations lie.
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
        let input = Micro::new(tokens, targets, w.time, w.micro);
        let update = Update::new(w.optim.adam(), LR, self.step);
        self.step += 1;
        Ok(issue_step(&self.model, ops, &self.workspace, input, &self.params, update))
    }
}

/// A model on a device, about to be trained.
pub struct Trainer {
    /// The steps that are timed.
    pub job: Job,
    /// The backend that computes them.
    pub ops: Box<dyn Backend>,
}

impl Trainer {
    /// Allocates memory and initialises the weights. Refused where they do not fit.
    pub fn open(workload: &Workload) -> Result<Self> {
        workload.sizes.validate()?;
        check_fits(workload)?;
        let tokens = Tokens::open(workload)?;
        let mut model = workload.model();
        let workspace = workload.workspace();
        let mut ops = backend::open(workload.device, &model.config, &model.table, &workspace)?;
        initialize(&model.config, &model.table, Init::Normal, SEED, &mut *ops)?;
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
