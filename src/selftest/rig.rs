//! A backend with just the tensors of one operation, everything else poisoned.
use super::judge::{Activations, Outputs, bf16s};
use crate::backend::cpu::Cpu;
use crate::backend::gpu::Gpu;
use crate::device::Device;
use crate::model::{ModelConfig, Param, ParamTable, Purpose, Recompute, Workspace, preset};
use crate::ops::{Act, Backend, Heads, Matrix, Norm, Ops, Part, Shape, Stat, Vector, Work};
use crate::reference::Float;
use crate::reference::random::Random;
use crate::{Error, Result};
use std::ops::{Deref, DerefMut};

/// What a case runs on.
pub enum On {
    /// A device: the kernels, through the `gpu` backend.
    Device(Box<dyn Device>),
    /// This processor: the `cpu` backend, which keeps everything in f32.
    Processor,
}

impl On {
    /// What activations are kept in there.
    pub fn storage(&self) -> Activations {
        match self {
            Self::Device(_) => Activations::Bf16,
            Self::Processor => Activations::F32,
        }
    }

    /// The device: only kernels that no operation of the vocabulary launches ask for it.
    pub fn device(self) -> Result<Box<dyn Device>> {
        match self {
            Self::Device(device) => Ok(device),
            Self::Processor => Err(Error::refused("a processor has no kernels")),
        }
    }
}

/// Elements between tensors of bf16, and to whose multiples they are aligned; half of them for f32.
const GAP: usize = 128;

/// Frequencies of the rotation.
pub const BASE: f64 = 10_000.0;
/// ε of every norm.
pub const EPS: f64 = 1e-5;

/// Hands out places, then makes the backend that has them.
#[derive(Default)]
pub struct Places {
    acts: Vec<(usize, usize)>,
    stats: Vec<(usize, usize)>,
    weights: usize,
    /// Of attention and rotation.
    pub heads: Option<Heads>,
    /// The widest tensor whose columns are summed.
    widest: usize,
    /// Two biases that one product adds.
    pub pair: Option<[Vector; 2]>,
    /// The tensors that an `update` changes.
    pub params: Vec<Matrix>,
    /// Whether it keeps a moving average of the weights.
    pub average: bool,
}

fn place(tensors: &mut Vec<(usize, usize)>, len: usize, gap: usize) -> usize {
    let offset = end(tensors, gap);
    tensors.push((offset, len));
    offset
}

fn end(tensors: &[(usize, usize)], gap: usize) -> usize {
    tensors.last().map_or(0, |&(offset, len)| (offset + len).next_multiple_of(gap) + gap)
}

impl Places {
    /// With scratch for sums of this many columns.
    pub fn summing(widest: usize) -> Self {
        Self { widest, ..Self::default() }
    }

    /// Room for an activation `[rows, cols]`.
    pub fn act(&mut self, rows: usize, cols: usize) -> Act {
        Act { offset: place(&mut self.acts, rows * cols, GAP), cols, ld: cols }
    }

    /// `cols` columns of a wider activation, with others on both sides.
    pub fn view(&mut self, rows: usize, cols: usize) -> Act {
        self.act(rows, cols + 24).columns(8, cols)
    }

    /// Room for `cols` f32 values per row.
    pub fn stat(&mut self, rows: usize, cols: usize) -> Stat {
        Stat { offset: place(&mut self.stats, rows * cols, GAP / 2), cols }
    }

    /// A weight with `gap` elements between its rows.
    pub fn matrix(&mut self, rows: usize, cols: usize, gap: usize) -> Matrix {
        let (offset, ld) = (self.weights, cols + gap);
        self.weights = (offset + rows * ld).next_multiple_of(GAP / 2);
        Matrix { offset, rows, cols, ld }
    }

    /// Room for a vector of `len` weights, such as a bias.
    pub fn vector(&mut self, len: usize) -> Vector {
        Vector { offset: self.matrix(1, len, 0).offset, len }
    }

    /// Weight and bias of a norm.
    pub fn norm(&mut self, len: usize) -> Norm {
        Norm { weight: self.vector(len), bias: self.vector(len) }
    }

    /// The backend. Scratch grows with the sizes of a model, so it gets one whose scratch suffices.
    pub fn build(self, on: On, shape: Shape) -> Result<Rig> {
        let heads = self.heads.unwrap_or(Heads { count: 1, size: 64, rotary: 16 });
        let channels = self.pair.map_or(heads.count * heads.size, |p| p[0].len);
        let config = ModelConfig {
            hidden_size: channels,
            num_attention_heads: channels / heads.size,
            intermediate_size: (8 * self.widest).max(64),
            vocab_size: 64,
            num_hidden_layers: 1,
            // Half a dimension more, because the size is truncated.
            rotary_pct: ((heads.rotary as f64 + 0.5) / heads.size as f64).min(1.0),
            rotary_emb_base: BASE,
            layer_norm_eps: EPS,
            ..preset("pythia-14m").expect("a preset")
        };
        let tiny =
            ModelConfig { intermediate_size: 8, hidden_size: 8, num_attention_heads: 1, ..config.clone() };
        let mut table = ParamTable::new(&tiny);
        let layer = table.layers.pop().expect("one");
        if let Some([first, second]) = self.pair {
            table.layers.push(crate::model::Layer { dense_bias: Some(first), down_bias: second, ..layer });
        }
        let param =
            |&place: &Matrix| Param { name: String::new(), shape: vec![place.rows, place.cols], place };
        table.params = self.params.iter().map(param).collect();
        table.average = self.average;
        (table.total, table.grad_total) = (self.weights.max(GAP), self.weights.max(GAP));
        // Sums of a processor have room for the channels, a device's for the width of the MLP.
        let channels = match on {
            On::Device(_) => channels,
            On::Processor => channels.max(self.widest),
        };
        let workspace = Workspace {
            shape,
            channels,
            acts_len: end(&self.acts, GAP),
            stats_len: end(&self.stats, GAP / 2),
            act_tensors: self.acts,
            stat_tensors: self.stats,
            ..Workspace::new(&tiny, Shape { batch: 1, time: 1 }, 1, Purpose::Train(Recompute::None))
        };
        let zeros = || vec![0.0; table.total];
        let (weights, moments, gradients) = (zeros(), [zeros(), zeros()], zeros());
        let computes = match on {
            On::Device(device) => {
                Computes::Gpu(Box::new(Gpu::new(device, &config, &table, &workspace, true)?))
            }
            On::Processor => {
                Computes::Cpu(Box::new(poisoned(Cpu::new(&config, &table, &workspace), &workspace)))
            }
        };
        Ok(Rig { computes, shape, weights, moments, gradients })
    }
}

/// With NaN in all activations and per-row values.
fn poisoned(mut cpu: Cpu, ws: &Workspace) -> Cpu {
    cpu.write_act(Act { offset: 0, cols: ws.acts_len, ld: ws.acts_len }, &vec![f32::NAN; ws.acts_len]);
    if ws.stats_len > 0 {
        cpu.write_stat(Stat { offset: 0, cols: ws.stats_len }, &vec![f32::NAN; ws.stats_len]);
    }
    cpu
}

enum Computes {
    Gpu(Box<Gpu>),
    Cpu(Box<Cpu>),
}

/// The backend, and the flat buffers that go to it.
pub struct Rig {
    computes: Computes,
    shape: Shape,
    /// The weights in f32, as they go to the backend.
    pub weights: Vec<f32>,
    /// The first and second moments, as they go to the backend.
    pub moments: [Vec<f32>; 2],
    /// Gradients, to be added to.
    pub gradients: Vec<f32>,
}

impl Deref for Rig {
    type Target = dyn Backend;
    fn deref(&self) -> &Self::Target {
        match &self.computes {
            Computes::Gpu(gpu) => &**gpu,
            Computes::Cpu(cpu) => &**cpu,
        }
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.computes {
            Computes::Gpu(gpu) => &mut **gpu,
            Computes::Cpu(cpu) => &mut **cpu,
        }
    }
}

impl Rig {
    /// Hands the flat buffers to the backend.
    pub fn load(&mut self) -> Result<()> {
        let [first, second] = self.moments.each_mut().map(std::mem::take);
        let (weights, gradients) = (std::mem::take(&mut self.weights), std::mem::take(&mut self.gradients));
        self.write_part(Part::First, &first)?;
        self.write_part(Part::Second, &second)?;
        self.write_part(Part::Weights, &weights)?;
        match &mut self.computes {
            Computes::Gpu(gpu) => gpu.write_gradients(&gradients),
            Computes::Cpu(cpu) => {
                cpu.write_gradients(&gradients);
                Ok(())
            }
        }
    }

    /// Overwrites rows of an activation, which keeps them as it stores them.
    pub fn write_act(&mut self, act: Act, values: &[f32]) -> Result<()> {
        match &mut self.computes {
            Computes::Gpu(gpu) => gpu.write_act(act, values),
            Computes::Cpu(cpu) => {
                cpu.write_act(act, values);
                Ok(())
            }
        }
    }

    /// Overwrites per-row values, which lie row by row.
    pub fn write_stat(&mut self, stat: Stat, values: &[f32]) -> Result<()> {
        match &mut self.computes {
            Computes::Gpu(gpu) => gpu.write_stat(stat, values),
            Computes::Cpu(cpu) => {
                cpu.write_stat(stat, values);
                Ok(())
            }
        }
    }

    /// The backend that launches kernels, where they are.
    pub fn gpu(&mut self) -> Option<&mut Gpu> {
        match &mut self.computes {
            Computes::Gpu(gpu) => Some(gpu),
            Computes::Cpu(_) => None,
        }
    }

    /// Issues products as a training step does: planned, captured and replayed. Algorithms are chosen where the
    /// inputs will lie, so `inputs` are written after a rehearsal.
    pub fn perform(
        &mut self,
        body: &mut dyn FnMut(&mut dyn Ops),
        inputs: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let work = Work::MicroBatch { shape: self.shape, accumulate: false };
        if let Some(gpu) = self.gpu() {
            gpu.perform(work, body);
        }
        inputs(self)?;
        (**self).perform(work, body);
        Ok(())
    }

    /// The operations, as calls.
    pub fn ops(&mut self) -> &mut dyn Ops {
        &mut **self
    }

    /// The gradient of the weight at `place`, in row-major order.
    pub fn gradient(&mut self, place: Matrix) -> Result<Vec<f32>> {
        Ok(gather(&self.gradients()?, place))
    }

    /// Ends a row: its outputs, if nothing wrote elsewhere.
    pub fn finish(&mut self, outputs: Outputs) -> Result<RowRun> {
        let mut kernels = Vec::new();
        if let Some(gpu) = self.gpu() {
            gpu.check_red_zones()?;
            kernels.extend(gpu.kernels().map(str::to_owned));
        }
        Ok(RowRun { outputs, kernels })
    }
}

/// What a row left.
pub struct RowRun {
    /// What the operation left in its outputs.
    pub outputs: Outputs,
    /// The kernels that made them, of a device.
    pub kernels: Vec<String>,
}

/// Rows of a tensor in a flat buffer.
pub fn gather(flat: &[f32], m: Matrix) -> Vec<f32> {
    (0..m.rows).flat_map(|i| flat[m.offset + i * m.ld..][..m.cols].iter().copied()).collect()
}

/// Writes `values`, row-major, to the place `m` of a flat buffer.
pub fn scatter(flat: &mut [f32], m: Matrix, values: &[f32]) {
    for (i, row) in values.chunks_exact(m.cols).enumerate() {
        flat[m.offset + i * m.ld..][..m.cols].copy_from_slice(row);
    }
}

/// A vector as a matrix of one row.
pub fn row(v: Vector) -> Matrix {
    Matrix { offset: v.offset, rows: 1, cols: v.len, ld: v.len }
}

/// Normal values that bf16 holds exactly.
pub fn draw(random: &mut Random, n: usize, mean: f64, sigma: f64) -> Vec<f32> {
    bf16s(&random.normals(n, mean, sigma))
}

/// What a naive f32 and an exact f64 computation give, one beside the other.
pub fn both<A: Send, B: Send>(naive: impl FnOnce() -> A + Send, exact: impl FnOnce() -> B + Send) -> (A, B) {
    rayon::join(naive, exact)
}

/// Short for a cast.
pub fn of<T: Float>(x: &[f32]) -> Vec<T> {
    crate::reference::cast(x)
}
