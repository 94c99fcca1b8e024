//! Devices that run `kernels/*.cu`. Today the emulated one, for tests: the same source compiled by the C++
//! compiler, each thread of a block a fiber, under settings that make missing synchronisation show. See
//! `kernels/README.md`.
mod emulated;
#[cfg(emulated_kernels)]
mod ffi;
mod kernel;
mod mode;

pub use emulated::{Buffer, Emulated};
pub use kernel::{Arg, Kernel};
pub use mode::{Capability, Counters, Mode, Order, Schedule, SyncSite, Timing};

/// The fat binary of every file of `kernels/`, by its name without `.cu`; empty when built without nvcc.
pub static FATBINS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));
