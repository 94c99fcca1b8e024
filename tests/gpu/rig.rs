//! Small models, and both backends with the same weights.
use crate::reference::random::Random;
use rewarm::Result;
use rewarm::backend::cpu::Cpu;
use rewarm::backend::gpu::Gpu;
use rewarm::device::{EmulatedDevice, EmulatedSettings};
use rewarm::model::{
    Init, Model, ModelConfig, Precision, Purpose, Recompute, Workspace, initial_weights, preset,
};
use rewarm::ops::{Backend, Gelu, Matrix, Part, Shape};

/// Sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub layers: usize,
    pub channels: usize,
    pub heads: usize,
    pub parallel: bool,
    pub tied: bool,
    pub gelu: Gelu,
}

impl Sizes {
    /// A model that is trained with weights and moments in bf16.
    pub fn low(self) -> Model {
        self.model().with_precision(Precision::Bf16)
    }

    pub fn new(channels: usize, heads: usize) -> Self {
        Self { layers: 2, channels, heads, parallel: true, tied: false, gelu: Gelu::Erf }
    }

    pub fn model(self) -> Model {
        Model::new(ModelConfig {
            vocab_size: 256,
            hidden_size: self.channels,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            intermediate_size: 4 * self.channels,
            max_position_embeddings: 256,
            use_parallel_residual: self.parallel,
            tie_word_embeddings: self.tied,
            gelu: self.gelu,
            ..preset("pythia-14m").unwrap()
        })
    }
}

/// Weights that make every part of the model matter: norms and biases are not what they are initialised to.
pub fn weights(model: &Model, seed: u64) -> Vec<f32> {
    let mut w = initial_weights(&model.config, &model.table, Init::Normal, seed);
    let mut random = Random::new(seed);
    for p in model.table.params.iter().filter(|p| p.shape.len() == 1) {
        let noise: Vec<f32> = random.normals(p.shape[0], 0.0, 0.1);
        let values = p.gather(&w).iter().zip(noise).map(|(w, n)| w + n).collect::<Vec<_>>();
        p.scatter(&values, &mut w);
    }
    w
}

/// In two pieces: the second comes through the same pinned memory.
pub fn load(ops: &mut dyn Backend, weights: &[f32]) -> Result<()> {
    let (place, half) = (Matrix::row(0, weights.len()), weights.len() / 2 + 7);
    ops.write_state(Part::Weights, place, 0, &weights[..half])?;
    ops.write_state(Part::Weights, place, half, &weights[half..])
}

pub fn workspace(model: &Model, shape: Shape) -> Workspace {
    Workspace::new(&model.config, shape, shape.time / 2 + 1, Purpose::Train(Recompute::None))
}

pub fn cpu(model: &Model, ws: &Workspace, weights: &[f32]) -> Cpu {
    let mut cpu = Cpu::new(&model.config, &model.table, ws);
    load(&mut cpu, weights).unwrap();
    cpu
}

pub fn gpu(model: &Model, ws: &Workspace, weights: &[f32], settings: EmulatedSettings, graphs: bool) -> Gpu {
    let device = Box::new(EmulatedDevice::new(settings).unwrap());
    let mut gpu = Gpu::new(device, &model.config, &model.table, ws, graphs).unwrap();
    load(&mut gpu, weights).unwrap();
    gpu
}
