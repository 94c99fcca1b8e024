//! Fat binaries loaded into a context, and their kernels by name.
use super::api::Driver;
use crate::device::Kernel;
use crate::{Error, Result};
use cudarc::driver::sys::CUfunction_attribute::*;
use cudarc::driver::sys::{CUfunction, CUmodule};
use std::collections::HashMap;
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};
use std::sync::Mutex;

/// More arguments than any kernel has.
const MOST_ARGUMENTS: usize = 64;
/// `CUDA_ERROR_INVALID_VALUE`: no such argument.
const INVALID_VALUE: u32 = 1;
/// Without asking for more, a block can have this much shared memory.
const SHARED_DEFAULT: usize = 48 << 10;
/// From here on a kernel keeps tiles in shared memory: several of its blocks fit into an SM only where that gives the
/// kernel as much of its memory as it can, and tiles are copied past the L1 cache that is left.
const SHARED_TILES: usize = 24 << 10;

/// A kernel that has been looked up.
pub struct Function {
    /// What launches return to.
    pub kernel: Kernel,
    /// The driver's handle of the function.
    pub handle: CUfunction,
    /// Dynamic shared memory that a block may have so far.
    shared: usize,
    /// Whether it has asked for an SM that gives shared memory as much as it can.
    tiles: bool,
}

/// The loaded fat binaries, until this is dropped: by then nothing runs any more, and their context is current.
pub struct Kernels {
    driver: &'static Driver,
    modules: Vec<CUmodule>,
    /// Every kernel in them. A lookup by name would be an error of the driver in all modules but one, and
    /// compute-sanitizer reports errors.
    there: HashMap<String, CUfunction>,
    functions: Vec<Function>,
}

impl Kernels {
    /// Loads all of them into the current context.
    pub fn load(driver: &'static Driver, fatbins: &[(&str, &[u8])]) -> Result<Self, String> {
        let mut this = Self { driver, modules: Vec::new(), there: HashMap::new(), functions: Vec::new() };
        for (name, bytes) in fatbins.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            // The header of a fat binary holds 64-bit numbers; zeros behind it end what would be PTX.
            let mut image = vec![0u64; bytes.len() / 8 + 1];
            bytemuck::cast_slice_mut(&mut image)[..bytes.len()].copy_from_slice(bytes);
            let mut module = null_mut();
            // SAFETY: a context is current; the driver copies the image, which is complete.
            let code = unsafe { (driver.cuModuleLoadData)(&mut module, image.as_ptr().cast()) };
            driver.check(&format!("kernels/{name}.cu: cuModuleLoadData"), code)?;
            this.modules.push(module);
            this.enumerate(module).map_err(|why| format!("kernels/{name}.cu: {why}"))?;
        }
        Ok(this)
    }

    fn enumerate(&mut self, module: CUmodule) -> Result<(), String> {
        let driver = self.driver;
        let mut count = 0;
        // SAFETY: the module is loaded and its context current; one value is written.
        let code = unsafe { (driver.cuModuleGetFunctionCount)(&mut count, module) };
        driver.check("cuModuleGetFunctionCount", code)?;
        let mut handles = vec![null_mut(); count as usize];
        // SAFETY: as many values are written as there is room for.
        let code = unsafe { (driver.cuModuleEnumerateFunctions)(handles.as_mut_ptr(), count, module) };
        driver.check("cuModuleEnumerateFunctions", code)?;
        for handle in handles {
            let mut name: *const c_char = null();
            // SAFETY: a function of the current context; one value is written.
            driver.check("cuFuncGetName", unsafe { (driver.cuFuncGetName)(&mut name, handle) })?;
            // SAFETY: the driver's string, which lives as long as the module.
            let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
            self.there.insert(name, handle);
        }
        Ok(())
    }

    /// Looks a kernel up, once; it is loaded here, not at the first launch, which may be one that is captured.
    pub fn resolve(&mut self, name: &str) -> Result<Kernel> {
        let driver = self.driver;
        if let Some(known) = self.functions.iter().find(|f| f.kernel.name == name) {
            return Ok(known.kernel);
        }
        let unknown = || Error::refused(format!("no kernel {name} among those of this build"));
        let &handle = self.there.get(name).ok_or_else(unknown)?;
        let failed = |why| Error::failed(format!("{name}: {why}"));
        // SAFETY: the function is one of the current context.
        driver.check("cuFuncLoad", unsafe { (driver.cuFuncLoad)(handle) }).map_err(failed)?;
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
        self.functions.push(Function { kernel, handle, shared: SHARED_DEFAULT, tiles: false });
        Ok(kernel)
    }

    /// The function behind a kernel, allowed this much dynamic shared memory.
    pub fn prepare(&mut self, kernel: &Kernel, shared: usize) -> Result<CUfunction> {
        let driver = self.driver;
        let known = self.functions.get_mut(kernel.entry).filter(|f| f.kernel.name == kernel.name);
        let function =
            known.ok_or_else(|| Error::refused(format!("{}: a kernel of another device", kernel.name)))?;
        let set = |attribute, value: i32, what: &str| {
            // SAFETY: the function is one of the current context.
            let code = unsafe { (driver.cuFuncSetAttribute)(function.handle, attribute, value) };
            let call = format!("{}: cuFuncSetAttribute of {value} {what} of shared memory", kernel.name);
            driver.check(&call, code).map_err(Error::failed)
        };
        if shared > function.shared {
            set(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared as i32, "bytes")?;
            function.shared = shared;
        }
        if shared >= SHARED_TILES && !function.tiles {
            set(CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100, "percent")?;
            function.tiles = true;
        }
        Ok(function.handle)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        for module in self.modules.drain(..) {
            // SAFETY: loaded once, its functions go with this value, and nothing runs any more.
            unsafe { (self.driver.cuModuleUnload)(module) };
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
