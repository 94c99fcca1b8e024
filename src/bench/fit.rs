//! Whether a workload fits into memory, and what would.
use super::Workload;
use crate::config::machine::memory;
use crate::device::{self, DeviceName};
use crate::model::Recompute;
use crate::{Error, Result};
use std::fmt::Write;

/// Of the memory that the system calls available, what one process should plan with: the rest of the process and
/// page tables come on top, and what does not fit is not refused but ends the process.
const OF_AVAILABLE: f64 = 0.9;

/// Bytes that this device can give now; `None` where the system does not tell.
pub fn memory_available(device: DeviceName) -> Result<Option<u64>> {
    match device {
        DeviceName::Cpu => Ok(memory().1.map(|bytes| (bytes as f64 * OF_AVAILABLE) as u64)),
        // It lies in this machine's memory, and says so.
        DeviceName::Emulated => memory_available(DeviceName::Cpu),
        _ => device::open(device)?.map(|d| d.memory().map(|[free, _]| free)).transpose(),
    }
}

/// The largest micro-batch whose plan fits into `available` bytes; `None`: not one sequence.
pub fn largest_micro(workload: &Workload, available: u64) -> Option<usize> {
    let fits = |micro: usize| {
        let sized = Workload { micro, ..workload.clone() };
        sized.tokens_per_step() < 1 << 31 && sized.memory().total() as u64 <= available
    };
    if !fits(1) {
        return None;
    }
    let mut low = 1;
    while fits(2 * low) {
        low *= 2;
    }
    // low fits, high does not.
    let mut high = 2 * low;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// Refuses what does not fit, with a table of what would.
pub fn check_fits(workload: &Workload) -> Result<()> {
    let Some(available) = memory_available(workload.device)? else { return Ok(()) };
    let needed = workload.memory().total() as u64;
    if needed <= available {
        return Ok(());
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let mut text = format!(
        "{} with micro-batches of {} sequences of {} tokens and train.recompute = \"{}\" needs {:.0} MB, {} has {:.0} \
         MB to give. What fits:\ntrain.recompute   largest micro-batch        memory",
        workload.model,
        workload.micro,
        workload.time,
        workload.recompute,
        megabytes(needed),
        workload.device,
        megabytes(available),
    );
    for recompute in Recompute::ALL {
        let changed = Workload { recompute, ..workload.clone() };
        let line = match largest_micro(&changed, available) {
            None => format!("{:>23} {:>13}", "not even one", "-"),
            Some(micro) => {
                let memory = Workload { micro, ..changed }.memory().total() as u64;
                format!("{micro:>23} {:>10.0} MB", megabytes(memory))
            }
        };
        let _ = write!(text, "\n{recompute:<14}{line}"); // a string takes everything
    }
    Err(Error::refused(text))
}
