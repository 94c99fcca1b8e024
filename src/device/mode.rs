//! How hostile an emulated launch is, and what it reports.
use std::fmt;

/// Strict priority between the warps of a block, and between the lanes of a warp: the first in this order that
/// can run does, as far ahead as the synchronisation lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum WarpOrder {
    /// Of those that can run, the one with the lowest index.
    Forward,
    /// Of those that can run, the one with the highest index.
    Reverse,
    /// Drawn anew for every block.
    Random,
}

/// When asynchronous copies happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Timing {
    /// At issue: a buffer that is still read shows.
    Eager,
    /// As late as a wait allows: a missing wait shows.
    Lazy,
}

/// In which order the blocks of a grid run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// Blocks run in ascending order of their index.
    Forward,
    /// Blocks run in descending order of their index.
    Reverse,
    /// A permutation given by the seed.
    Shuffled,
}

/// The GPU that the emulated one pretends to be: what limits shared memory per block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum Capability {
    /// Compute capability 8.0, as an A100 has.
    #[strum(serialize = "sm_80")]
    Sm80,
    /// RTX 30, A40: the smallest; every default must fit here.
    #[strum(serialize = "sm_86")]
    Sm86,
    /// Compute capability 9.0, as an H100 and an H200 have.
    #[strum(serialize = "sm_90")]
    Sm90,
}

impl Capability {
    /// Bytes of shared memory a block can have.
    pub fn shared_bytes(self) -> usize {
        match self {
            Self::Sm80 => 166_912,
            Self::Sm86 => 101_376,
            Self::Sm90 => 232_448,
        }
    }
}

/// Settings of an emulated launch.
#[derive(Clone, Debug)]
pub struct Mode {
    /// Of warps and lanes.
    pub schedule: WarpOrder,
    /// When asynchronous copies arrive.
    pub timing: Timing,
    /// In which order blocks run.
    pub order: Order,
    /// OS threads that share the grid.
    pub os_threads: u32,
    /// The compute capability that is imitated.
    pub capability: Capability,
    /// Seed of every order and moment that is random.
    pub seed: u64,
    /// Count traffic and bank conflicts; costs time.
    pub count: bool,
    /// A synchronisation call that does nothing in this launch.
    pub disabled: Option<SyncSite>,
}

impl Default for Mode {
    fn default() -> Self {
        Self {
            schedule: WarpOrder::Forward,
            timing: Timing::Eager,
            order: Order::Forward,
            os_threads: 1,
            capability: Capability::Sm86,
            seed: 1,
            count: false,
            disabled: None,
        }
    }
}

impl Mode {
    /// Three schedules × two timings; the order of blocks and the number of OS threads vary along.
    pub fn all() -> Vec<Self> {
        let schedules = [WarpOrder::Forward, WarpOrder::Reverse, WarpOrder::Random];
        let orders = [Order::Forward, Order::Reverse, Order::Shuffled];
        let mut modes = Vec::new();
        for (i, schedule) in schedules.into_iter().enumerate() {
            for (j, timing) in [Timing::Eager, Timing::Lazy].into_iter().enumerate() {
                let order = orders[(i + j) % 3];
                let os_threads = 1 + u32::from((i + j) % 2 == 1);
                modes.push(Self { schedule, timing, order, os_threads, ..Self::default() });
            }
        }
        modes
    }
}

/// A call of a barrier, wait, commit or arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncSite {
    /// Relative to the package: `kernels/x.cu`.
    pub file: String,
    /// Line of the call.
    pub line: u32,
    /// The primitive that is left out.
    pub what: String,
}

impl fmt::Display for SyncSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.what, self.file, self.line)
    }
}

/// What launches did; traffic and bank conflicts only with [`Mode::count`].
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Bytes read from global memory; lanes that read the same address together count once.
    pub bytes_read: u64,
    /// Bytes written to global memory.
    pub bytes_written: u64,
    /// Sectors of 32 bytes touched by reads, per request of a warp.
    pub sectors_read: u64,
    /// Sectors of 32 bytes touched by writes.
    pub sectors_written: u64,
    /// FLOPs of tensor-core instructions.
    pub mma_flops: u64,
    /// Requests to shared memory by `ldmatrix`, `load_shared`, `store_shared` and `cp_async`.
    pub shared_requests: u64,
    /// Extra wavefronts of those.
    pub bank_conflicts: u64,
    /// Synchronisation calls that were reached, sorted.
    pub sites: Vec<SyncSite>,
}

impl Counters {
    /// Bytes of global memory that were read and written.
    pub fn bytes(&self) -> u64 {
        self.bytes_read + self.bytes_written
    }

    /// Sectors of 32 bytes of global memory that were read and written.
    pub fn sectors(&self) -> u64 {
        self.sectors_read + self.sectors_written
    }

    /// Adds the counts of another launch.
    pub fn add(&mut self, other: &Self) {
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.sectors_read += other.sectors_read;
        self.sectors_written += other.sectors_written;
        self.mma_flops += other.mma_flops;
        self.shared_requests += other.shared_requests;
        self.bank_conflicts += other.bank_conflicts;
        self.sites.extend_from_slice(&other.sites);
        self.sites.sort();
        self.sites.dedup();
    }
}
