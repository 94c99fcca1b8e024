//! Where every activation lies. All of it is laid out before the first step, by a pure function of the sizes.
use super::ModelConfig;
use crate::ops::{Act, Shape, Stat};

/// What a workspace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forward and backward: every layer keeps what its backward needs.
    Train,
    /// Forward only: layers share their buffers.
    Evaluate,
    /// Forward only, one token after the other: layers share all but their keys and values.
    Generate,
}

/// The tensors of one block; `R = B·T` rows each.
#[derive(Clone, Copy, Debug)]
pub struct LayerActs {
    /// Residual stream going in, `[R, C]`.
    pub x: Act,
    /// Output of `input_layernorm`, `[R, C]`.
    pub norm_attn: Act,
    /// Output of `post_attention_layernorm`, `[R, C]`.
    pub norm_mlp: Act,
    /// Mean and rstd of `x`, `[R, 2]`.
    pub stats: Stat,
    /// Sequential residual only: the stream after attention, `[R, C]`, and its mean and rstd.
    pub mid: Option<(Act, Stat)>,
    /// Rotated queries and keys, and values, `[R, 3C]`.
    pub qkv: Act,
    /// `[attention | GELU]`, `[R, C+F]`: the input of the block's output matrix.
    pub cat: Act,
    /// The first `C` columns of `cat`.
    pub attn: Act,
    /// The last `F` columns of `cat`.
    pub gelu: Act,
    /// What GELU's backward needs, `[R, F]`.
    pub saved: Act,
    /// Log-sum-exp of the attention scores, `[R, H]`.
    pub lse: Stat,
    /// Residual stream going out, `[R, C]`; the next block's `x`.
    pub next: Act,
}

/// Gradients of activations, shared by all blocks.
#[derive(Clone, Copy, Debug)]
pub struct GradActs {
    /// Of the residual stream, `[R, C]`.
    pub x: Act,
    /// Of `cat`, `[R, C+F]`.
    pub cat: Act,
    /// Of `qkv`, `[R, 3C]`.
    pub qkv: Act,
    /// Of `norm_attn`, and of the final norm's output, `[R, C]`.
    pub norm_attn: Act,
    /// Of `norm_mlp`, `[R, C]`.
    pub norm_mlp: Act,
}

/// The layout for one shape and purpose.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Largest batch it holds.
    pub shape: Shape,
    /// What it is for.
    pub purpose: Purpose,
    /// `C`.
    pub channels: usize,
    /// One entry per block.
    pub layers: Vec<LayerActs>,
    /// Output of the final norm, `[R, C]`.
    pub last: Act,
    /// Its mean and rstd.
    pub last_stats: Stat,
    /// A chunk of logits, `[chunk_rows, V]`.
    pub logits: Act,
    /// Rows of a chunk of logits.
    pub chunk_rows: usize,
    /// Loss of each row, `[R, 1]`.
    pub loss: Stat,
    /// Present when training.
    pub grads: Option<GradActs>,
    /// Elements of activations.
    pub acts_len: usize,
    /// Elements of per-row values.
    pub stats_len: usize,
    /// First element and elements of each activation.
    pub act_tensors: Vec<(usize, usize)>,
    /// First element and elements of each tensor of per-row values.
    pub stat_tensors: Vec<(usize, usize)>,
}

/// Elements to whose multiples tensors are aligned and that lie free behind each: 256 bytes of bf16, where a device
/// notices who writes beyond a tensor.
const ACT_GAP: usize = 128;
/// The same of f32.
const STAT_GAP: usize = 64;

/// Hands out offsets.
#[derive(Default)]
struct Builder {
    rows: usize,
    acts: usize,
    stats: usize,
    act_tensors: Vec<(usize, usize)>,
    stat_tensors: Vec<(usize, usize)>,
}

impl Builder {
    fn act_rows(&mut self, rows: usize, cols: usize) -> Act {
        let act = Act { offset: self.acts, cols, ld: cols };
        self.act_tensors.push((self.acts, rows * cols));
        self.acts = (self.acts + rows * cols).next_multiple_of(ACT_GAP) + ACT_GAP;
        act
    }

    fn act(&mut self, cols: usize) -> Act {
        self.act_rows(self.rows, cols)
    }

    fn stat(&mut self, cols: usize) -> Stat {
        let stat = Stat { offset: self.stats, cols };
        self.stat_tensors.push((self.stats, self.rows * cols));
        self.stats = (self.stats + self.rows * cols).next_multiple_of(STAT_GAP) + STAT_GAP;
        stat
    }

    /// One block reading `x`.
    fn layer(&mut self, config: &ModelConfig, x: Act) -> LayerActs {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let cat = self.act(c + f);
        LayerActs {
            x,
            norm_attn: self.act(c),
            norm_mlp: self.act(c),
            stats: self.stat(2),
            mid: (!config.use_parallel_residual).then(|| (self.act(c), self.stat(2))),
            qkv: self.act(3 * c),
            cat,
            attn: cat.columns(0, c),
            gelu: cat.columns(c, f),
            saved: self.act(f),
            lse: self.stat(config.num_attention_heads),
            next: self.act(c),
        }
    }

    /// All blocks: each with buffers of its own, or sharing all that only its own forward reads.
    fn layers(&mut self, config: &ModelConfig, purpose: Purpose) -> Vec<LayerActs> {
        let mut x = self.act(config.hidden_size);
        let mut layers: Vec<LayerActs> = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let layer = match (purpose, layers.first()) {
                (Purpose::Train, _) | (_, None) => self.layer(config, x),
                (_, Some(&first)) => {
                    // The stream alternates between two buffers.
                    let next = if i % 2 == 0 { first.next } else { first.x };
                    let qkv = if purpose == Purpose::Generate { self.act(first.qkv.cols) } else { first.qkv };
                    LayerActs { x, next, qkv, ..first }
                }
            };
            x = layer.next;
            layers.push(layer);
        }
        layers
    }
}

impl Workspace {
    /// Lays out everything for up to `shape`; `chunk_rows` rows of logits exist at once.
    pub fn new(config: &ModelConfig, shape: Shape, chunk_rows: usize, purpose: Purpose) -> Self {
        let mut b = Builder { rows: shape.rows(), ..Builder::default() };
        let layers = b.layers(config, purpose);
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let (last, last_stats, loss) = (b.act(c), b.stat(2), b.stat(1));
        let chunk_rows = chunk_rows.min(shape.rows()).max(1);
        let logits = b.act_rows(chunk_rows, config.vocab_size);
        let grads = (purpose == Purpose::Train).then(|| GradActs {
            x: b.act(c),
            cat: b.act(c + f),
            qkv: b.act(3 * c),
            norm_attn: b.act(c),
            norm_mlp: b.act(c),
        });
        let Builder { acts: acts_len, stats: stats_len, act_tensors, stat_tensors, .. } = b;
        Self {
            shape,
            purpose,
            channels: c,
            layers,
            last,
            last_stats,
            logits,
            chunk_rows,
            loss,
            grads,
            acts_len,
            stats_len,
            act_tensors,
            stat_tensors,
        }
    }

    /// Whether it holds a backward pass.
    pub fn trains(&self) -> bool {
        self.grads.is_some()
    }

    /// Elements of the chunk of logits.
    pub fn logits_len(&self) -> usize {
        self.chunk_rows * self.logits.cols
    }

    /// The chunks of the head for a batch: (first row, shape). A chunk holds whole sequences or lies inside one,
    /// so that its bounds within a sequence do not depend on the micro-batch.
    pub fn chunks(&self, s: Shape) -> Vec<(usize, Shape)> {
        if s.time <= self.chunk_rows {
            let most = self.chunk_rows / s.time;
            (0..s.batch)
                .step_by(most)
                .map(|b| (b * s.time, Shape { batch: most.min(s.batch - b), time: s.time }))
                .collect()
        } else {
            let starts = (0..s.time).step_by(self.chunk_rows);
            let part = |t: usize| Shape { batch: 1, time: self.chunk_rows.min(s.time - t) };
            (0..s.batch).flat_map(|b| starts.clone().map(move |t| (b * s.time + t, part(t)))).collect()
        }
    }
}
