//! GPUs by name: peaks, memory and bandwidth, each with its source. A GPU that is not here has no MFU: nothing is
//! guessed.
use crate::{Error, Result};

/// What NVIDIA states of a GPU.
#[derive(Debug, PartialEq)]
pub struct GpuSpec {
    /// Name on our command line.
    pub name: &'static str,
    /// Names by which the CUDA driver calls it, whole.
    pub device_names: &'static [&'static str],
    /// Peak of bf16 products with f32 sums, 10¹² FLOP/s, dense: data sheets print twice as much, for sparse matrices.
    pub bf16_tflops: f64,
    /// Compute capability, major and minor.
    pub capability: [u8; 2],
    /// Number of streaming multiprocessors.
    pub sms: usize,
    /// Memory, GiB, as CUDA reports it: less than the name on the box.
    pub memory_gib: f64,
    /// Memory bandwidth of the data sheet, 10⁹ bytes/s.
    pub bandwidth_gbs: f64,
    /// The most that matrix products were measured at, 10¹² FLOP/s.
    pub measured_tflops: Option<f64>,
    /// The most that a copy was measured at, bytes read and written, 10⁹ bytes/s.
    pub measured_gbs: Option<f64>,
    /// Where the figures are from.
    pub source: &'static str,
}

/// Every GPU whose figures we could find in print. `torch` in a source: the "total capacity" in PyTorch's
/// out-of-memory messages of that GPU; `torchtitan`: its torchtitan/tools/utils.py; `llmq`: its src/utilities/sol.cpp;
/// MAMF: the largest rates found by stas00/ml-engineering.
pub const GPUS: &[GpuSpec] = &[
    GpuSpec {
        name: "h200",
        device_names: &["NVIDIA H200"],
        bf16_tflops: 989.0,
        capability: [9, 0],
        sms: 132,
        memory_gib: 139.8,
        bandwidth_gbs: 4800.0,
        measured_tflops: Some(790.0),
        measured_gbs: Some(4300.0),
        source: "NVIDIA H200 data sheet (1979 sparse, 141 GB, 4.8 TB/s); memory torch; ceilings: MAMF (the H100's), and a \
                 copy's 4.3 TB/s",
    },
    GpuSpec {
        name: "h100-sxm",
        device_names: &["NVIDIA H100 80GB HBM3"],
        bf16_tflops: 989.0,
        capability: [9, 0],
        sms: 132,
        memory_gib: 79.18,
        bandwidth_gbs: 3350.0,
        measured_tflops: Some(794.5),
        measured_gbs: None,
        source: "NVIDIA H100 data sheet (1979 sparse, 3.35 TB/s); memory torch; measured MAMF",
    },
    GpuSpec {
        name: "h100-nvl",
        device_names: &["NVIDIA H100 NVL"],
        bf16_tflops: 835.0,
        capability: [9, 0],
        sms: 132,
        memory_gib: 93.0,
        bandwidth_gbs: 3900.0,
        measured_tflops: None,
        measured_gbs: None,
        source: "NVIDIA H100 data sheet by torchtitan (835 dense), 3.9 TB/s; memory torch (ali-vilab/VACE #56)",
    },
    GpuSpec {
        name: "h100-pcie",
        device_names: &["NVIDIA H100 PCIe"],
        bf16_tflops: 756.0,
        capability: [9, 0],
        sms: 114,
        memory_gib: 79.1,
        bandwidth_gbs: 2000.0,
        measured_tflops: None,
        measured_gbs: None,
        source: "NVIDIA H100 data sheet (1513 sparse), product brief PB-11133-001 (2 TB/s); memory torch",
    },
    GpuSpec {
        name: "a100-80gb",
        device_names: &["NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe", "NVIDIA A100-PCIE-80GB"],
        bf16_tflops: 312.0,
        capability: [8, 0],
        sms: 108,
        memory_gib: 79.15,
        bandwidth_gbs: 1935.0,
        measured_tflops: Some(271.0),
        measured_gbs: None,
        source: "NVIDIA A100 data sheet (312 dense; 1.935 TB/s is the PCIe card's, SXM has 2.039); memory torch; measured \
                 MAMF",
    },
    GpuSpec {
        name: "a100-40gb",
        device_names: &["NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"],
        bf16_tflops: 312.0,
        capability: [8, 0],
        sms: 108,
        memory_gib: 39.39,
        bandwidth_gbs: 1555.0,
        measured_tflops: Some(271.0),
        measured_gbs: None,
        source: "NVIDIA A100 data sheet (312 dense, 1.555 TB/s); memory torch; measured MAMF",
    },
    GpuSpec {
        name: "b200",
        device_names: &["NVIDIA B200"],
        bf16_tflops: 2250.0,
        capability: [10, 0],
        sms: 148,
        memory_gib: 178.35,
        bandwidth_gbs: 7700.0,
        measured_tflops: None,
        measured_gbs: None,
        source: "NVIDIA HGX B200 data sheet (4.5 PF sparse, 180 GB, 7.7 TB/s); memory torch",
    },
    GpuSpec {
        name: "l40s",
        device_names: &["NVIDIA L40S"],
        bf16_tflops: 362.0,
        capability: [8, 9],
        sms: 142,
        memory_gib: 44.39,
        bandwidth_gbs: 864.0,
        measured_tflops: Some(230.0),
        measured_gbs: None,
        source: "NVIDIA L40S data sheet (362 dense, 864 GB/s); memory torch; measured by llmq (product of 32k x 32k)",
    },
    GpuSpec {
        name: "rtx-4090",
        device_names: &["NVIDIA GeForce RTX 4090"],
        bf16_tflops: 165.2,
        capability: [8, 9],
        sms: 128,
        memory_gib: 23.52,
        bandwidth_gbs: 1008.0,
        measured_tflops: None,
        measured_gbs: None,
        source: "NVIDIA Ada architecture white paper by llmq (f32 sums, dense), 1008 GB/s; memory torch",
    },
    GpuSpec {
        name: "rtx-3090",
        device_names: &["NVIDIA GeForce RTX 3090"],
        bf16_tflops: 71.0,
        capability: [8, 6],
        sms: 82,
        memory_gib: 23.56,
        bandwidth_gbs: 936.0,
        measured_tflops: None,
        measured_gbs: None,
        source: "NVIDIA GA102 architecture white paper by llmq (f32 sums, dense), 936 GB/s; memory torch",
    },
];

impl GpuSpec {
    /// Bytes of its memory.
    pub fn memory_bytes(&self) -> u64 {
        (self.memory_gib * (1u64 << 30) as f64) as u64
    }
}

/// The GPU that the CUDA driver calls by this name; `None` where it is not in the table, a slice of one included.
pub fn of_device(name: &str) -> Option<&'static GpuSpec> {
    GPUS.iter().find(|gpu| gpu.device_names.contains(&name.trim()))
}

/// The GPU that a person calls by this name: ours, or the driver's. Refused with the nearest known one.
pub fn find(name: &str) -> Result<&'static GpuSpec> {
    let plain = |text: &str| {
        text.to_lowercase().replace([' ', '_', '-'], "").replace("nvidia", "").replace("geforce", "")
    };
    let wanted = plain(name);
    let known = |gpu: &GpuSpec| {
        plain(gpu.name) == wanted || gpu.device_names.iter().any(|device| plain(device) == wanted)
    };
    GPUS.iter().find(|gpu| known(gpu)).ok_or_else(|| {
        let near = |gpu: &&GpuSpec| strsim::jaro_winkler(&plain(gpu.name), &wanted);
        let nearest = GPUS.iter().max_by(|a, b| near(a).total_cmp(&near(b))).map_or("", |gpu| gpu.name);
        let names: Vec<_> = GPUS.iter().map(|gpu| gpu.name).collect();
        Error::refused(format!(
            "--gpu {name} is not in the table; nearest is {nearest}, known are {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_found_by_whole_names_only() {
        assert_eq!(of_device("NVIDIA H200").unwrap().bf16_tflops, 989.0);
        assert_eq!(of_device("NVIDIA H100 80GB HBM3").unwrap().name, "h100-sxm");
        for other in
            ["NVIDIA H200 NVL", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 3090 Ti", ""]
        {
            assert_eq!(of_device(other), None, "{other}");
        }
    }

    #[test]
    fn people_may_write_names_as_they_like_and_mistakes_name_the_nearest() {
        for name in ["h200", "H200", "NVIDIA H200"] {
            assert_eq!(find(name).unwrap().name, "h200");
        }
        assert_eq!(find("RTX 4090").unwrap().name, "rtx-4090");
        assert_eq!(find("a100_80gb").unwrap().name, "a100-80gb");
        let message = find("h20").unwrap_err().to_string();
        assert!(message.contains("nearest is h200") && message.contains("rtx-3090"), "{message}");
    }

    /// Sparse peaks are twice the dense ones: a figure from the wrong column would show here.
    #[test]
    fn what_was_measured_is_below_the_peak_and_not_below_half_of_it() {
        for gpu in GPUS {
            let share = gpu.measured_tflops.map_or(0.8, |m| m / gpu.bf16_tflops);
            assert!(share > 0.5 && share < 1.0, "{}: {share}", gpu.name);
            assert!(gpu.measured_gbs.is_none_or(|m| m < gpu.bandwidth_gbs), "{}", gpu.name);
        }
    }
}
