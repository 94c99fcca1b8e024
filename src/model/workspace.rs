//! Where every activation lies. All of it is laid out before the first step, by a pure function of the sizes.
use super::ModelConfig;
use super::acts::{GradActs, LayerActs, Purpose, Rebuild, Recompute};
use crate::ops::{Act, Shape, Stat};

/// The layout for one shape and purpose.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Largest batch it holds.
    pub shape: Shape,
    /// What it is for.
    pub purpose: Purpose,
    /// `C`, the width of the residual stream.
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
    /// Gradients of activations, where there is a backward.
    pub grads: Option<GradActs>,
    /// Elements of all activations together.
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
            rebuild: Rebuild::Nothing,
        }
    }

    /// Block `i > 0` reading `x`: what `purpose` keeps in buffers of its own, the rest in those of the `first` block.
    fn next_layer(
        &mut self,
        config: &ModelConfig,
        first: LayerActs,
        purpose: Purpose,
        i: usize,
        x: Act,
    ) -> LayerActs {
        // Where no backward reads it, the stream alternates between two buffers.
        let alternate = if i.is_multiple_of(2) { first.next } else { first.x };
        match purpose {
            Purpose::Train(Recompute::None) => self.layer(config, x),
            Purpose::Train(Recompute::Cheap) => LayerActs {
                x,
                mid: first.mid.map(|(mid, stats)| (self.act(mid.cols), stats)),
                qkv: self.act(first.qkv.cols),
                saved: self.act(first.saved.cols),
                lse: self.stat(first.lse.cols),
                next: self.act(x.cols),
                ..first
            },
            Purpose::Train(Recompute::Block) => LayerActs { x, next: self.act(x.cols), ..first },
            Purpose::Evaluate => LayerActs { x, next: alternate, ..first },
            Purpose::Generate => LayerActs { x, next: alternate, qkv: self.act(first.qkv.cols), ..first },
        }
    }

    /// All blocks.
    fn layers(&mut self, config: &ModelConfig, purpose: Purpose) -> Vec<LayerActs> {
        let mut x = self.act(config.hidden_size);
        let mut layers: Vec<LayerActs> = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let mut layer = match layers.first() {
                None => self.layer(config, x),
                Some(&first) => self.next_layer(config, first, purpose, i, x),
            };
            layer.rebuild = match purpose {
                // Nothing has overwritten the last block's when the backward pass begins.
                _ if i + 1 == config.num_hidden_layers => Rebuild::Nothing,
                Purpose::Train(Recompute::Cheap) => Rebuild::Outputs { attn: self.act(x.cols) },
                Purpose::Train(Recompute::Block) => Rebuild::Block,
                _ => Rebuild::Nothing,
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
        let grads = matches!(purpose, Purpose::Train(_)).then(|| GradActs {
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

    /// The same tensors, those of activations at other places.
    pub fn moved(&self, act: &dyn Fn(Act) -> Act) -> Self {
        let layer = |l: &LayerActs| LayerActs {
            x: act(l.x),
            norm_attn: act(l.norm_attn),
            norm_mlp: act(l.norm_mlp),
            mid: l.mid.map(|(mid, stats)| (act(mid), stats)),
            qkv: act(l.qkv),
            cat: act(l.cat),
            attn: act(l.attn),
            gelu: act(l.gelu),
            saved: act(l.saved),
            next: act(l.next),
            rebuild: match l.rebuild {
                Rebuild::Outputs { attn } => Rebuild::Outputs { attn: act(attn) },
                other => other,
            },
            ..*l
        };
        Self {
            layers: self.layers.iter().map(layer).collect(),
            last: act(self.last),
            logits: act(self.logits),
            grads: self.grads.as_ref().map(|g| GradActs {
                x: act(g.x),
                cat: act(g.cat),
                qkv: act(g.qkv),
                norm_attn: act(g.norm_attn),
                norm_mlp: act(g.norm_mlp),
            }),
            ..self.clone()
        }
    }

    /// Room for `elements` more behind everything else; its first element.
    pub fn with_spare(mut self, elements: usize) -> (Self, usize) {
        let first = self.acts_len;
        self.act_tensors.push((first, elements));
        self.acts_len = (first + elements).next_multiple_of(ACT_GAP) + ACT_GAP;
        (self, first)
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
