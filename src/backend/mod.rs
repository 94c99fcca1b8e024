//! Implementations of the operations.
pub mod cpu;
pub mod gpu;
mod masters;
mod memory_plan;

use crate::device::{self, Device, DeviceName};
use crate::machine;
use crate::model::{ModelConfig, ParamTable, Precision, Purpose, Workspace};
use crate::ops::{Backend, Shape};
use crate::{Error, Result};
pub use memory_plan::MemoryPlan;

/// A backend on this device, its memory allocated; [`DeviceName::Auto`] is resolved first. Refused where the device
/// is not there, or cannot run this model in its precision, or has too little memory.
pub fn open(
    name: DeviceName,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
) -> Result<Box<dyn Backend>> {
    let name = device::resolve(name);
    on(name, device::open(name)?, config, table, ws)
}

/// As [`open`], on a device that is open; none: the processor.
pub(crate) fn on(
    name: DeviceName,
    device: Option<Box<dyn Device>>,
    config: &ModelConfig,
    table: &ParamTable,
    ws: &Workspace,
) -> Result<Box<dyn Backend>> {
    check_precision(name, table.precision)?;
    Ok(match device {
        None if table.precision == Precision::F32 => Box::new(cpu::Cpu::new(config, table, ws)),
        None => Box::new(cpu::MixedCpu::new(config, table, ws)),
        Some(device) => Box::new(gpu::Gpu::new(device, config, table, ws, true)?),
    })
}

/// The precision of a device where none is named; [`DeviceName::Auto`] is resolved first.
pub fn default_precision(name: DeviceName) -> Precision {
    match device::resolve(name) {
        DeviceName::Cpu => Precision::F32,
        _ => Precision::Mixed,
    }
}

/// Refuses a precision that the device has no arithmetic for: a processor has it for each.
pub(crate) fn check_precision(name: DeviceName, precision: Precision) -> Result<()> {
    let on_gpu = matches!(name, DeviceName::Cuda(_) | DeviceName::Emulated);
    if !on_gpu || gpu::PRECISIONS.contains(&precision) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "train.precision is \"{precision}\" and the device is {name}, whose kernels compute with bf16 activations; give \
         \"mixed\" as train.precision (--precision), which keeps master weights and moments in f32, or choose cpu as the \
         device"
    )))
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
        DeviceName::Cpu => cpu::memory_plan(config, table, ws, threads),
        _ => gpu::memory_plan(config, table, ws),
    }
}
