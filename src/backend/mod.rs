//! Implementations of the operations.
pub mod cpu;
