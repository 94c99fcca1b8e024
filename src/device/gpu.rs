//! What the `gpu` backend asks of a device. Work is put on streams and happens later, in the order of its stream;
//! the host learns of it through events. Two devices implement it: `cuda`, and `emulated`, which is as
//! asynchronous as a GPU is.
//!
//! All device memory is one arena, laid out before anything is allocated; a tensor is an offset into it. An error
//! of the device names the kernel or the call; a device that has failed keeps failing with its first error.
use super::{Arena, Arg, Gemm, GemmShape, Kernel, Rows, Span};
use crate::Result;
use crate::ops::GemmChoices;

/// A queue of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream(pub(super) usize);

/// A place in a stream that others wait for. Before it is first recorded, nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event(pub(super) usize);

/// Page-locked memory of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pinned(pub(super) usize);

/// A captured sequence of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Graph(pub(super) usize);

/// Bytes of a GPU that stay free beside the arena: cuBLASLt's kernels and executable graphs are loaded after it was
/// allocated.
pub const DRIVER_RESERVE: u64 = 1 << 30;

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel that runs.
    pub kernel: Kernel,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory of a block.
    pub shared_bytes: usize,
    /// Checked against the kernel's signature.
    pub args: Vec<Arg>,
}

/// A device. `record`, `wait` and `synchronize` are the only calls that order streams among each other and with
/// the host; the emulated device can leave out each of their call sites, for tests.
pub trait Device: Send {
    /// As a person would say it: `cuda:0 (NVIDIA H200)`, `emulated (sm_90)`.
    fn name(&self) -> String;
    /// Shared memory that a block can have.
    fn shared_bytes(&self) -> usize;
    /// Bytes of memory that an arena may have now, which leaves the device what it needs for itself; and in all.
    fn memory(&self) -> Result<[u64; 2]>;
    /// A kernel by name, loaded; not during capture, which loading may disturb.
    fn kernel(&self, name: &str) -> Result<Kernel>;

    /// All device memory, once, filled with 0xFF. Too little memory is refused with what is missing.
    fn allocate(&mut self, arena: &Arena) -> Result<()>;
    /// Device address of a byte of the arena.
    fn address(&self, offset: usize) -> u64;
    /// Makes a stream; what is given to it happens in order, and beside other streams.
    fn stream(&mut self) -> Result<Stream>;
    /// Makes an event, which has not happened yet.
    fn event(&mut self) -> Result<Event>;
    /// A new event that also keeps when it happened.
    fn timer(&mut self) -> Result<Event>;
    /// Seconds from one event of [`Device::timer`] to another. Both were recorded, and the host has waited for what came
    /// last.
    fn seconds_between(&mut self, first: Event, last: Event) -> Result<f64>;
    /// New pinned memory, readable at full speed.
    fn pinned(&mut self, bytes: usize) -> Result<Pinned>;
    /// Its bytes. Whether copies from or to it have happened is for events to say.
    fn host(&mut self, pinned: Pinned) -> &mut [u8];

    /// Puts a launch behind what `on` was given before.
    fn launch(&mut self, on: Stream, launch: Launch) -> Result<()>;
    /// Scratch memory of every product: products on different streams must not overlap in time.
    fn set_workspace(&mut self, workspace: Span);
    /// Chooses an algorithm for products of this shape, before the first of them, not during capture, and where memory is
    /// given after the host has waited for everything; tried out even where [`Device::adopt`] has chosen. `operands` is memory that nobody needs now, red zones included, to time candidates on:
    /// [`GemmShape::operand_bytes`] of it, 0xFF afterwards. Where it is smaller nothing is timed, and the library's
    /// own first choice is taken.
    fn plan(&mut self, shape: &GemmShape, operands: Span) -> Result<()>;
    /// Chooses between products of this shape, and the same without their epilogue and `instead` behind each. Plans what
    /// is faster, or what is plain where nothing is timed or no algorithm gives the same bits twice. Returns whether the
    /// epilogue is used; the choice is one of [`Device::choices`]. `instead` finds B where [`Device::plan`] puts it.
    fn plan_epilogue(&mut self, shape: &GemmShape, operands: Span, instead: Launch) -> Result<bool>;
    /// The choices so far, which belong to a run: other algorithms give other bits.
    fn choices(&self) -> GemmChoices;
    /// Uses these choices; refused as not reproducible where they are another device's.
    fn adopt(&mut self, choices: &GemmChoices) -> Result<()>;
    /// Puts a matrix product behind what `on` was given before; it must have been planned.
    fn gemm(&mut self, on: Stream, gemm: Gemm) -> Result<()>;
    /// From byte `at` of pinned memory; the host's bytes are read when the copy happens.
    fn upload(&mut self, on: Stream, from: Pinned, at: usize, to: Span) -> Result<()>;
    /// To byte `at` of pinned memory.
    fn download(&mut self, on: Stream, from: Span, to: Pinned, at: usize) -> Result<()>;
    /// From byte `at` of pinned memory, where the rows lie one behind the other.
    fn upload_rows(&mut self, on: Stream, from: Pinned, at: usize, to: Rows) -> Result<()>;
    /// To byte `at` of pinned memory, one row behind the other.
    fn download_rows(&mut self, on: Stream, from: Rows, to: Pinned, at: usize) -> Result<()>;
    /// Every byte becomes `value`.
    fn fill(&mut self, on: Stream, span: Span, value: u8) -> Result<()>;

    /// The event is what the stream has been given so far.
    #[track_caller]
    fn record(&mut self, event: Event, on: Stream) -> Result<()>;
    /// What the stream is given from now on happens after the event.
    #[track_caller]
    fn wait(&mut self, on: Stream, event: Event) -> Result<()>;
    /// The host waits for the event. Errors of work before it come out here.
    #[track_caller]
    fn synchronize(&mut self, event: Event) -> Result<()>;

    /// Waits for everything; an error where something wrote behind a tensor. Every emulated launch looks by itself.
    fn check_red_zones(&mut self) -> Result<()> {
        Ok(())
    }

    /// From now on work on this stream is noted instead of done; allocating and synchronising are errors.
    fn begin_capture(&mut self, on: Stream) -> Result<()>;
    /// Ends what `begin_capture` began; nothing of what was noted has run.
    fn end_capture(&mut self, on: Stream) -> Result<Graph>;
    /// Puts all that was noted behind what `on` was given before.
    fn replay(&mut self, on: Stream, graph: Graph) -> Result<()>;

    /// Kernels and matrix products so far, those of graphs included.
    fn launches(&self) -> u64;
}
