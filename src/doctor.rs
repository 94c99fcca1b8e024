//! What this machine offers, as `rewarm doctor` says it.
use crate::backend::cpu::MicroKernel;
use crate::device::{DriverState, Emulated, GpuInfo, probe_cuda};
use crate::machine::{COMMIT, memory};
use serde::Serialize;
use std::fmt;

/// Facts about the program and the machine it runs on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of rewarm, as in Cargo.toml.
    pub version: &'static str,
    /// What it was built from, where that is known.
    pub commit: Option<&'static str>,
    /// Name of the operating system.
    pub os: &'static str,
    /// Architecture of the processor.
    pub arch: &'static str,
    /// Threads the process may use at once; 0 if the system does not tell.
    pub cores: usize,
    /// Vector instruction sets found, of those the program can use.
    pub simd: Vec<&'static str>,
    /// Bytes of memory the process may use (the smaller of machine and cgroup); `None` if unknown.
    pub memory_total: Option<u64>,
    /// Bytes of memory available now; `None` if unknown.
    pub memory_available: Option<u64>,
    /// Every device that `device` can name, and what is said of it.
    pub devices: Vec<DeviceReport>,
    /// Driver, GPUs and libraries, and what of them is missing.
    pub cuda: DriverState,
}

/// One device that a configuration could name.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Name for `device = …`.
    pub name: String,
    /// Whether a run can use it.
    pub available: bool,
    /// What it is, or what is missing.
    pub detail: String,
}

impl DeviceReport {
    fn new(name: impl Into<String>, available: bool, detail: impl Into<String>) -> Self {
        Self { name: name.into(), available, detail: detail.into() }
    }
}

impl Report {
    /// Looks at this machine: `/proc` and `/sys` on Linux, the CUDA driver where there is one; changes nothing,
    /// cannot fail.
    pub fn detect() -> Self {
        let (memory_total, memory_available) = memory();
        let cuda = probe_cuda();
        let mut devices = vec![DeviceReport::new("cpu", true, cpu())];
        devices.extend(gpus(&cuda));
        devices.push(match Emulated::new() {
            Ok(_) => DeviceReport::new("emulated", true, "a GPU's kernels on this processor, for tests"),
            Err(e) => DeviceReport::new("emulated", false, e.to_string()),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            simd: simd(),
            memory_total,
            memory_available,
            devices,
            cuda,
        }
    }
}

/// Formats that the processor trains in, and who multiplies bf16.
fn cpu() -> String {
    format!("all cores; f32, and bf16 with products by {}", MicroKernel::of_machine())
}

/// Every GPU, or one line that says that there is none.
fn gpus(cuda: &DriverState) -> Vec<DeviceReport> {
    if cuda.gpus.is_empty() {
        return vec![DeviceReport::new("cuda", false, "what is missing stands below")];
    }
    let all_there = cuda.cublaslt.is_some() && cuda.toolkit.is_some();
    let usable = cuda.unusable.iter().map(|why| all_there && why.is_none());
    let report = |(gpu, usable): (&GpuInfo, bool)| {
        let [major, minor] = gpu.compute_capability;
        let (sms, memory) = (gpu.sms, gib(gpu.memory));
        let detail = format!("{}, compute capability {major}.{minor}, {sms} SMs, {memory}", gpu.name);
        DeviceReport::new(format!("cuda:{}", gpu.index), usable, detail)
    };
    cuda.gpus.iter().zip(usable).map(report).collect()
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    found.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    if std::arch::is_aarch64_feature_detected!("neon") { vec!["neon"] } else { vec![] }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    vec![]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), gib);
        let simd = if self.simd.is_empty() { "none found".to_owned() } else { self.simd.join(", ") };
        writeln!(f, "rewarm {} on {} {}", self.version, self.os, self.arch)?;
        writeln!(f, "commit   {}", self.commit.unwrap_or("unknown"))?;
        writeln!(f, "cores    {}", self.cores)?;
        writeln!(f, "simd     {simd}")?;
        writeln!(
            f,
            "memory   {} total, {} available",
            memory(self.memory_total),
            memory(self.memory_available)
        )?;
        let DriverState { driver, driver_version, cublaslt, toolkit, architectures, problems, .. } =
            &self.cuda;
        if let (Some(library), Some(version)) = (driver, driver_version) {
            writeln!(f, "cuda     driver for CUDA {version} ({library})")?;
        }
        if let Some(cublaslt) = cublaslt {
            writeln!(f, "cuda     cuBLASLt {cublaslt}")?;
        }
        if let Some(toolkit) = toolkit {
            writeln!(f, "cuda     kernels by nvcc {toolkit}: {}", architectures.join(", "))?;
        }
        for device in &self.devices {
            let state = if device.available { "available" } else { "unavailable" };
            writeln!(f, "device   {}: {state} ({})", device.name, device.detail)?;
        }
        problems.iter().try_for_each(|problem| writeln!(f, "cuda     {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_the_cpu_and_what_is_missing() {
        let report = Report::detect();
        let text = report.to_string();
        assert!(text.contains("cpu: available") && text.contains("device   cuda"), "{text}");
        assert!(report.cuda.problems.iter().all(|problem| text.contains(problem)), "{text}");
        assert_eq!(serde_json::to_value(&report).unwrap()["devices"][0]["available"], true);
    }
}
