//! How hostile an emulated device is.
use super::super::{Mode, SyncSite};

/// When commands run. An order that only luck gives on a GPU comes out differently in one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamTiming {
    /// A command runs as soon as everything it waits for has run.
    Eager,
    /// No command runs before an event needs it that the host synchronises with, or that such a command waits for.
    Lazy,
    /// Streams whose bit is set are eager, counted in the order of creation (the first 64); the others are lazy.
    /// An eager stream that waits for a lazy one does not force it.
    Mixed(u64),
}

impl StreamTiming {
    /// Every way to make each of the first `streams` streams eager or lazy; at most 6.
    pub fn all(streams: u32) -> Vec<Self> {
        let count = 1u64 << streams.min(6);
        (0..count).map(|bits| if bits == 0 { Self::Lazy } else { Self::Mixed(bits) }).collect()
    }

    pub(super) fn is_eager(self, stream: usize) -> bool {
        match self {
            Self::Eager => true,
            Self::Lazy => false,
            Self::Mixed(bits) => stream < 64 && bits >> stream & 1 == 1,
        }
    }
}

/// Settings of an emulated device.
#[derive(Clone, Debug)]
pub struct EmulatedSettings {
    /// Of every launch, and the GPU imitated.
    pub mode: Mode,
    /// When the work of streams happens.
    pub streams: StreamTiming,
    /// Bytes of device memory; without, what this machine has available.
    pub memory_bytes: Option<u64>,
    /// Whether products use epilogues that a GPU takes where they are faster.
    pub epilogues: bool,
    /// A call of the host to `record`, `wait` or `synchronize` that does nothing.
    pub disabled: Option<SyncSite>,
}

impl Default for EmulatedSettings {
    fn default() -> Self {
        let (mode, streams) = (Mode::default(), StreamTiming::Eager);
        Self { mode, streams, memory_bytes: None, epilogues: false, disabled: None }
    }
}
