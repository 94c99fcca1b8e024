//! The `gpu` backend: launches `kernels/*.cu` and matrix products on a [`Device`], and never waits for them but
//! where results are asked for.
//!
//! Parameters and activations are bf16, rounded once where an operation ends; master weights, moments, gradients,
//! statistics and all sums are f32. With [`crate::model::Precision::Bf16`] moments are bf16, too, and only norms and
//! biases have master weights. Every sum has an order given by shapes alone: equal bits on equal GPUs.
mod attention;
mod batch;
mod clock;
mod held;
mod inputs;
mod layout;
mod linear;
mod norm;
mod ops;
mod optimizer;
mod state;
mod sums;
#[cfg(test)]
mod tests;
mod transfer;

use crate::device::{Arg, Device, Epilogue, GemmShape, Graph, Kernel, Launch, Span, Stream};
use crate::model::{ModelConfig, ParamTable, Precision, Purpose, Recompute, Workspace};
use crate::ops::{Act, Matrix, Ops, Shape, Stat, Work};
use crate::{Error, Result};
pub use held::PIECE as STAGING_BYTES;
use held::{Batches, Clock, Looks, Pending, Staging, Steps};
use layout::Layout;
pub use layout::check;
use std::collections::{HashMap, HashSet};

use super::memory_plan::MemoryPlan;

/// Those that the kernels compute in.
pub const PRECISIONS: [Precision; 2] = [Precision::Mixed, Precision::Bf16];

/// The backend over one device.
pub struct Gpu {
    device: Box<dyn Device>,
    layout: Layout,
    kernels: HashMap<String, Kernel>,
    /// Everything but the copies of batches.
    compute: Stream,
    batches: Batches,
    steps: Steps,
    staging: Staging,
    /// Whether repeated work is captured.
    capturing: bool,
    graphs: HashMap<(Work, usize, Looks), Graph>,
    /// While it is there, operations only find their kernels and note the products they would compute.
    planning: Option<Vec<GemmShape>>,
    /// Work that was looked through.
    prepared: HashSet<Work>,
    planned: HashSet<GemmShape>,
    /// Products that sum the gradient of a bias on their way: those that the device chooses, or all or none of them.
    summing: HashSet<GemmShape>,
    sum_in_products: Option<bool>,
    /// Shared memory of a block, by which kernels are chosen.
    shared_bytes: usize,
    /// Sums over rows that were left for later.
    pending: Pending,
    clock: Clock,
    /// The first error, until somebody reads results.
    error: Option<Error>,
    /// Elements of the flat buffers of weights.
    total: usize,
    eps: f32,
    /// Where the moving average of the weights is kept, and what the weights add to it: 1 - decay.
    ema: Option<(Span, f32)>,
    /// `T` of the workspace.
    time: usize,
}

/// What a [`Gpu`] allocates.
pub fn memory_plan(config: &ModelConfig, table: &ParamTable, workspace: &Workspace) -> MemoryPlan {
    Layout::new(config, table, workspace).memory
}

impl Gpu {
    /// Allocates everything; the weights are zero until [`crate::ops::State::write_state`]. With `capturing`, the work of a
    /// micro-batch is captured once and repeated.
    pub fn new(
        mut device: Box<dyn Device>,
        config: &ModelConfig,
        table: &ParamTable,
        workspace: &Workspace,
        capturing: bool,
    ) -> Result<Self> {
        check(config)?;
        let layout = Layout::new(config, table, workspace);
        check_memory(&*device, config, table, workspace, &layout)?;
        device.allocate(&layout.arena)?;
        device.set_workspace(layout.workspace);
        let (compute, shared_bytes) = (device.stream()?, device.shared_bytes());
        let batches = Batches::new(&mut *device, &layout, workspace.trains())?;
        let (steps, staging) = (Steps::new(&mut *device)?, Staging::new(&mut *device)?);
        let mut gpu = Self {
            device,
            layout,
            kernels: HashMap::new(),
            compute,
            batches,
            steps,
            staging,
            capturing,
            graphs: HashMap::new(),
            planning: None,
            prepared: HashSet::new(),
            planned: HashSet::new(),
            summing: HashSet::new(),
            sum_in_products: table.separate_bias_gradients.then_some(false),
            shared_bytes,
            pending: Pending::default(),
            clock: Clock::default(),
            error: None,
            total: table.total,
            eps: config.layer_norm_eps as f32,
            ema: None,
            time: workspace.shape.time,
        };
        gpu.initialize(config, workspace)?;
        Ok(gpu)
    }

    /// Kernels and products executed so far.
    pub fn launches(&self) -> u64 {
        self.device.launches()
    }

    /// Runs `f` on the device unless it has failed before or only plans are made; keeps the first error.
    fn attempt(&mut self, f: impl FnOnce(&mut Self) -> Result<()>) {
        if self.error.is_none() && self.planning.is_none() {
            self.error = f(self).err();
        }
    }

    /// The first error of what was issued.
    fn checked(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// A kernel, looked up once.
    fn kernel(&mut self, name: &str) -> Result<Kernel> {
        if let Some(&kernel) = self.kernels.get(name) {
            return Ok(kernel);
        }
        let kernel = self.device.kernel(name)?;
        self.kernels.insert(name.to_string(), kernel);
        Ok(kernel)
    }

    /// Launches a kernel on `grid` blocks.
    fn launch(&mut self, name: &str, grid: [usize; 3], threads: usize, shared_bytes: usize, args: Vec<Arg>) {
        if self.planning.is_some() && self.error.is_none() {
            self.error = self.kernel(name).err();
        }
        self.attempt_named(name, |gpu| {
            let kernel = gpu.kernel(name)?;
            let [x, y, z] = grid.map(u32::try_from);
            let (Ok(x), Ok(y), Ok(z)) = (x, y, z) else {
                return Err(Error::refused(format!("{name}: no GPU launches a grid of {grid:?} blocks")));
            };
            let launch = Launch { kernel, grid: [x, y, z], threads: threads as u32, shared_bytes, args };
            gpu.device.launch(gpu.compute, launch)
        });
    }

    fn fill(&mut self, span: Span, value: u8) {
        if span.bytes > 0 {
            self.attempt_named("fill", |gpu| gpu.device.fill(gpu.compute, span, value));
        }
    }

    /// Address of element `index` of `size` bytes of a span.
    fn at(&self, span: Span, size: usize, index: usize) -> u64 {
        self.device.address(span.offset) + (size * index) as u64
    }

    fn act(&self, act: Act) -> Arg {
        Arg::address(self.at(self.layout.acts, 2, act.offset))
    }

    fn stat(&self, stat: Stat) -> Arg {
        Arg::address(self.at(self.layout.stats, 4, stat.offset))
    }

    /// Master weights of a norm.
    fn w32(&self, offset: usize) -> Arg {
        let place = self.layout.masters.of(offset).expect("norms have master weights");
        Arg::address(self.at(self.layout.w32, 4, place))
    }

    fn gradient(&self, offset: usize) -> Arg {
        Arg::address(self.at(self.layout.g, 4, offset))
    }

    fn span(&self, span: Span) -> Arg {
        Arg::address(self.at(span, 1, 0))
    }

    /// Bytes of a gradient whose rows are contiguous.
    fn gradient_span(&self, m: Matrix) -> Span {
        assert_eq!(m.ld, m.cols, "a whole tensor");
        self.layout.g.part(4 * m.offset, 4 * m.rows * m.cols)
    }

    /// Algorithms for products that were not met before. Work that nobody repeats comes between other work, whose
    /// activations must stay: no memory to time candidates on.
    fn plan(&mut self, shapes: Vec<GemmShape>, work: Work) -> Result<()> {
        let operands = match work {
            Work::Once => Span { offset: 0, bytes: 0 },
            _ => self.layout.acts,
        };
        let new: Vec<GemmShape> = shapes.into_iter().filter(|&shape| self.planned.insert(shape)).collect();
        if !new.is_empty() && operands.bytes > 0 {
            self.settle()?;
        }
        for shape in new {
            if shape.epilogue != Epilogue::BiasGradient {
                self.device.plan(&shape, operands)?;
                continue;
            }
            let sums = match self.sum_in_products {
                Some(true) => self.device.plan(&shape, operands).map(|()| true)?,
                Some(false) => false,
                None => {
                    let instead = self.column_sums_of(&shape, operands)?;
                    self.device.plan_epilogue(&shape, operands, instead)?
                }
            };
            if sums {
                self.summing.insert(shape);
            }
        }
        Ok(())
    }

    /// Issues the work, and what it has left for later.
    fn perform_all(&mut self, body: &mut dyn FnMut(&mut dyn Ops)) {
        body(self);
        self.finish_sums();
    }

    /// Notes what `issue` would launch and multiply, and finds the kernels.
    fn rehearse(&mut self, issue: impl FnOnce(&mut Self)) -> Vec<GemmShape> {
        self.planning = Some(Vec::new());
        issue(self);
        self.planning.take().expect("set above")
    }

    fn prepare_work(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        if !self.prepared.contains(&work) {
            let shapes = self.rehearse(|gpu| gpu.perform_all(body));
            self.attempt(|gpu| gpu.plan(shapes, work));
        }
        if work != Work::Once {
            self.prepared.insert(work);
        }
    }

    fn run_work(&mut self, work: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        let key = (work, self.batches.current, self.batches.looks);
        let capturing = self.capturing && !self.clock.profiling;
        if let Some(&graph) = self.graphs.get(&key).filter(|_| capturing) {
            return self.attempt(|gpu| gpu.device.replay(gpu.compute, graph));
        }
        self.prepare_work(work, body);
        if !capturing || work == Work::Once {
            return self.perform_all(body);
        }
        self.attempt(|gpu| gpu.device.begin_capture(gpu.compute));
        self.clock.capturing = true;
        self.perform_all(body);
        self.clock.capturing = false;
        self.attempt(|gpu| {
            let graph = gpu.device.end_capture(gpu.compute)?;
            gpu.graphs.insert(key, graph);
            gpu.device.replay(gpu.compute, graph)
        });
    }
}

/// Refuses what does not fit, with what is missing and what would fit.
fn check_memory(
    device: &dyn Device,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
    layout: &Layout,
) -> Result<()> {
    let ([free, total], needed) = (device.memory()?, layout.arena.bytes() as u64);
    if needed <= free {
        return Ok(());
    }
    let fits = |batch: usize, chunk_rows: usize, purpose| {
        let shape = Shape { batch, ..ws.shape };
        let smaller = Workspace::new(config, shape, chunk_rows, purpose);
        Layout::new(config, table, &smaller).arena.bytes() as u64 <= free
    };
    let mut advice = match (1..ws.shape.batch).rev().find(|&batch| fits(batch, ws.chunk_rows, ws.purpose)) {
        Some(batch) => format!("{batch} sequences at once would fit: set batch.micro, or --batch"),
        None => {
            "not even one sequence at once would fit: shorten the sequences, or choose a smaller model".into()
        }
    };
    let block = Purpose::Train(Recompute::Block);
    let trains = matches!(ws.purpose, Purpose::Train(_));
    if trains && ws.purpose != block && fits(ws.shape.batch, ws.chunk_rows, block) {
        advice += "; train.recompute = \"block\" would fit";
    }
    let fewer = [4096, 1024, 256].into_iter().filter(|&rows| rows < ws.chunk_rows);
    if let Some(rows) = fewer.into_iter().find(|&rows| trains && fits(ws.shape.batch, rows, ws.purpose)) {
        advice += &format!("; head.chunk_rows = {rows} would fit");
    }
    let low = ParamTable { precision: Precision::Bf16, ..table.clone() };
    let could_be_low = table.precision.has_f32_state() && !table.average;
    if trains && could_be_low && Layout::new(config, &low, ws).arena.bytes() as u64 <= free {
        advice += "; train.precision = \"bf16\" would fit";
    }
    let (name, missing) = (device.name(), needed - free);
    Err(Error::refused(format!(
        "{name}: {needed} bytes of memory are needed, {free} of {total} can be had: {missing} bytes too few; {advice}"
    )))
}

fn int(x: usize) -> Arg {
    Arg::from(i32::try_from(x).expect("sizes of tensors fit in 31 bits"))
}

fn long(x: usize) -> Arg {
    Arg::from(x as i64)
}
