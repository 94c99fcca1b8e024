//! Checkpoints under every fault of the matrix (rows F2 to F14, F30 to F33, F38 to F40).
mod blocks;
mod common;
mod crash;
mod damage;
mod faults;
mod format_1;
#[cfg(target_os = "linux")]
mod host_memory;
mod lock;
mod neox;
mod rules;
mod torch_files;
