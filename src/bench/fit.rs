//! Whether a workload fits into memory, and what would.
use super::Workload;
use crate::backend;
use crate::device::{self, DeviceName};
use crate::model::Recompute;
use crate::perf::plan::largest;
use crate::{Error, Result};
use std::fmt::Write;

/// Of the memory that the system calls available, what one process should plan with: the rest of the process and
/// page tables come on top, and what does not fit is not refused but ends the process.
const OF_AVAILABLE: f64 = 0.9;

/// Bytes that this device can give now; `None` where the system does not tell.
pub fn memory_available(device: DeviceName) -> Result<Option<u64>> {
    let opened = device::open(device)?;
    let free = backend::free_memory(opened.as_deref())?;
    // The emulated device lies in this machine's memory, too.
    let shared = !matches!(device, DeviceName::Cuda(_));
    Ok(free.map(|bytes| if shared { (bytes as f64 * OF_AVAILABLE) as u64 } else { bytes }))
}

/// The largest micro-batch whose plan fits; `None`: not one sequence.
pub fn largest_micro(workload: &Workload) -> Option<usize> {
    let available = workload.available.unwrap_or(u64::MAX);
    let fits = |micro: usize| {
        let sized = Workload { micro, ..workload.clone() };
        sized.tokens_per_step() < 1 << 31 && sized.memory().total() as u64 <= available
    };
    Some(largest(fits)).filter(|micro| *micro > 0)
}

/// Refuses what does not fit, with a table of what would.
pub fn check_fits(workload: &Workload) -> Result<()> {
    let Some(available) = workload.available else { return Ok(()) };
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
        let line = match largest_micro(&changed) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Optim;
    use crate::model::{Precision, preset};

    fn workload(available: u64) -> Workload {
        Workload {
            model: "pythia-14m".into(),
            sizes: preset("pythia-14m").unwrap(),
            device: DeviceName::Cpu,
            time: 128,
            micro: 4096,
            accumulation: 1,
            precision: Precision::F32,
            separate_bias_gradients: false,
            recompute: Recompute::None,
            chunk_rows: Some(256),
            available: Some(available),
            optim: Optim::default(),
            data: Vec::new(),
        }
    }

    #[test]
    fn the_largest_micro_batch_fits_and_the_next_does_not() {
        let w = workload(1 << 30);
        let micro = largest_micro(&w).unwrap();
        let total = |micro| Workload { micro, ..w.clone() }.memory().total() as u64;
        assert!(total(micro) <= 1 << 30 && total(micro + 1) > 1 << 30, "{micro}");
        assert!(check_fits(&Workload { micro, ..w.clone() }).is_ok());
        assert_eq!(largest_micro(&workload(1 << 20)), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let w = workload(1 << 30);
        let error = check_fits(&w).unwrap_err().to_string();
        let block = largest_micro(&Workload { recompute: Recompute::Block, ..w }).unwrap().to_string();
        for word in ["4096 sequences of 128 tokens", "1074 MB", "none", "cheap", "block", &block] {
            assert!(error.contains(word), "{word:?} is missing in:\n{error}");
        }
        assert!(check_fits(&workload(1 << 20)).unwrap_err().to_string().contains("not even one"));
    }
}
