//! Fat binaries loaded into a context, and their kernels by name.
use super::api::Driver;
use crate::device::Kernel;
use crate::{Error, Result};
use cudarc::driver::sys::CUfunction_attribute::*;
use cudarc::driver::sys::{CUfunction, CUmodule};
use std::ffi::CString;
use std::ptr::null_mut;
use std::sync::Mutex;

/// More arguments than any kernel has.
const MOST_ARGUMENTS: usize = 64;
/// `CUDA_ERROR_INVALID_VALUE`: no such argument.
const INVALID_VALUE: u32 = 1;
/// `CUDA_ERROR_NOT_FOUND`: no such kernel in this module.
const NOT_FOUND: u32 = 500;
/// Without asking for more, a block can have this much shared memory.
const SHARED_DEFAULT: usize = 48 << 10;

/// A kernel that has been looked up.
pub struct Function {
    /// What launches return to.
    pub kernel: Kernel,
    /// The driver's.
    pub handle: CUfunction,
    /// Dynamic shared memory that a block may have so far.
    shared: usize,
}

/// The loaded fat binaries.
#[derive(Default)]
pub struct Kernels {
    modules: Vec<CUmodule>,
    functions: Vec<Function>,
}

impl Kernels {
    /// Loads all of them into the current context.
    pub fn load(&mut self, driver: &Driver, fatbins: &[(&str, &[u8])]) -> Result<(), String> {
        for (name, bytes) in fatbins.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            // The header of a fat binary holds 64-bit numbers; zeros behind it end what would be PTX.
            let mut image = vec![0u64; bytes.len() / 8 + 1];
            bytemuck::cast_slice_mut(&mut image)[..bytes.len()].copy_from_slice(bytes);
            let mut module = null_mut();
            // SAFETY: a context is current; the driver copies the image, which is complete.
            let code = unsafe { (driver.cuModuleLoadData)(&mut module, image.as_ptr().cast()) };
            driver.check(&format!("kernels/{name}.cu: cuModuleLoadData"), code)?;
            self.modules.push(module);
        }
        Ok(())
    }

    /// Looks a kernel up, once; its functions are loaded here, not at the first launch.
    pub fn resolve(&mut self, driver: &Driver, name: &str) -> Result<Kernel> {
        if let Some(known) = self.functions.iter().find(|f| f.kernel.name == name) {
            return Ok(known.kernel);
        }
        let unknown = || Error::refused(format!("no kernel {name} among those of this build"));
        let c_name = CString::new(name).map_err(|_| unknown())?;
        let failed = |why| Error::failed(format!("{name}: {why}"));
        for &module in &self.modules {
            let mut handle = null_mut();
            // SAFETY: the module is loaded and its context current; the name ends with a zero.
            match unsafe { (driver.cuModuleGetFunction)(&mut handle, module, c_name.as_ptr()) } {
                NOT_FOUND => continue,
                code => driver.check("cuModuleGetFunction", code).map_err(failed)?,
            }
            let mut threads = 0;
            // SAFETY: the function is one of the current context; one value is written.
            let code = unsafe {
                (driver.cuFuncGetAttribute)(&mut threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, handle)
            };
            driver.check("cuFuncGetAttribute", code).map_err(failed)?;
            let sizes = argument_sizes(driver, handle).map_err(failed)?;
            let (name, sizes) = keep(name, &sizes);
            let kernel = Kernel {
                name,
                threads_max: threads.max(0) as u32,
                sizes,
                kinds: &[Kernel::ANY_KIND; MOST_ARGUMENTS][..sizes.len()],
                entry: self.functions.len(),
            };
            self.functions.push(Function { kernel, handle, shared: SHARED_DEFAULT });
            return Ok(kernel);
        }
        Err(unknown())
    }

    /// The function behind a kernel, allowed this much dynamic shared memory.
    pub fn prepare(&mut self, driver: &Driver, kernel: &Kernel, shared: usize) -> Result<CUfunction> {
        let known = self.functions.get_mut(kernel.entry).filter(|f| f.kernel.name == kernel.name);
        let function =
            known.ok_or_else(|| Error::refused(format!("{}: a kernel of another device", kernel.name)))?;
        if shared > function.shared {
            // SAFETY: the function is one of the current context.
            let code = unsafe {
                (driver.cuFuncSetAttribute)(
                    function.handle,
                    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared as i32,
                )
            };
            let call = format!("{}: cuFuncSetAttribute of {shared} bytes of shared memory", kernel.name);
            driver.check(&call, code).map_err(Error::failed)?;
            function.shared = shared;
        }
        Ok(function.handle)
    }

    /// Unloads everything.
    pub fn unload(&mut self, driver: &Driver) {
        self.functions.clear();
        for module in self.modules.drain(..) {
            // SAFETY: loaded once, its functions are gone, and nothing runs any more.
            unsafe { (driver.cuModuleUnload)(module) };
        }
    }
}

/// Bytes of every argument.
fn argument_sizes(driver: &Driver, function: CUfunction) -> Result<Vec<u8>, String> {
    let mut sizes = Vec::new();
    loop {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the function is one of the current context; two values are written.
        match unsafe { (driver.cuFuncGetParamInfo)(function, sizes.len(), &mut offset, &mut size) } {
            INVALID_VALUE => return Ok(sizes),
            code => driver.check("cuFuncGetParamInfo", code)?,
        }
        sizes.push(u8::try_from(size).map_err(|_| format!("an argument of {size} bytes, 255 at most"))?);
        if sizes.len() > MOST_ARGUMENTS {
            return Err(format!("more than {MOST_ARGUMENTS} arguments"));
        }
    }
}

/// Names and sizes outlive every device; a kernel's are stored once in the life of a process.
fn keep(name: &str, sizes: &[u8]) -> (&'static str, &'static [u8]) {
    static KEPT: Mutex<Vec<(&'static str, &'static [u8])>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(known) = kept.iter().find(|known| **known == (name, sizes)) {
        return *known;
    }
    let (name, sizes): (&str, &[u8]) = (name.to_owned().leak(), sizes.to_owned().leak());
    kept.push((name, sizes));
    (name, sizes)
}
