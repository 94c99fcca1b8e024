//! What there is of CUDA on this machine and in this build, and what to do about what is missing.
use super::api::{self, Driver};
use crate::device::FATBINS;
use cudarc::driver::sys::CUdevice_attribute::{self, *};
use serde::Serialize;
use std::ffi::{CStr, c_char};

/// A GPU, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuInfo {
    /// The `N` of `cuda:N`.
    pub index: usize,
    /// The driver's name for it, such as `NVIDIA H200`.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: [i32; 2],
    /// Number of streaming multiprocessors.
    pub sms: i32,
    /// Bytes of its memory.
    pub memory: u64,
    /// Bytes of shared memory that a block can have.
    pub shared_bytes: usize,
}

/// A report for `rewarm doctor`; everything that [`super::Cuda::open`] would stumble over is in `problems`.
#[derive(Clone, Debug, Serialize)]
pub struct DriverState {
    /// The driver library that was found.
    pub driver: Option<String>,
    /// The CUDA version it supports.
    pub driver_version: Option<String>,
    /// Every GPU that this process can see.
    pub gpus: Vec<GpuInfo>,
    /// Why each of them cannot run the kernels of this build, where it cannot.
    #[serde(skip)]
    pub unusable: Vec<Option<String>>,
    /// Version of cuBLASLt, and the library.
    pub cublaslt: Option<String>,
    /// The nvcc that compiled the kernels of this build.
    pub toolkit: Option<&'static str>,
    /// What it compiled them for.
    pub architectures: Vec<&'static str>,
    /// What is missing and what to do, a sentence each.
    pub problems: Vec<String>,
}

/// Looks; changes nothing, and does not fail.
pub fn probe() -> DriverState {
    let kernels = Toolkit::of_this_build();
    let mut state = DriverState {
        driver: None,
        driver_version: None,
        gpus: Vec::new(),
        unusable: Vec::new(),
        cublaslt: None,
        toolkit: kernels.version,
        architectures: kernels.architectures.clone(),
        problems: Vec::new(),
    };
    if let Err(why) = state.look(&kernels) {
        state.problems.insert(0, why);
    }
    if FATBINS.iter().all(|(_, bytes)| bytes.is_empty()) {
        state.problems.push(NO_KERNELS.to_owned());
    }
    state
}

impl DriverState {
    /// Step by step, until one fails.
    fn look(&mut self, kernels: &Toolkit) -> Result<(), String> {
        let driver = api::driver().map_err(no_driver)?;
        self.driver = Some(driver.library.clone());
        let version = start(driver)?;
        self.driver_version = Some(dotted(version));
        match api::blas(version) {
            Ok(blas) => self.cublaslt = Some(format!("{} ({})", blas.version(), blas.library)),
            Err(why) => self.problems.push(no_blas(why)),
        }
        self.gpus = gpus(driver)?;
        self.unusable = self.gpus.iter().map(|gpu| gpu.usable(version, kernels).err()).collect();
        self.problems.extend(self.unusable.iter().flatten().cloned());
        Ok(())
    }
}

/// What a build without nvcc says.
pub const NO_KERNELS: &str =
    "this build has no kernels for GPUs: install nvcc 12.4 or later (or run tools/nvcc.sh) and build again";

/// No driver, in one sentence.
pub fn no_driver(why: &str) -> String {
    format!(
        "no CUDA driver ({why}): install NVIDIA's driver for CUDA 12.4 or later; \
         a container needs `--gpus all` or its equivalent"
    )
}

/// No cuBLASLt, in one sentence.
pub fn no_blas(why: &str) -> String {
    format!(
        "no cuBLASLt ({why}): install it (cuda-toolkit, or `pip install nvidia-cublas`) \
         and put its folder into LD_LIBRARY_PATH"
    )
}

/// A version of the driver or runtime in digits: 12.8 from 12080.
pub fn dotted(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Starts the driver of this process; the CUDA version that it supports.
pub fn start(driver: &Driver) -> Result<i32, String> {
    let mut version = 0;
    // SAFETY: plain numbers, one of them returned.
    let (started, asked) = unsafe { ((driver.cuInit)(0), (driver.cuDriverGetVersion)(&mut version)) };
    driver.check("cuInit", started).map_err(|why| match started {
        100 | 101 => format!("no GPU: {why}: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"),
        803 | 804 => format!(
            "{why}: {} and the driver in the kernel are of different versions: restart the machine, \
             or install one driver",
            driver.library
        ),
        _ => format!("the CUDA driver does not start: {why}: does `nvidia-smi` work?"),
    })?;
    driver.check("cuDriverGetVersion", asked)?;
    if version < 12_040 {
        let found = dotted(version);
        return Err(format!(
            "the CUDA driver supports CUDA {found}, 12.4 is needed: install driver 550 or later"
        ));
    }
    Ok(version)
}

/// Every GPU that this process can see.
pub fn gpus(driver: &Driver) -> Result<Vec<GpuInfo>, String> {
    let mut count = 0;
    // SAFETY: the driver has been started; one number is returned.
    driver.check("cuDeviceGetCount", unsafe { (driver.cuDeviceGetCount)(&mut count) })?;
    if count == 0 {
        return Err("no GPU: the CUDA driver sees none: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES".into());
    }
    (0..count).map(|index| gpu(driver, index)).collect()
}

fn gpu(driver: &Driver, index: i32) -> Result<GpuInfo, String> {
    let (mut device, mut memory, mut name) = (0, 0, [0 as c_char; 256]);
    // SAFETY: each call writes one value, or a string of at most the given length.
    unsafe {
        driver.check("cuDeviceGet", (driver.cuDeviceGet)(&mut device, index))?;
        driver.check("cuDeviceTotalMem", (driver.cuDeviceTotalMem_v2)(&mut memory, device))?;
        driver.check("cuDeviceGetName", (driver.cuDeviceGetName)(name.as_mut_ptr(), 255, device))?;
    }
    let attribute = |which: CUdevice_attribute| {
        let mut value = 0;
        // SAFETY: writes one value.
        let code = unsafe { (driver.cuDeviceGetAttribute)(&mut value, which, device) };
        driver.check("cuDeviceGetAttribute", code).map(|()| value)
    };
    let major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let shared = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
    Ok(GpuInfo {
        index: index as usize,
        // SAFETY: the last byte of the array is zero, whatever was written.
        name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
        compute_capability: [major, minor],
        sms: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory: memory as u64,
        shared_bytes: shared.max(0) as usize,
    })
}

/// What compiled the kernels, and for what. Nothing is known of kernels that came from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Toolkit {
    /// Release of nvcc, such as `13.0`; none where there was no nvcc.
    pub version: Option<&'static str>,
    /// What kernels were compiled for, such as `sm_80` and `compute_80`.
    pub architectures: Vec<&'static str>,
}

impl Toolkit {
    /// What build.rs compiled the kernels with.
    pub fn of_this_build() -> Self {
        Self {
            version: option_env!("REWARM_NVCC_VERSION"),
            architectures: option_env!("REWARM_CUDA_ARCHS").unwrap_or_default().split_whitespace().collect(),
        }
    }

    /// As the driver counts: 13000.
    fn number(&self) -> Option<i32> {
        let (major, minor) = self.version?.split_once('.')?;
        Some(major.parse::<i32>().ok()? * 1000 + minor.parse::<i32>().ok()? * 10)
    }
}

impl GpuInfo {
    /// Its name and the driver's, as in `cuda:0 (NVIDIA H200)`.
    pub fn title(&self) -> String {
        format!("cuda:{} ({})", self.index, self.name)
    }

    /// Why it cannot run kernels of this toolkit with a driver of this version, if so. Within a major version a
    /// driver runs the machine code of any toolkit; what it has to compile itself must not be newer than it.
    pub fn usable(&self, driver: i32, toolkit: &Toolkit) -> Result<(), String> {
        let [major, minor] = self.compute_capability;
        if major < 8 {
            let title = self.title();
            return Err(format!(
                "{title} has compute capability {major}.{minor}, 8.0 or later is needed (A100 and newer)"
            ));
        }
        let Some(built) = toolkit.number() else { return Ok(()) };
        let number = |a: &&str| a.strip_prefix("sm_")?.parse::<i32>().ok();
        let mut compiled = toolkit.architectures.iter().filter_map(number);
        let machine_code = compiled.any(|a| a / 10 == major && a % 10 <= minor);
        if built / 1000 > driver / 1000 || (!machine_code && built > driver) {
            let (built, driver) = (dotted(built), dotted(driver));
            return Err(format!(
                "the kernels were compiled by nvcc {built} and the driver supports CUDA {driver}: \
                 install a newer driver, or build with nvcc {driver}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_drivers_and_old_gpus_are_refused() {
        let gpu = |major, minor| GpuInfo {
            index: 0,
            name: "G".into(),
            compute_capability: [major, minor],
            sms: 1,
            memory: 1,
            shared_bytes: 1,
        };
        let toolkit = Toolkit { version: Some("13.1"), architectures: vec!["sm_80", "sm_90", "compute_80"] };
        assert!(gpu(9, 0).usable(13_000, &toolkit).is_ok());
        assert!(gpu(8, 9).usable(13_000, &toolkit).is_ok());
        assert!(gpu(12, 0).usable(13_010, &toolkit).is_ok(), "compiled by the driver");
        assert!(gpu(9, 0).usable(12_080, &toolkit).unwrap_err().contains("nvcc 13.1"));
        assert!(gpu(12, 0).usable(13_000, &toolkit).unwrap_err().contains("CUDA 13.0"));
        assert!(gpu(7, 5).usable(13_010, &toolkit).unwrap_err().contains("7.5"));
        assert!(gpu(9, 0).usable(12_040, &Toolkit::default()).is_ok());
    }
}
