//! The functions of the CUDA driver and of cuBLASLt, found by name when first needed. Names, types and values are
//! cudarc's; its own loader is not used, for it panics where a library or a function is missing, and an error
//! code that it does not know would not be a value of its enumeration.
use cudarc::cublaslt::sys as blas;
use cudarc::driver::sys as cu;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

/// A table of functions, each compared at compile time with cudarc's signature; results are plain numbers.
macro_rules! api {
    ($(#[$doc:meta])* $table:ident, $sys:ident, $status:ident:
     { $($name:ident ($($arg:ty),*) $(or $old:literal)?;)* }
     unchecked { $($free:ident ($($free_arg:ty),*) -> $ret:ty;)* }) => {
        $(#[$doc])*
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> u32,)*
            $(pub $free: unsafe extern "C" fn($($free_arg),*) -> $ret,)*
            /// Name of the library that was opened, such as `libcublasLt.so.13`.
            pub library: String,
        }

        $(const _: unsafe fn($($arg),*) -> $sys::$status = $sys::$name;)*

        impl $table {
            /// Looks every function up; those that are missing otherwise.
            fn find(library: &Library, opened: &str) -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                // SAFETY: the types are those of NVIDIA's headers, by way of cudarc; an enumeration that is
                // returned is a 32-bit number. The pointers stay valid, for libraries are never closed.
                unsafe {
                    $(let $name = symbol(library, &[stringify!($name) $(, $old)?], &mut missing);)*
                    $(let $free = symbol(library, &[stringify!($free)], &mut missing);)*
                    match ($($name,)* $($free,)*) {
                        _ if !missing.is_empty() => Err(missing),
                        _ => Ok(Self {
                            $($name: $name.expect("found"),)*
                            $($free: $free.expect("found"),)*
                            library: opened.to_owned(),
                        }),
                    }
                }
            }
        }
    };
}

/// A function under the first of its names that the library has.
///
/// # Safety
/// `F` is the type of the function.
unsafe fn symbol<F: Copy>(
    library: &Library,
    names: &[&'static str],
    missing: &mut Vec<&'static str>,
) -> Option<F> {
    // SAFETY: the caller's.
    let found = names.iter().find_map(|name| unsafe { library.get::<F>(*name).ok() }.map(|f| *f));
    if found.is_none() {
        missing.push(names[0]);
    }
    found
}

api! {
    /// The driver, of CUDA 12.4 or later.
    Driver, cu, CUresult: {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut cu::CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, cu::CUdevice);
    cuDeviceGetAttribute(*mut c_int, cu::CUdevice_attribute, cu::CUdevice);
    cuDeviceTotalMem_v2(*mut usize, cu::CUdevice);
    cuDevicePrimaryCtxRetain(*mut cu::CUcontext, cu::CUdevice);
    cuDevicePrimaryCtxRelease_v2(cu::CUdevice);
    cuCtxSetCurrent(cu::CUcontext);
    cuCtxSynchronize();
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemAlloc_v2(*mut cu::CUdeviceptr, usize);
    cuMemFree_v2(cu::CUdeviceptr);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuMemsetD8_v2(cu::CUdeviceptr, c_uchar, usize);
    cuMemsetD8Async(cu::CUdeviceptr, c_uchar, usize, cu::CUstream);
    cuMemcpyDtoH_v2(*mut c_void, cu::CUdeviceptr, usize);
    cuMemcpyHtoDAsync_v2(cu::CUdeviceptr, *const c_void, usize, cu::CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, cu::CUdeviceptr, usize, cu::CUstream);
    cuMemcpy2DAsync_v2(*const cu::CUDA_MEMCPY2D, cu::CUstream);
    cuMemcpyDtoDAsync_v2(cu::CUdeviceptr, cu::CUdeviceptr, usize, cu::CUstream);
    cuStreamCreate(*mut cu::CUstream, c_uint);
    cuStreamDestroy_v2(cu::CUstream);
    cuStreamSynchronize(cu::CUstream);
    cuStreamWaitEvent(cu::CUstream, cu::CUevent, c_uint);
    cuStreamBeginCapture_v2(cu::CUstream, cu::CUstreamCaptureMode);
    cuStreamEndCapture(cu::CUstream, *mut cu::CUgraph);
    cuEventCreate(*mut cu::CUevent, c_uint);
    cuEventDestroy_v2(cu::CUevent);
    cuEventRecord(cu::CUevent, cu::CUstream);
    cuEventSynchronize(cu::CUevent);
    cuEventElapsedTime_v2(*mut f32, cu::CUevent, cu::CUevent) or "cuEventElapsedTime";
    cuGraphInstantiateWithFlags(*mut cu::CUgraphExec, cu::CUgraph, c_ulonglong);
    cuGraphLaunch(cu::CUgraphExec, cu::CUstream);
    cuGraphDestroy(cu::CUgraph);
    cuGraphExecDestroy(cu::CUgraphExec);
    cuModuleLoadData(*mut cu::CUmodule, *const c_void);
    cuModuleUnload(cu::CUmodule);
    cuModuleGetFunctionCount(*mut c_uint, cu::CUmodule);
    cuModuleEnumerateFunctions(*mut cu::CUfunction, c_uint, cu::CUmodule);
    cuFuncGetName(*mut *const c_char, cu::CUfunction);
    cuFuncLoad(cu::CUfunction);
    cuFuncGetAttribute(*mut c_int, cu::CUfunction_attribute, cu::CUfunction);
    cuFuncSetAttribute(cu::CUfunction, cu::CUfunction_attribute, c_int);
    cuFuncGetParamInfo(cu::CUfunction, usize, *mut usize, *mut usize);
    cuLaunchKernel(
        cu::CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, cu::CUstream,
        *mut *mut c_void, *mut *mut c_void
    );
    }
    unchecked {
    cuGetErrorName(u32, *mut *const c_char) -> u32;
    cuGetErrorString(u32, *mut *const c_char) -> u32;
    }
}

api! {
    /// cuBLASLt of CUDA 12 or later.
    Blas, blas, cublasStatus_t: {
    cublasLtCreate(*mut blas::cublasLtHandle_t);
    cublasLtDestroy(blas::cublasLtHandle_t);
    cublasLtMatmulDescCreate(*mut blas::cublasLtMatmulDesc_t, blas::cublasComputeType_t, blas::cudaDataType_t);
    cublasLtMatmulDescDestroy(blas::cublasLtMatmulDesc_t);
    cublasLtMatmulDescSetAttribute(
        blas::cublasLtMatmulDesc_t, blas::cublasLtMatmulDescAttributes_t, *const c_void, usize
    );
    cublasLtMatrixLayoutCreate(*mut blas::cublasLtMatrixLayout_t, blas::cudaDataType_t, u64, u64, i64);
    cublasLtMatrixLayoutDestroy(blas::cublasLtMatrixLayout_t);
    cublasLtMatmulPreferenceCreate(*mut blas::cublasLtMatmulPreference_t);
    cublasLtMatmulPreferenceDestroy(blas::cublasLtMatmulPreference_t);
    cublasLtMatmulPreferenceSetAttribute(
        blas::cublasLtMatmulPreference_t, blas::cublasLtMatmulPreferenceAttributes_t, *const c_void, usize
    );
    cublasLtMatmulAlgoGetHeuristic(
        blas::cublasLtHandle_t, blas::cublasLtMatmulDesc_t, blas::cublasLtMatrixLayout_t,
        blas::cublasLtMatrixLayout_t, blas::cublasLtMatrixLayout_t, blas::cublasLtMatrixLayout_t,
        blas::cublasLtMatmulPreference_t, c_int, *mut blas::cublasLtMatmulHeuristicResult_t, *mut c_int
    );
    cublasLtMatmulAlgoCheck(
        blas::cublasLtHandle_t, blas::cublasLtMatmulDesc_t, blas::cublasLtMatrixLayout_t,
        blas::cublasLtMatrixLayout_t, blas::cublasLtMatrixLayout_t, blas::cublasLtMatrixLayout_t,
        *const blas::cublasLtMatmulAlgo_t, *mut blas::cublasLtMatmulHeuristicResult_t
    );
    cublasLtMatmul(
        blas::cublasLtHandle_t, blas::cublasLtMatmulDesc_t, *const c_void, *const c_void,
        blas::cublasLtMatrixLayout_t, *const c_void, blas::cublasLtMatrixLayout_t, *const c_void, *const c_void,
        blas::cublasLtMatrixLayout_t, *mut c_void, blas::cublasLtMatrixLayout_t,
        *const blas::cublasLtMatmulAlgo_t, *mut c_void, usize, blas::cudaStream_t
    );
    }
    unchecked {
    cublasLtGetVersion() -> usize;
    }
}

/// The driver library of this process, or why there is none. Opened once and never closed.
pub fn driver() -> Result<&'static Driver, &'static str> {
    static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
    let names = ["libcuda.so.1", "libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1"].map(str::to_owned);
    let found = DRIVER.get_or_init(|| open(&names, Driver::find));
    found.as_ref().map_err(String::as_str)
}

/// cuBLASLt, no newer than `driver` (1000 × major + 10 × minor of CUDA). Opened once and never closed.
pub fn blas(driver: i32) -> Result<&'static Blas, &'static str> {
    static BLAS: OnceLock<Result<Blas, String>> = OnceLock::new();
    let found = BLAS.get_or_init(|| {
        let home = std::env::var("CUDA_HOME").unwrap_or_else(|_| "/usr/local/cuda".into());
        let majors = (12..=(driver / 1000).clamp(12, 99)).rev();
        let names: Vec<_> = majors.map(|major| format!("libcublasLt.so.{major}")).collect();
        let there = names.iter().map(|name| format!("{home}/lib64/{name}"));
        open(&names.iter().cloned().chain(there).collect::<Vec<_>>(), Blas::find)
    });
    found.as_ref().map_err(String::as_str)
}

/// The first of these libraries that can be opened.
fn open<T>(
    names: &[String],
    find: impl Fn(&Library, &str) -> Result<T, Vec<&'static str>>,
) -> Result<T, String> {
    let mut why = Vec::new();
    for name in names {
        // SAFETY: NVIDIA's libraries may be loaded at any time, by any thread.
        match unsafe { Library::new(name) } {
            Ok(library) => {
                let found = find(&library, name).map_err(|missing| {
                    let more = if missing.len() > 3 { ", …" } else { "" };
                    let (all, some) = (missing.len(), missing[..missing.len().min(3)].join(", "));
                    format!("{name} lacks {all} of the functions that are needed ({some}{more})")
                });
                std::mem::forget(library); // it has threads of its own, and statics that point into it
                return found;
            }
            Err(e) => why.push(reason(name, &e)),
        }
    }
    let absent = |(name, why): (&String, &String)| *why == format!("{name}: {ABSENT}");
    let all_absent = names.iter().zip(&why).all(absent);
    Err(if all_absent { format!("looked for {}", names.join(", ")) } else { why.join("; ") })
}

const ABSENT: &str = "cannot open shared object file: No such file or directory";

/// What the system's loader says.
fn reason(name: &str, error: &libloading::Error) -> String {
    let source = std::error::Error::source(error).map(|source| source.to_string());
    let text = source.unwrap_or_else(|| error.to_string());
    if text.starts_with(name) { text } else { format!("{name}: {text}") }
}

impl Driver {
    /// `CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)`.
    pub fn describe(&self, code: u32) -> String {
        let text = |get: unsafe extern "C" fn(u32, *mut *const c_char) -> u32| {
            let mut text = std::ptr::null();
            // SAFETY: it sets the pointer to a static string, or to null where it does not know the code.
            unsafe {
                (get(code, &mut text) == 0 && !text.is_null())
                    .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let name = text(self.cuGetErrorName).unwrap_or_else(|| format!("CUDA error {code}"));
        text(self.cuGetErrorString).map_or_else(|| name.clone(), |meaning| format!("{name} ({meaning})"))
    }

    /// The error of a call.
    pub fn check(&self, call: &str, code: u32) -> Result<(), String> {
        if code == 0 { Ok(()) } else { Err(format!("{call}: {}", self.describe(code))) }
    }
}

impl Blas {
    /// The error of a call.
    pub fn check(&self, call: &str, status: u32) -> Result<(), String> {
        use blas::cublasStatus_t::*;
        let known = [
            CUBLAS_STATUS_NOT_INITIALIZED,
            CUBLAS_STATUS_ALLOC_FAILED,
            CUBLAS_STATUS_INVALID_VALUE,
            CUBLAS_STATUS_ARCH_MISMATCH,
            CUBLAS_STATUS_MAPPING_ERROR,
            CUBLAS_STATUS_EXECUTION_FAILED,
            CUBLAS_STATUS_INTERNAL_ERROR,
            CUBLAS_STATUS_NOT_SUPPORTED,
            CUBLAS_STATUS_LICENSE_ERROR,
        ];
        match known.iter().find(|s| **s as u32 == status) {
            _ if status == 0 => Ok(()),
            Some(name) => Err(format!("{call}: {name:?}")),
            None => Err(format!("{call}: cuBLAS status {status}")),
        }
    }

    /// cuBLASLt's version in digits: 13.0.2 from 130002.
    pub fn version(&self) -> String {
        // SAFETY: it takes nothing and returns a constant.
        let v = unsafe { (self.cublasLtGetVersion)() };
        format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100)
    }
}
