//! A `gpu` backend with just the tensors of one operation, everything else poisoned.
use super::judge::{Outputs, bf16s};
use crate::Result;
use crate::backend::gpu::Gpu;
use crate::device::Device;
use crate::model::{ModelConfig, Param, ParamTable, Purpose, Recompute, Workspace, preset};
use crate::ops::{Act, Backend, Heads, Matrix, Norm, Ops, Part, Shape, Stat, State, Vector, Work};
use crate::reference::Float;
use crate::reference::random::Random;
use std::ops::{Deref, DerefMut};

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
    /// What `update` updates.
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

    /// An activation.
    pub fn act(&mut self, rows: usize, cols: usize) -> Act {
        Act { offset: place(&mut self.acts, rows * cols, GAP), cols, ld: cols }
    }

    /// `cols` columns of a wider activation, with others on both sides.
    pub fn view(&mut self, rows: usize, cols: usize) -> Act {
        self.act(rows, cols + 24).columns(8, cols)
    }

    /// Per-row values.
    pub fn stat(&mut self, rows: usize, cols: usize) -> Stat {
        Stat { offset: place(&mut self.stats, rows * cols, GAP / 2), cols }
    }

    /// A weight with `gap` elements between its rows.
    pub fn matrix(&mut self, rows: usize, cols: usize, gap: usize) -> Matrix {
        let (offset, ld) = (self.weights, cols + gap);
        self.weights = (offset + rows * ld).next_multiple_of(GAP / 2);
        Matrix { offset, rows, cols, ld }
    }

    /// A bias.
    pub fn vector(&mut self, len: usize) -> Vector {
        Vector { offset: self.matrix(1, len, 0).offset, len }
    }

    /// Weight and bias of a norm.
    pub fn norm(&mut self, len: usize) -> Norm {
        Norm { weight: self.vector(len), bias: self.vector(len) }
    }

    /// The backend. Scratch grows with the sizes of a model, so it gets one whose scratch suffices.
    pub fn build(self, device: Box<dyn Device>, shape: Shape) -> Result<Rig> {
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
        let gpu = Gpu::new(device, &config, &table, &workspace, true)?;
        Ok(Rig { gpu, shape, weights, moments, gradients })
    }
}

/// The backend, and the flat buffers that go to it.
pub struct Rig {
    gpu: Gpu,
    shape: Shape,
    /// Weights.
    pub weights: Vec<f32>,
    /// Both moments.
    pub moments: [Vec<f32>; 2],
    /// Gradients, to be added to.
    pub gradients: Vec<f32>,
}

impl Deref for Rig {
    type Target = Gpu;
    fn deref(&self) -> &Gpu {
        &self.gpu
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut Gpu {
        &mut self.gpu
    }
}

impl Rig {
    /// Sends the flat buffers to the device.
    pub fn load(&mut self) -> Result<()> {
        self.gpu.write_part(Part::First, &self.moments[0])?;
        self.gpu.write_part(Part::Second, &self.moments[1])?;
        self.gpu.write_part(Part::Weights, &self.weights)?;
        self.gpu.write_gradients(&self.gradients)
    }

    /// Issues products as a training step does: planned, captured and replayed. Algorithms are chosen where the
    /// inputs will lie, so `inputs` are written after a rehearsal.
    pub fn perform(
        &mut self,
        body: &mut dyn FnMut(&mut dyn Ops),
        inputs: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let work = Work::MicroBatch { shape: self.shape, accumulate: false };
        self.gpu.perform(work, body);
        inputs(self)?;
        self.gpu.perform(work, body);
        Ok(())
    }

    /// The operations, as calls.
    pub fn ops(&mut self) -> &mut dyn Ops {
        &mut self.gpu
    }

    /// A gradient.
    pub fn gradient(&mut self, place: Matrix) -> Result<Vec<f32>> {
        Ok(gather(&self.gpu.gradients()?, place))
    }

    /// Ends a row: its outputs, if nothing wrote elsewhere.
    pub fn finish(&mut self, outputs: Outputs) -> Result<Found> {
        self.gpu.check_red_zones()?;
        Ok(Found { outputs, kernels: self.gpu.kernels().map(str::to_owned).collect() })
    }
}

/// What a row left on the device.
pub struct Found {
    /// Results.
    pub outputs: Outputs,
    /// The kernels that made them.
    pub kernels: Vec<String>,
}

/// Rows of a tensor in a flat buffer.
pub fn gather(flat: &[f32], m: Matrix) -> Vec<f32> {
    (0..m.rows).flat_map(|i| flat[m.offset + i * m.ld..][..m.cols].iter().copied()).collect()
}

/// Writes `values` there.
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
