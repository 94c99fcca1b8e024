//! Every operation of a training step, one by one, at the shapes of a model: what `bench kernels` and the criterion
//! benchmarks time.
use crate::Result;
use crate::backend;
use crate::device::DeviceName;
use crate::model::{
    GradActs, Init, Layer, LayerActs, Model, Pass, Purpose, Recompute, Workspace, initialize,
};
use crate::ops::cost::{self, Cost};
use crate::ops::{Act, AdamParam, AdamSettings, Backend, Op, Ops, Shape, Update, Work};
use crate::optim::assign;
use crate::perf::ledger::update_cost;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One block of a model with the activations of a micro-batch, and room for more of an operation's operands.
pub struct Cases {
    /// The model cut down to one block.
    pub model: Model,
    /// Sequences of a micro-batch.
    pub shape: Shape,
    /// Where its activations lie.
    pub ws: Workspace,
    /// Elements that the copies of an operation's operands are to exceed.
    pub rotated: usize,
    /// First element of the room for them, behind the activations.
    pub spare: usize,
    device: DeviceName,
    params: Vec<AdamParam>,
}

/// An operation as a step issues it, and what it is called in the table.
pub struct Case {
    /// As a profile has it.
    pub name: &'static str,
    /// Puts back operands that many calls in place would wear out.
    pub refresh: Option<Issue>,
    /// What is timed.
    pub run: Run,
}

/// Issues one operation of a step.
pub type Issue = fn(&At, &mut dyn Ops);

/// What a case times.
#[derive(Clone, Copy)]
pub enum Run {
    /// An operation of the forward or backward pass.
    Op(Issue),
    /// The end of a step.
    Update,
}

impl Run {
    /// The operation, on these operands.
    pub fn operation(self, at: &At) -> Option<Op> {
        let mut seen = Seen(None);
        if let Self::Op(issue) = self {
            issue(at, &mut seen);
        }
        seen.0
    }

    /// Issues what is timed, once.
    pub fn issue(self, at: &At, ops: &mut dyn Backend) {
        match self {
            Self::Op(issue) => issue(at, ops),
            Self::Update => {
                let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
                ops.update(at.params, Update::new(adam, 1e-6, 0));
            }
        }
    }

    /// Issues it `calls` times, `at` saying on what, as work of its own: the marks before and after.
    pub fn marked<'a>(
        self,
        ops: &mut dyn Backend,
        calls: usize,
        at: &dyn Fn(usize) -> At<'a>,
    ) -> Option<(usize, usize)> {
        let mut marks = None;
        match self {
            Self::Op(issue) => ops.perform(Work::Once, &mut |ops| {
                let first = ops.mark();
                (0..calls).for_each(|i| issue(&at(i), ops));
                marks = first.zip(ops.mark());
            }),
            Self::Update => {
                let first = ops.mark();
                (0..calls).for_each(|i| self.issue(&at(i), ops));
                marks = first.zip(ops.mark());
            }
        }
        marks
    }
}

/// Remembers the last operation, and computes nothing.
struct Seen(Option<Op>);

impl Ops for Seen {
    fn issue(&mut self, op: &Op) {
        self.0 = Some(*op);
    }
}

/// What an operation is issued on.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The model with one block.
    pub model: &'a Model,
    /// Sequences of the micro-batch.
    pub s: Shape,
    /// Of the head's first chunk of it.
    pub chunk: Shape,
    /// Where its activations lie.
    pub ws: &'a Workspace,
    p: &'a Layer,
    a: &'a LayerActs,
    g: &'a GradActs,
    params: &'a [AdamParam],
}

impl Cases {
    /// A model with one block, and room for operands of an operation that, used in turn, exceed `rotated` bytes.
    pub fn new(device: DeviceName, model: Model, shape: Shape, chunk_rows: usize, rotated: usize) -> Self {
        let purpose = Purpose::Train(Recompute::None);
        let ws = Workspace::new(&model.config, shape, chunk_rows, purpose);
        let rotated = rotated / model.table.precision.storage().element;
        // No operation has more operands than there are activations.
        let room = rotated + ws.acts_len;
        let (ws, spare) = ws.with_spare(room);
        let params = assign(&model.table, &[], 0.1);
        Self { model, shape, ws, rotated, spare, device, params }
    }

    /// What [`Self::open`] allocates, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let threads = rayon::current_num_threads();
        let model = &self.model;
        backend::memory_plan(self.device, &model.config, &model.table, &self.ws, threads).total()
    }

    /// A backend whose buffers hold what they would hold in training.
    pub fn open(&self) -> Result<Box<dyn Backend>> {
        let model = &self.model;
        let mut ops = backend::open(self.device, &model.config, &model.table, &self.ws)?;
        initialize(&model.config, &model.table, Init::Normal, 1, &mut *ops)?;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let rows = self.shape.rows();
        let tokens: Vec<i32> =
            (0..rows).map(|_| (rng.next_u32() as usize % model.config.vocab_size) as i32).collect();
        ops.set_batch(&tokens, &tokens, 1.0 / rows as f32);
        ops.set_profiling(true); // nothing is captured
        // Chooses algorithms of products.
        ops.perform(Work::MicroBatch { shape: self.shape, accumulate: false }, &mut |ops| {
            model.forward(ops, &self.ws, self.shape, Pass::Sequences);
            model.loss_and_gradient(ops, &self.ws, self.shape, false);
        });
        ops.set_profiling(false);
        ops.gradients()?; // errors so far
        Ok(ops)
    }

    /// What a case must move and compute at least.
    pub fn cost(&self, run: Run) -> Cost {
        let table = &self.model.table;
        run.operation(&self.first()).map_or_else(
            || update_cost(table).plus(cost::global_norm(self.model.config.parameters() as usize)),
            |op| op.cost(table.precision.storage()),
        )
    }

    /// What an operation is issued on where nothing is used in turn.
    pub fn first(&self) -> At<'_> {
        self.at(&self.ws)
    }

    /// What an operation is issued on with these activations.
    pub fn at<'a>(&'a self, ws: &'a Workspace) -> At<'a> {
        let chunk = ws.chunks(self.shape)[0].1;
        At {
            model: &self.model,
            s: self.shape,
            chunk,
            ws,
            p: &self.model.table.layers[0],
            a: &ws.layers[0],
            g: ws.grads.as_ref().expect("a workspace for training"),
            params: &self.params,
        }
    }
}

/// Everything that a training step issues, in either form of the residual and with any recompute.
pub const CASES: &[Case] = &[
    case("embedding", |t, ops| ops.embedding(t.s, t.model.table.embed, t.a.x)),
    case("layernorm_pair", |t, ops| {
        ops.layernorm_pair(
            t.s,
            t.a.x,
            [t.p.norm_attn, t.p.norm_mlp],
            [t.a.norm_attn, t.a.norm_mlp],
            t.a.stats,
        )
    }),
    case("layernorm", |t, ops| {
        ops.layernorm(t.s, t.a.next, t.model.table.final_norm, t.ws.last, t.ws.last_stats)
    }),
    case("linear qkv", |t, ops| ops.linear(t.s, t.a.norm_attn, t.p.qkv, [t.p.qkv_bias, None], None, t.a.qkv)),
    case("rotary", |t, ops| ops.rotary(t.s, t.model.heads, t.a.qkv, 0)),
    case("attention", |t, ops| ops.attention(t.s, t.model.heads, t.a.qkv, t.a.attn, t.a.lse)),
    case("linear_gelu up", |t, ops| {
        let gelu = t.model.config.gelu;
        ops.linear_gelu(t.s, t.a.norm_mlp, t.p.up, t.p.up_bias, gelu, t.a.saved, t.a.gelu, false)
    }),
    case("linear out", |t, ops| {
        ops.linear(t.s, t.a.cat, t.p.out, [t.p.dense_bias, Some(t.p.down_bias)], Some(t.a.x), t.a.next)
    }),
    case("linear dense", |t, ops| {
        ops.linear(t.s, t.a.attn, t.p.dense, [t.p.dense_bias, None], Some(t.a.x), t.a.next)
    }),
    case("linear down", |t, ops| {
        ops.linear(t.s, t.a.gelu, t.p.down, [Some(t.p.down_bias), None], Some(t.a.x), t.a.next)
    }),
    case("linear head", head),
    Case {
        name: "cross_entropy",
        refresh: Some(head),
        run: Run::Op(|t, ops| ops.cross_entropy(t.chunk, t.ws.logits, 0, t.ws.loss, true)),
    },
    case("linear_bwd_weight head", |t, ops| {
        ops.linear_bwd_weight(t.chunk, t.ws.logits, t.ws.last, t.model.table.head_grad, [None, None], true)
    }),
    case("linear_bwd_input head", |t, ops| {
        ops.linear_bwd_input(t.chunk, t.ws.logits, t.model.table.head, t.g.norm_attn)
    }),
    case("zero", |t, ops| ops.zero(t.s, t.g.x)),
    case("layernorm_bwd", |t, ops| {
        let norm = t.model.table.final_norm;
        ops.layernorm_bwd(t.s, t.a.next, t.ws.last_stats, norm, t.g.norm_attn, t.g.x, true)
    }),
    case("linear_bwd_weight out", |t, ops| {
        let bias = [t.p.dense_bias, Some(t.p.down_bias)];
        ops.linear_bwd_weight(t.s, t.g.x, t.a.cat, t.p.out, bias, true)
    }),
    case("linear_bwd_input out", |t, ops| ops.linear_bwd_input(t.s, t.g.x, t.p.out, t.g.cat)),
    case("linear_bwd_weight dense", |t, ops| {
        ops.linear_bwd_weight(t.s, t.g.x, t.a.attn, t.p.dense, [t.p.dense_bias, None], true)
    }),
    case("linear_bwd_input dense", |t, ops| {
        ops.linear_bwd_input(t.s, t.g.x, t.p.dense, t.g.cat.columns(0, t.a.attn.cols))
    }),
    case("linear_bwd_weight down", |t, ops| {
        ops.linear_bwd_weight(t.s, t.g.x, t.a.gelu, t.p.down, [Some(t.p.down_bias), None], true)
    }),
    case("linear_bwd_input down", |t, ops| {
        ops.linear_bwd_input(t.s, t.g.x, t.p.down, t.g.cat.columns(t.a.attn.cols, t.a.gelu.cols))
    }),
    case("attention_bwd", |t, ops| {
        let d_attn = t.g.cat.columns(0, t.a.attn.cols);
        ops.attention_bwd(t.s, t.model.heads, t.a.qkv, t.a.attn, t.a.lse, d_attn, t.g.qkv)
    }),
    case("linear_bwd_weight qkv", |t, ops| {
        ops.linear_bwd_weight(t.s, t.g.qkv, t.a.norm_attn, t.p.qkv, [t.p.qkv_bias, None], true)
    }),
    case("linear_bwd_input qkv", |t, ops| ops.linear_bwd_input(t.s, t.g.qkv, t.p.qkv, t.g.norm_attn)),
    Case {
        name: "gelu_bwd",
        // Many slopes multiplied are zero.
        refresh: Some(|t, ops| ops.linear_bwd_input(t.s, t.g.x, t.p.out, t.g.cat)),
        run: Run::Op(|t, ops| ops.gelu_bwd(t.s, t.model.config.gelu, t.a.saved, d_gelu(t))),
    },
    case("linear_bwd_weight up", |t, ops| {
        ops.linear_bwd_weight(t.s, d_gelu(t), t.a.norm_mlp, t.p.up, [Some(t.p.up_bias), None], true)
    }),
    case("linear_bwd_input up", |t, ops| ops.linear_bwd_input(t.s, d_gelu(t), t.p.up, t.g.norm_mlp)),
    case("layernorm_pair_bwd", |t, ops| {
        let (norms, dy) = ([t.p.norm_attn, t.p.norm_mlp], [t.g.norm_attn, t.g.norm_mlp]);
        ops.layernorm_pair_bwd(t.s, t.a.x, t.a.stats, norms, dy, t.g.x, true)
    }),
    case("embedding_bwd", |t, ops| ops.embedding_bwd(t.s, t.g.x, t.model.table.embed, true)),
    case("copy", |t, ops| ops.copy(t.s, t.a.attn, t.g.norm_attn)),
    Case {
        name: "gelu_again",
        // On a processor what is saved becomes the slope.
        refresh: Some(|t, ops| {
            let gelu = t.model.config.gelu;
            ops.linear_gelu(t.s, t.a.norm_mlp, t.p.up, t.p.up_bias, gelu, t.a.saved, t.a.gelu, true)
        }),
        run: Run::Op(|t, ops| ops.gelu_again(t.s, t.model.config.gelu, t.a.saved, t.a.gelu)),
    },
    Case { name: "update", refresh: None, run: Run::Update },
];

const fn case(name: &'static str, issue: Issue) -> Case {
    Case { name, refresh: None, run: Run::Op(issue) }
}

fn head(t: &At, ops: &mut dyn Ops) {
    ops.linear(t.chunk, t.ws.last, t.model.table.head, [None, None], None, t.ws.logits);
}

fn d_gelu(t: &At) -> Act {
    t.g.cat.columns(t.a.attn.cols, t.a.gelu.cols)
}
