//! Where everything lies in the device's arena: a function of sizes alone, which `plan` prints and the backend
//! allocates.
use crate::backend::MemoryPlan;
use crate::backend::masters::Masters;
use crate::device::{Arena, EmbeddingPlan, RED_ZONE, Span, StepRecord, adam_tables};
use crate::model::{ModelConfig, ParamTable, Precision, Workspace};
use crate::ops::{Shape, Vector, attention};
use crate::optim::assign;
use crate::{Error, Result};

/// What cuBLASLt may use for one product.
const WORKSPACE: usize = 32 << 20;
/// Rows whose weight gradients of LayerNorm, and of biases, are summed by one block.
pub const NORM_ROWS: usize = 64;
/// Rows per partial sum of a bias' gradient, as [`NORM_ROWS`].
pub const BIAS_ROWS: usize = 128;
/// Elements of one block of `global_norm_partial`.
pub const NORM_ELEMENTS: usize = 32_768;

/// One batch on the device; the parts of `span` in this order, at multiples of 256 bytes.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpans {
    /// All of it: one copy.
    pub span: Span,
    /// Input tokens, `[rows]` i32.
    pub tokens: Span,
    /// Targets, `[rows]` i32.
    pub targets: Span,
    /// `[rows]` f32: the factor of each row's gradient.
    pub weights: Span,
    /// Where the document of each row starts in its sequence, `[rows]` i32.
    pub documents: Span,
    /// `[rows]` i32, where positions count from there.
    pub positions: Span,
    /// `[rows]` i32, of [`EmbeddingPlan`].
    pub order: Span,
    /// `[long_max + rows, 4]` i32, of [`EmbeddingPlan`].
    pub segments: Span,
}

/// Spans of the arena.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The memory that is allocated.
    pub arena: Arena,
    /// What is kept in which format.
    pub precision: Precision,
    /// Which weights have master weights.
    pub masters: Masters,
    /// Master weights in f32.
    pub w32: Span,
    /// The same rounded to bf16, which products read; the weights themselves where there are no master weights.
    pub w16: Span,
    /// Gradients, f32; empty unless training, as are the moments.
    pub g: Span,
    /// First moments, f32 or bf16.
    pub m: Span,
    /// Second moments, as the first.
    pub v: Span,
    /// Moving average of the weights, f32, where one is kept.
    pub ema: Option<Span>,
    /// Activations in bf16.
    pub acts: Span,
    /// Per-row values in f32.
    pub stats: Span,
    /// Two batches, used in turn.
    pub batches: [BatchSpans; 2],
    /// Position of every row of a full batch, i32.
    pub positions: Span,
    /// cos and sin of the rotation, `[positions, rotary / 2]` f32 each.
    pub angles: [Span; 2],
    /// Sums of two biases, bf16, for each of `bias_pairs`.
    pub bias_sums: Span,
    /// Offsets of their summands, i64.
    pub bias_table: Span,
    /// Biases that one product adds together.
    pub bias_pairs: Vec<[Vector; 2]>,
    /// Column sums of blocks of rows, f32.
    pub partials: Span,
    /// Attention's backward: statistics, and dq of every share, f32.
    pub attention: [Span; 2],
    /// Partial sums of the global norm, f64, and their totals.
    pub norm: [Span; 2],
    /// The [`StepRecord`] that ends of steps read and write.
    pub record: Span,
    /// Segments and tensors of `adamw`.
    pub adam: [Span; 2],
    /// Scratch of matrix products.
    pub workspace: Span,
    /// Bytes of all this by kind.
    pub memory: MemoryPlan,
}

/// Refuses a model that the kernels cannot run.
pub fn check(config: &ModelConfig) -> Result<()> {
    let size = config.head_size();
    if !attention::SIZES.contains(&size) {
        return Err(Error::refused(format!(
            "no attention kernel for head size {size}; there are {:?}; use --device cpu",
            attention::SIZES
        )));
    }
    let sizes = [
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("vocab_size", config.vocab_size),
    ];
    if let Some((name, size)) = sizes.into_iter().find(|(_, n)| n % 8 != 0) {
        return Err(Error::refused(format!(
            "{name} is {size}; the kernels need a multiple of 8: change the model, or use --device cpu"
        )));
    }
    if config.hidden_size > 5120 {
        let found = config.hidden_size;
        return Err(Error::refused(format!("hidden_size is {found}; the LayerNorm kernels go up to 5120")));
    }
    Ok(())
}

impl Layout {
    /// For a workspace of this model.
    pub fn new(config: &ModelConfig, table: &ParamTable, ws: &Workspace) -> Self {
        let (shape, train) = (ws.shape, ws.trains());
        let rows = shape.rows();
        let mut arena = Arena::default();
        let mut kinds = Kinds::default();
        let trained = |elements: usize| if train { elements } else { 0 };

        let (precision, masters) = (table.precision, Masters::new(table));
        let w32 = arena.add(4 * masters.len);
        let w16 = arena.add(2 * table.total);
        let bias_pairs = bias_pairs(table);
        let bias_sums = arena.add(2 * bias_pairs.len() * config.hidden_size);
        kinds.weights = kinds.upto(&arena);
        let g = arena.add(4 * trained(table.grad_total));
        kinds.gradients = kinds.upto(&arena);
        let [m, v] = [(); 2].map(|()| arena.add(moment_bytes(precision) * trained(table.total)));
        kinds.moments = kinds.upto(&arena);
        let ema = table.average.then(|| arena.add(4 * table.total));
        kinds.average = kinds.upto(&arena);
        // Between batches the activations are where algorithms of products are timed.
        let acts_bytes = (2 * ws.acts_len).max(operand_bytes(config, ws));
        let acts = arena.add_tensors(acts_bytes, ws.act_tensors.iter().map(|&(o, n)| (2 * o, 2 * n)));
        let stats = arena.add_tensors(4 * ws.stats_len, ws.stat_tensors.iter().map(|&(o, n)| (4 * o, 4 * n)));
        let logits = 2 * ws.logits_len();
        kinds.activations = kinds.upto(&arena) - logits;

        let batches = [(); 2].map(|()| batch(&mut arena, rows, train));
        let positions = arena.add(4 * rows);
        let angles = [(); 2].map(|()| arena.add(4 * shape.time * config.rotary_size() / 2));
        let bias_table = arena.add(16 * bias_pairs.len());
        let partials = arena.add(4 * trained(partials_len(config, shape)));
        let heads = config.heads();
        let attention = attention::scratch(shape, heads).map(|len| arena.add(4 * trained(len)));
        let norm_blocks = trained(table.total).div_ceil(NORM_ELEMENTS);
        let norm = [16 * norm_blocks, 16].map(|bytes| arena.add(bytes));
        let record = arena.add(size_of::<StepRecord>());
        let adam = adam_bytes(table).map(|bytes| arena.add(trained(bytes)));
        let workspace = arena.add(WORKSPACE);
        let scratch = kinds.upto(&arena);

        let Kinds { weights, gradients, moments, average, activations, .. } = kinds;
        let memory = MemoryPlan { weights, gradients, moments, ema: average, activations, logits, scratch };
        Self {
            arena,
            precision,
            masters,
            w32,
            w16,
            g,
            m,
            v,
            ema,
            acts,
            stats,
            batches,
            positions,
            angles,
            bias_sums,
            bias_table,
            bias_pairs,
            partials,
            attention,
            norm,
            record,
            adam,
            workspace,
            memory,
        }
    }
}

/// Bytes of the arena by kind, as it grows.
#[derive(Default)]
struct Kinds {
    seen: usize,
    weights: usize,
    gradients: usize,
    moments: usize,
    average: usize,
    activations: usize,
}

impl Kinds {
    /// Bytes added since the last call.
    fn upto(&mut self, arena: &Arena) -> usize {
        arena.bytes() - std::mem::replace(&mut self.seen, arena.bytes())
    }
}

/// Bytes of one moment.
fn moment_bytes(precision: Precision) -> usize {
    if precision.has_f32_state() { 4 } else { 2 }
}

fn batch(arena: &mut Arena, rows: usize, train: bool) -> BatchSpans {
    let aligned = |bytes: usize| bytes.next_multiple_of(256);
    let (each, sorted) = (4 * rows, if train { 4 * rows } else { 0 });
    let segments = if train { 16 * (EmbeddingPlan::long_max(rows) + rows) } else { 0 };
    let span = arena.add(5 * aligned(each) + aligned(sorted) + segments);
    let at = |i: usize, bytes: usize| span.part(i * aligned(each), bytes);
    BatchSpans {
        span,
        tokens: at(0, each),
        targets: at(1, each),
        weights: at(2, each),
        documents: at(3, each),
        positions: at(4, each),
        order: at(5, sorted),
        segments: span.part(5 * aligned(each) + aligned(sorted), segments),
    }
}

/// f32 values of the partial sums of one block: two norms, and the biases of its four products.
fn partials_len(config: &ModelConfig, shape: Shape) -> usize {
    let (c, rows) = (config.hidden_size, shape.rows());
    let biases = [c, c, 3 * c, config.intermediate_size];
    let aligned = |len: usize| len.next_multiple_of(64);
    let sums = |cols: usize| aligned(rows.div_ceil(BIAS_ROWS) * cols);
    aligned(rows.div_ceil(NORM_ROWS) * 4 * c) + biases.map(sums).iter().sum::<usize>()
}

/// The most that timing one product takes: bf16 operands of a forward or backward product, or an f32 gradient.
fn operand_bytes(config: &ModelConfig, ws: &Workspace) -> usize {
    let (c, f, rows) = (config.hidden_size, config.intermediate_size, ws.shape.rows());
    let chunk = ws.chunk_rows.min(rows);
    let products = [(3 * c, c, rows), (f, c, rows), (c, c + f, rows), (config.vocab_size, c, chunk)];
    let bytes = |(n, k, rows): (usize, usize, usize)| {
        let forward = 2 * (n * k + rows * k + rows * n);
        forward.max(2 * (rows * k + rows * n) + 4 * n * k) + 4 * n + 6 * RED_ZONE
    };
    // Rows may be as far apart as those of [attention | GELU], and a residual comes beside the result.
    products.map(bytes).into_iter().max().expect("four of them") + 4 * rows * (c + f)
}

/// The biases that the parallel residual's output adds together.
fn bias_pairs(table: &ParamTable) -> Vec<[Vector; 2]> {
    table.layers.iter().filter_map(|l| l.dense_bias.map(|b| [b, l.down_bias])).collect()
}

/// Bytes of the segments and tiles of an update of all tensors.
fn adam_bytes(table: &ParamTable) -> [usize; 2] {
    let params = assign(table, &[], 0.0);
    let tables = adam_tables(&params, |_| None).expect("tensors start at multiples of 4 elements");
    [size_of_val(&tables.segments[..]), size_of_val(&tables.tiles[..])]
}
