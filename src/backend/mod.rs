//! Implementations of the operations.
pub mod cpu;
pub mod gpu;

use crate::Result;
use crate::device::{self, DeviceName};
use crate::model::{ModelConfig, ParamTable, Workspace};
use crate::ops::Ops;

/// A backend on this device, its memory allocated; [`DeviceName::Auto`] is resolved first. Refused where the device
/// is not there, or cannot run this model, or has too little memory.
pub fn open(
    name: DeviceName,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
) -> Result<Box<dyn Ops>> {
    Ok(match device::open(name)? {
        None => Box::new(cpu::Cpu::new(config, table, ws)),
        Some(device) => Box::new(gpu::Gpu::new(device, config, table, ws, true)?),
    })
}

/// What [`open`] allocates.
pub fn memory_plan(
    name: DeviceName,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
    threads: usize,
) -> MemoryPlan {
    match name {
        DeviceName::Cpu => cpu::memory_plan(table, ws, threads),
        _ => gpu::memory_plan(config, table, ws),
    }
}

/// Bytes of each kind of memory a backend allocates.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPlan {
    /// Weights.
    pub weights: usize,
    /// Gradients.
    pub gradients: usize,
    /// Both moments.
    pub moments: usize,
    /// Activations and per-row statistics, the chunk of logits excluded.
    pub activations: usize,
    /// The chunk of logits.
    pub logits: usize,
    /// Scratch of the operations, all threads.
    pub scratch: usize,
}

impl MemoryPlan {
    /// Sum of all kinds.
    pub fn total(&self) -> usize {
        self.weights + self.gradients + self.moments + self.activations + self.logits + self.scratch
    }
}
