//! A backend with tensors at odd places and NaN everywhere else.
use rewarm::backend::cpu::Cpu;
use rewarm::model::{ModelConfig, ParamTable, Purpose, Recompute, Workspace, preset};
use rewarm::ops::{Act, Backend, Matrix, Norm, Ops, Part, Shape, Stat, State, Vector};

/// Poisoned elements between two tensors; odd, so that nothing is aligned by luck.
const GAP: usize = 5;

/// Hands out places, then makes the backend that has them.
#[derive(Default)]
pub struct Layout {
    acts: usize,
    stats: usize,
    weights: usize,
}

impl Layout {
    /// A tensor of its own.
    pub fn act(&mut self, rows: usize, cols: usize) -> Act {
        self.view(rows, cols, 0, 0)
    }

    /// `cols` columns of a wider tensor, `before` and `after` them others.
    pub fn view(&mut self, rows: usize, cols: usize, before: usize, after: usize) -> Act {
        let wide = before + cols + after;
        let offset = self.acts + GAP;
        self.acts = offset + rows * wide;
        Act { offset, cols: wide, ld: wide }.columns(before, cols)
    }

    /// Values per row.
    pub fn stat(&mut self, rows: usize, cols: usize) -> Stat {
        let offset = self.stats + GAP;
        self.stats = offset + rows * cols;
        Stat { offset, cols }
    }

    /// A weight, its rows `gap` elements apart.
    pub fn matrix(&mut self, rows: usize, cols: usize, gap: usize) -> Matrix {
        let offset = self.weights + GAP;
        self.weights = offset + rows * (cols + gap);
        Matrix { offset, rows, cols, ld: cols + gap }
    }

    /// A bias or norm weight.
    pub fn vector(&mut self, len: usize) -> Vector {
        Vector { offset: self.matrix(1, len, 0).offset, len }
    }

    /// Weight and bias of a norm.
    pub fn norm(&mut self, len: usize) -> Norm {
        Norm { weight: self.vector(len), bias: self.vector(len) }
    }

    /// The backend. `channels` is the widest norm, `heads` the (count, size, rotary size, base) of attention.
    pub fn build(self, shape: Shape, channels: usize, heads: (usize, usize, usize, f64)) -> Rig {
        let (count, size, rotary, base) = heads;
        let config = ModelConfig {
            hidden_size: count * size,
            num_attention_heads: count,
            // Half a dimension more, because the size is truncated.
            rotary_pct: if rotary == size { 1.0 } else { (rotary as f64 + 0.5) / size as f64 },
            rotary_emb_base: base,
            ..preset("pythia-14m").unwrap()
        };
        assert_eq!(config.rotary_size(), rotary);
        let tiny = ModelConfig {
            vocab_size: 1,
            num_hidden_layers: 1,
            intermediate_size: 1,
            hidden_size: 1,
            ..config.clone()
        };
        let weights = self.weights + GAP;
        let table = ParamTable { total: weights, grad_total: weights, ..ParamTable::new(&tiny) };
        let stats = (self.stats + GAP).next_multiple_of(2);
        let acts = self.acts + GAP;
        let workspace = Workspace {
            shape,
            channels,
            acts_len: acts,
            stats_len: stats,
            ..Workspace::new(&tiny, Shape { batch: 1, time: 1 }, 1, Purpose::Train(Recompute::None))
        };
        let mut rig = Rig { cpu: Cpu::new(&config, &table, &workspace), acts, stats, weights };
        rig.poison();
        rig
    }
}

/// See [`Layout::build`].
pub struct Rig {
    pub cpu: Cpu,
    acts: usize,
    stats: usize,
    weights: usize,
}

/// What an operation may write.
#[derive(Default)]
pub struct Writes<'a> {
    /// Activations, with their rows.
    pub acts: &'a [(Act, usize)],
    /// Gradients.
    pub grads: &'a [Matrix],
    /// Per-row values, with their rows.
    pub stats: &'a [(Stat, usize)],
}

/// A vector's place as a matrix of one row.
pub fn row(v: Vector) -> Matrix {
    Matrix { offset: v.offset, rows: 1, cols: v.len, ld: v.len }
}

fn flat(len: usize) -> Act {
    Act { offset: 0, cols: len, ld: len }
}

impl Rig {
    /// NaN in every buffer.
    fn poison(&mut self) {
        self.cpu.write_act(flat(self.acts), &vec![f32::NAN; self.acts]);
        self.cpu.write_stat(Stat { offset: 0, cols: self.stats }, &vec![f32::NAN; self.stats]);
        for part in [Part::Weights, Part::First, Part::Second] {
            self.cpu.write_part(part, &vec![f32::NAN; self.cpu.state_len(part)]).unwrap();
        }
        self.set_all_gradients(&vec![f32::NAN; self.weights]);
    }

    /// The operations, as calls.
    pub fn ops(&mut self) -> &mut dyn Ops {
        &mut self.cpu
    }

    /// The whole gradient buffer.
    pub fn set_all_gradients(&mut self, values: &[f32]) {
        self.cpu.write_gradients(values);
    }

    /// Fills an activation.
    pub fn set(&mut self, act: Act, values: &[f32]) -> Act {
        self.cpu.write_act(act, values);
        act
    }

    /// Rows of an activation.
    pub fn get(&mut self, act: Act, rows: usize) -> Vec<f32> {
        self.cpu.read_act(act, rows).unwrap()
    }

    /// Fills a weight.
    pub fn set_weight(&mut self, place: Matrix, values: &[f32]) {
        self.cpu.write_state(Part::Weights, place, 0, values).unwrap();
    }

    /// Fills a bias or norm weight.
    pub fn set_vector(&mut self, v: Vector, values: &[f32]) {
        self.set_weight(row(v), values);
    }

    /// A gradient.
    pub fn gradient(&mut self, place: Matrix) -> Vec<f32> {
        let g = self.cpu.gradients().unwrap();
        (0..place.rows).flat_map(|i| g[place.offset + i * place.ld..][..place.cols].iter().copied()).collect()
    }

    /// Runs an operation, which may write what is named and nothing else.
    pub fn run(&mut self, writes: Writes, f: impl FnOnce(&mut dyn Ops)) {
        let before = self.everything();
        f(&mut self.cpu);
        let after = self.everything();
        let [mut acts, mut grads, mut stats] = before.each_ref().map(|x| vec![false; x.len()]);
        let mark = |free: &mut [bool], offset: usize, rows: usize, cols: usize, ld: usize| {
            (0..rows).for_each(|i| free[offset + i * ld..][..cols].fill(true));
        };
        writes.acts.iter().for_each(|(a, rows)| mark(&mut acts, a.offset, *rows, a.cols, a.ld));
        writes.grads.iter().for_each(|m| mark(&mut grads, m.offset, m.rows, m.cols, m.ld));
        writes.stats.iter().for_each(|(s, rows)| mark(&mut stats, s.offset, *rows, s.cols, s.cols));
        for (name, free, (b, a)) in [
            ("activations", acts, (&before[0], &after[0])),
            ("gradients", grads, (&before[1], &after[1])),
            ("per-row values", stats, (&before[2], &after[2])),
        ] {
            let changed = (0..b.len()).find(|&i| !free[i] && a[i].to_bits() != b[i].to_bits());
            assert_eq!(changed, None, "an operation wrote outside of its outputs, {name}");
        }
    }

    /// Activations, gradients, per-row values.
    fn everything(&mut self) -> [Vec<f32>; 3] {
        let stats = Stat { offset: 0, cols: self.stats };
        [
            self.get(flat(self.acts), 1),
            self.cpu.gradients().unwrap().to_vec(),
            self.cpu.read_stat(stats, 1).unwrap(),
        ]
    }
}
