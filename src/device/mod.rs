//! Devices that run `kernels/*.cu`: GPUs, and the emulated one, for tests: the same source compiled by the C++
//! compiler, each thread of a block a fiber, under settings that make missing synchronisation show. See
//! `kernels/README.md`.
mod arena;
mod cuda;
mod embedding;
mod emulated;
#[cfg(emulated_kernels)]
mod ffi;
mod gemm;
mod gpu;
mod kernel;
mod mode;
mod name;
mod open;
mod step;
mod sums;

pub use arena::{Arena, RED_ZONE, Rows, Span};
pub use cuda::Cuda;
pub(crate) use cuda::{DriverState, GpuInfo, probe as probe_cuda};
pub use embedding::EmbeddingPlan;
pub use emulated::{Buffer, Emulated, EmulatedDevice, EmulatedSettings, StreamTiming};
pub use gemm::{Epilogue, Gemm, GemmShape, Type};
pub(crate) use gpu::DRIVER_RESERVE;
pub use gpu::{Device, Event, Graph, Launch, Pinned, Stream};
pub use kernel::{Arg, Kernel};
pub use mode::{Capability, Counters, Mode, Order, SyncSite, Timing, WarpOrder};
pub use name::DeviceName;
pub(crate) use open::{open, resolve};
pub use step::{AdamSegment, AdamTables, AdamTile, StepRecord, adam_tables};
pub use sums::{ColumnTable, SumTable};
pub(crate) use sums::{MATRICES, SUMS};

/// The fat binary of every file of `kernels/`, by its name without `.cu`; empty when built without nvcc.
pub(crate) static FATBINS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));
