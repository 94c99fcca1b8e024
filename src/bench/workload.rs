//! What is trained in a measurement.
use crate::backend::{self, MemoryPlan};
use crate::config;
use crate::device::DeviceName;
use crate::model::{Model, ModelConfig, Precision, Purpose, Recompute, Workspace};
use crate::ops::Shape;
use serde_json::{Value, json};

/// A model, a batch and a device: what `bench train` trains and `profile` looks at.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Of the model, for the record.
    pub model: String,
    /// Sizes of the model.
    pub sizes: ModelConfig,
    /// The device that trains.
    pub device: DeviceName,
    /// Tokens of a sequence.
    pub time: usize,
    /// Sequences of a micro-batch.
    pub micro: usize,
    /// Micro-batches of a step.
    pub accumulation: usize,
    /// What is kept in which format.
    pub precision: Precision,
    /// Whether gradients of biases are never summed by products.
    pub separate_bias_gradients: bool,
    /// What the backward computes again.
    pub recompute: Recompute,
    /// Rows of logits at once; none: as training settles it.
    pub chunk_rows: Option<usize>,
    /// Bytes that the device can give; `None` where the system does not tell.
    pub available: Option<u64>,
    /// Settings of the update.
    pub optim: config::Optim,
    /// Token shards; none: random tokens.
    pub data: Vec<String>,
}

/// The performance class of a precision: figures are compared inside one only.
pub fn precision_class(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Mixed => "P1",
        Precision::Bf16 => "P2",
    }
}

impl Workload {
    /// Sequences of a micro-batch.
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

    /// The model of these sizes.
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

    /// Bytes that a backend allocates for it.
    pub fn memory(&self) -> MemoryPlan {
        let table = self.model().table;
        let threads = rayon::current_num_threads();
        backend::memory_plan(self.device, &self.sizes, &table, &self.workspace(), threads)
    }

    /// Its settings, for the record of a measurement.
    pub fn settings(&self) -> Value {
        let data = if self.data.is_empty() { json!("synthetic") } else { json!(self.data) };
        json!({
            "implementation": "rewarm",
            "model": self.model,
            "parameters": self.sizes.parameters(),
            "device": self.device,
            "precision": precision_class(self.precision),
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
