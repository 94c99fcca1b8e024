//! What the backend holds beside the arena: pinned memory, events, and notes of what is still to be done.
use super::layout::Layout;
use crate::Result;
use crate::device::{Device, Event, Graph, Pinned, Span, StepRecord, Stream};
use crate::ops::Act;
use std::collections::VecDeque;

/// One of the two batches on the device.
pub(super) struct BatchSlot {
    pub pinned: Pinned,
    /// The copy to the device has happened.
    pub uploaded: Event,
    /// What reads it on the device has happened.
    pub consumed: Event,
}

/// What operations look at of a batch beside tokens and targets: other launches each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Looks {
    /// The weights of targets, where no gradient is asked for.
    pub weighted: bool,
    /// Attention stays inside of documents.
    pub isolate: bool,
    /// Positions count from their starts.
    pub reset: bool,
}

/// Batches: two of them on the device, filled in turn.
pub(super) struct Batches {
    pub copies: Stream,
    pub slots: [BatchSlot; 2],
    /// The one that operations read.
    pub current: usize,
    /// At what of that one.
    pub looks: Looks,
    /// Whether the rows are sorted by token for the embedding's gradient.
    pub train: bool,
}

impl Batches {
    pub fn new(device: &mut dyn Device, layout: &Layout, train: bool) -> Result<Self> {
        let mut slot = |i: usize| -> Result<BatchSlot> {
            let pinned = device.pinned(layout.batches[i].span.bytes)?;
            Ok(BatchSlot { pinned, uploaded: device.event()?, consumed: device.event()? })
        };
        let slots = [slot(0)?, slot(1)?];
        Ok(Self { copies: device.stream()?, slots, current: 1, looks: Looks::default(), train })
    }
}

/// When things happened on the device.
#[derive(Default)]
pub(super) struct Clock {
    /// Made when they are first needed, and used again.
    pub events: Vec<Event>,
    /// How many were recorded since the last timeline.
    pub used: usize,
    pub launches: Vec<(String, [usize; 2])>,
    /// Whether launches are noted, too.
    pub profiling: bool,
    /// Work is noted for a graph: nothing happens now.
    pub capturing: bool,
}

/// Steps that may be in flight: while one computes, the host prepares the next and reads the one before.
pub(super) const IN_FLIGHT: usize = 1;
/// One more than are in flight, so that the host never writes what a step still reads.
pub(super) const RING: usize = IN_FLIGHT + 1;

/// Pinned memory of one step in flight.
pub(super) struct StepSlot {
    /// Of the host for the device, then of the device for the host.
    pub record: Pinned,
    /// One per micro-batch of the longest step so far.
    pub losses: Vec<Losses>,
    /// Everything of the step has happened.
    pub done: Event,
}

/// Losses of a micro-batch on their way to the host.
pub(super) struct Losses {
    pub pinned: Pinned,
    pub capacity: usize,
    pub bytes: usize,
}

/// The ends of steps, as the host sees them.
pub(super) struct Steps {
    pub ring: [StepSlot; RING],
    /// The slot that the next outcome is in with its number of micro-batches, and so on.
    pub in_flight: VecDeque<(usize, usize)>,
    /// Of the step that is being issued.
    pub current: usize,
    /// Its micro-batches so far.
    pub micro: usize,
    pub graph: Option<Graph>,
    /// Whether the tables of `adamw` are on the device; tiles of trained tensors, and of frozen ones behind them.
    pub tiles: Option<[usize; 2]>,
}

impl Steps {
    pub fn new(device: &mut dyn Device) -> Result<Self> {
        let mut slot = || -> Result<StepSlot> {
            let record = device.pinned(2 * size_of::<StepRecord>())?;
            Ok(StepSlot { record, losses: Vec::new(), done: device.event()? })
        };
        let ring = [slot()?, slot()?];
        Ok(Self { ring, in_flight: VecDeque::new(), current: 0, micro: 0, graph: None, tiles: None })
    }
}

/// Column sums of `dy` that are still to be made.
pub(super) struct Columns {
    pub dy: Act,
    pub rows: usize,
    pub partials: Span,
}

/// Partial sums `[chunks, cols]`, rows `ld` apart, that belong to a gradient.
pub(super) struct Sum {
    pub from: u64,
    pub to: u64,
    pub sizes: [usize; 3],
    pub accumulate: bool,
}

/// Column sums of `dy` that were made on the way: `chunks` rows of them.
pub(super) struct Summed {
    pub dy: Act,
    pub partials: Span,
    pub chunks: usize,
}

/// What was left for later.
#[derive(Default)]
pub(super) struct Pending {
    pub columns: Vec<Columns>,
    pub sums: Vec<Sum>,
    /// Bytes of the partials in use.
    pub used: usize,
    /// The last of those that nobody has used yet.
    pub summed: Option<Summed>,
}

/// Bytes of a piece.
pub const PIECE: usize = 16 << 20;

/// Pinned memory for what the host reads and writes outside of steps.
#[derive(Clone, Copy)]
pub(super) struct Staging {
    pub pinned: Pinned,
    pub done: Event,
}

impl Staging {
    pub fn new(device: &mut dyn Device) -> Result<Self> {
        Ok(Self { pinned: device.pinned(PIECE)?, done: device.event()? })
    }
}
