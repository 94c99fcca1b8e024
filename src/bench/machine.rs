//! What a measurement ran on, and what else ran there meanwhile. Linux tells; elsewhere much is unknown.
use crate::device::{DeviceName, probe_cuda};
use crate::machine::memory;
use serde::Serialize;
use std::fs;
use std::time::Instant;

/// The machine of a [`super::Record`].
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: Option<String>,
    /// Threads the process may use at once.
    pub cores: Option<usize>,
    /// Bytes that the process may use.
    pub memory_bytes: Option<u64>,
    /// Operating system and its release.
    pub os: String,
    /// Where a GPU was measured.
    pub gpu: Option<String>,
    /// The CUDA version that its driver supports.
    pub driver: Option<String>,
}

impl Machine {
    /// This one, with the GPU that is measured.
    pub fn detect(device: DeviceName) -> Self {
        let cuda = matches!(device, DeviceName::Cuda(_)).then(probe_cuda);
        let gpu = cuda.as_ref().and_then(|state| match device {
            DeviceName::Cuda(index) => state.gpus.get(index).map(|gpu| gpu.name.clone()),
            _ => None,
        });
        let release = read("/proc/sys/kernel/osrelease").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_bytes: memory().0,
            os: format!("{} {release}", std::env::consts::OS),
            gpu,
            driver: cuda.and_then(|state| state.driver_version),
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// A line of /proc/self/status in bytes.
fn status_bytes(key: &str) -> Option<u64> {
    let value = field("/proc/self/status", key)?;
    value.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Largest resident set of this process in bytes.
pub fn peak_resident() -> Option<u64> {
    status_bytes("VmHWM")
}

/// What `f` gives, and by how many bytes the resident set of this process was larger meanwhile than before.
pub fn resident_above<R>(f: impl FnOnce() -> R) -> (R, Option<u64>) {
    let before = status_bytes("VmRSS");
    reset_peak_resident();
    let result = f();
    (result, peak_resident().zip(before).map(|(peak, before)| peak.saturating_sub(before)))
}

/// From now on [`peak_resident`] is that of what comes.
pub fn reset_peak_resident() {
    let _ = fs::write("/proc/self/clear_refs", "5"); // where it cannot be reset, the peak is that of the process
}

/// Clock ticks per second of the numbers in /proc: USER_HZ, 100 on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// The numbers of /proc/self/stat behind the name of the process, from field 3 on.
fn own_stat() -> Option<Vec<u64>> {
    let text = read("/proc/self/stat")?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
}

/// Seconds since this process was started, to 10 ms.
pub fn since_process_start() -> Option<f64> {
    let uptime: f64 = read("/proc/uptime")?.split_whitespace().next()?.parse().ok()?;
    let started = *own_stat()?.get(19)? as f64 / TICKS_PER_S;
    Some(uptime - started)
}

/// Bytes of the largest cache of the first core.
pub fn cache_bytes() -> Option<usize> {
    let size = |index: usize| {
        let text = read(&format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size"))?;
        Some(text.strip_suffix('K')?.parse::<usize>().ok()? << 10)
    };
    (0..8).filter_map(size).max()
}

/// Bytes that buffers used in turn should exceed for none to be found in a cache: twice the largest cache, and no more
/// than a quarter of what `available` says the machine can give, for virtual machines show caches of whole hosts.
pub fn past_caches(available: Option<u64>) -> usize {
    rotation(cache_bytes(), available)
}

fn rotation(cache: Option<usize>, available: Option<u64>) -> usize {
    let most = available.map_or(usize::MAX, |bytes| usize::try_from(bytes / 4).unwrap_or(usize::MAX));
    cache.unwrap_or(64 << 20).saturating_mul(2).min(most)
}

/// CPU time used by all processes and by this one, in clock ticks, and when.
pub struct Load {
    at: Instant,
    ticks: Option<(u64, u64)>,
}

impl Load {
    /// What was used up to now.
    pub fn now() -> Self {
        Self { at: Instant::now(), ticks: Self::read() }
    }

    fn read() -> Option<(u64, u64)> {
        let all = read("/proc/stat")?;
        let fields: Vec<u64> =
            all.lines().next()?.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| fields.get(i)).sum();
        Some((busy, own_stat()?.iter().skip(11).take(2).sum()))
    }

    /// CPU seconds of other processes per second since then.
    pub fn foreign_since(&self) -> Option<f64> {
        let ((busy, own), (busy_now, own_now)) = (self.ticks?, Self::read()?);
        let ticks = (busy_now - busy) as f64 - (own_now - own) as f64;
        Some(ticks.max(0.0) / TICKS_PER_S / self.at.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_in_turn_fit_the_machine() {
        assert_eq!(rotation(Some(32 << 20), None), 64 << 20);
        assert_eq!(rotation(Some(480 << 20), Some(24 << 30)), 960 << 20);
        assert_eq!(rotation(Some(480 << 20), Some(1 << 30)), 256 << 20);
        assert_eq!(rotation(None, Some(24 << 30)), 128 << 20);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        let machine = Machine::detect(DeviceName::Cpu);
        assert!(machine.cores.is_some() && machine.memory_bytes.is_some() && machine.gpu.is_none());
        let age = since_process_start().unwrap();
        assert!((0.0..3600.0).contains(&age), "{age}");
        let large = std::hint::black_box(vec![1u8; 512 << 20]); // or nobody would allocate it
        let peak = peak_resident().unwrap();
        assert!(peak >= large.len() as u64, "{peak}");
        drop(large);
        reset_peak_resident();
        assert!(peak_resident().unwrap() < peak - (256 << 20), "other tests do not use that much");
        let load = Load::now();
        assert!(load.foreign_since().unwrap() >= 0.0);
    }
}
