//! Implementations of the operations.
pub mod cpu;
pub mod gpu;
mod memory_plan;

use crate::device::{self, Device, DeviceName};
use crate::machine;
use crate::model::{ModelConfig, ParamTable, Precision, Purpose, Workspace};
use crate::ops::{Backend, Shape};
use crate::{Error, Result};
pub use memory_plan::MemoryPlan;

/// A backend on this device, its memory allocated; [`DeviceName::Auto`] is resolved first. Refused where the device
/// is not there, or cannot run this model, or has too little memory.
pub fn open(
    name: DeviceName,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
) -> Result<Box<dyn Backend>> {
    on(device::open(name)?, config, table, ws)
}

/// As [`open`], on a device that is open; none: the processor, which keeps everything in f32.
pub(crate) fn on(
    device: Option<Box<dyn Device>>,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
) -> Result<Box<dyn Backend>> {
    Ok(match device {
        None => {
            check_precision(DeviceName::Cpu, table.precision)?;
            Box::new(cpu::Cpu::new(config, table, ws))
        }
        Some(device) => Box::new(gpu::Gpu::new(device, config, table, ws, true)?),
    })
}

/// Refuses a precision that the device has no arithmetic for.
pub(crate) fn check_precision(name: DeviceName, precision: Precision) -> Result<()> {
    match (name, precision) {
        (DeviceName::Cpu, Precision::Bf16) => Err(Error::refused(
            "train.precision is \"bf16\" and the device is cpu, which keeps weights and moments in f32 only; remove \
             train.precision (--precision), or choose a GPU as the device",
        )),
        _ => Ok(()),
    }
}

/// Bytes that a backend on this device (none: the processor) may allocate now; `None` where the system does not tell.
pub(crate) fn free_memory(device: Option<&dyn Device>) -> Result<Option<u64>> {
    match device {
        Some(device) => device.memory().map(|[free, _]| Some(free)),
        None => Ok(machine::memory().1),
    }
}

/// Rows of logits at once where memory does not matter: a GPU wants products with many rows, a processor wants the
/// chunk in its cache.
pub fn most_chunk_rows(name: DeviceName) -> usize {
    if name == DeviceName::Cpu { 1024 } else { 16_384 }
}

/// The fewest rows of logits at once that [`chunk_rows`] goes down to.
const LEAST_CHUNK_ROWS: usize = 256;

/// [`most_chunk_rows`], halved until everything fits into `free` bytes; where nothing does, the fewest.
pub fn chunk_rows(
    name: DeviceName,
    config: &ModelConfig,
    table: &ParamTable,
    (shape, purpose): (Shape, Purpose),
    threads: usize,
    free: u64,
) -> usize {
    let fits = |rows: &usize| {
        let ws = Workspace::new(config, shape, *rows, purpose);
        memory_plan(name, config, table, &ws, threads).total() as u64 <= free
    };
    let halves = std::iter::successors(Some(most_chunk_rows(name)), |rows| Some(rows / 2));
    halves.take_while(|rows| *rows >= LEAST_CHUNK_ROWS).find(fits).unwrap_or(LEAST_CHUNK_ROWS)
}

/// The bytes that [`open`] allocates, by kind.
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
