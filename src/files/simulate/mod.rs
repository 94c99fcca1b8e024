//! Disks that fail on purpose, for the tests of everything that saves: [`Memory`] holds files in memory,
//! [`Faulty`] makes the n-th call fail, [`Crash`] records what was done and enumerates what a loss of power
//! may leave. They are part of the library because integration tests of other modules use them too.
mod crash;
mod faulty;
mod memory;

pub use crash::Crash;
pub use faulty::{Fault, Faulty};
pub use memory::Memory;

/// Bytes per write of simulated disks: small, so that the files of small models tear in the middle.
pub const SMALL_PIECE: usize = 4096;
