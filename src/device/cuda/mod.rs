//! The `cuda` device: the CUDA driver and cuBLASLt, opened at run time. Where either is missing, opening the
//! device is one error; nothing here needs CUDA to build.
#[allow(non_snake_case, reason = "NVIDIA's names")]
mod api;
mod blas;
mod calls;
mod candidates;
mod checks;
mod context;
mod kernels;
mod probe;
mod product;
mod tune;

use self::api::Driver;
use self::blas::Products;
use self::context::Context;
use self::kernels::Kernels;
use self::probe::Toolkit;
use super::{Arena, Device, Event, FATBINS, Span, Stream};
use crate::{Error, Result};
use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags, CUgraphExec, CUstream};
use std::cell::{OnceCell, RefCell};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

pub use self::probe::{DriverState, GpuInfo, probe};

/// One GPU. Every call makes its context the thread's current one, so a device may move between threads.
pub struct Cuda {
    driver: &'static Driver,
    gpu: GpuInfo,
    /// The first failure; every later call repeats it.
    failure: OnceCell<String>,
    arena: Option<(CUdeviceptr, Arena)>,
    streams: Vec<CUstream>,
    /// And whether they were ever recorded.
    events: Vec<(CUevent, bool)>,
    pinned: Vec<(NonNull<u8>, usize)>,
    /// And the launches of each.
    graphs: Vec<(CUgraphExec, u64)>,
    /// The stream that is being captured, and its launches so far.
    capture: Option<(Stream, u64)>,
    workspace: Span,
    launches: u64,
    /// The kernel or product that was launched last.
    last: String,
    /// Pointers to the arguments of the launch at hand.
    arguments: RefCell<Vec<*mut c_void>>,
    // Dropped last, in this order.
    products: Products,
    kernels: RefCell<Kernels>,
    context: Context,
}

// SAFETY: the driver's handles belong to a context, not to a thread; every call makes that context current first.
// The pointers among the arguments are used within one call. Nothing is shared with other values of this type.
unsafe impl Send for Cuda {}

impl Cuda {
    /// `cuda:index` with the kernels of this build.
    pub fn open(index: usize) -> Result<Box<dyn Device>> {
        if FATBINS.iter().all(|(_, bytes)| bytes.is_empty()) {
            // What the machine lacks comes first: without a GPU a rebuild would not help.
            Self::find(index, &Toolkit::default())?;
            return Err(Error::refused(probe::NO_KERNELS));
        }
        Ok(Box::new(Self::start(index, FATBINS, &Toolkit::of_this_build())?))
    }

    /// `cuda:index` with other kernels: fat binaries, cubins or PTX.
    pub fn with_kernels(index: usize, fatbins: &[(&str, &[u8])]) -> Result<Box<dyn Device>> {
        Ok(Box::new(Self::start(index, fatbins, &Toolkit::default())?))
    }

    /// The GPU, if it can be used, and the driver's version.
    fn find(index: usize, toolkit: &Toolkit) -> Result<(&'static Driver, GpuInfo, i32)> {
        let driver = api::driver().map_err(|why| Error::refused(probe::no_driver(why)))?;
        let version = probe::start(driver).map_err(Error::refused)?;
        let mut gpus = probe::gpus(driver).map_err(Error::refused)?;
        if index >= gpus.len() {
            let there: Vec<_> = gpus.iter().map(GpuInfo::title).collect();
            return Err(Error::refused(format!("no cuda:{index}: there is {}", there.join(", "))));
        }
        let gpu = gpus.swap_remove(index);
        gpu.usable(version, toolkit).map_err(Error::refused)?;
        Ok((driver, gpu, version))
    }

    fn start(index: usize, fatbins: &[(&str, &[u8])], toolkit: &Toolkit) -> Result<Self> {
        let (driver, gpu, version) = Self::find(index, toolkit)?;
        let blas = api::blas(version).map_err(|why| Error::refused(probe::no_blas(why)))?;
        let context = Context::retain(driver, index).map_err(Error::failed)?;
        let kernels = Kernels::load(driver, fatbins).map_err(Error::failed)?;
        let (name, sms, versions) = (&gpu.name, gpu.sms, (blas.version(), probe::dotted(version)));
        let place = format!("{name}, {sms} SMs, cuBLASLt {}, driver {}", versions.0, versions.1);
        let products = Products::new(blas, place).map_err(Error::failed)?;
        Ok(Self {
            driver,
            gpu,
            failure: OnceCell::new(),
            arena: None,
            streams: Vec::new(),
            events: Vec::new(),
            pinned: Vec::new(),
            graphs: Vec::new(),
            capture: None,
            workspace: Span { offset: 0, bytes: 0 },
            launches: 0,
            last: String::new(),
            arguments: RefCell::default(),
            products,
            kernels: RefCell::new(kernels),
            context,
        })
    }

    /// Repeats the first failure, or makes the context current.
    fn enter(&self) -> Result<()> {
        if let Some(first) = self.failure.get() {
            return Err(Error::failed(first));
        }
        self.outcome(self.context.enter())
    }

    /// Like [`Self::enter`], for what cannot happen while work is only noted.
    fn enter_outside_capture(&self, what: &str) -> Result<()> {
        if self.capture.is_some() {
            return Err(Error::refused(format!("{what} during the capture of a graph")));
        }
        self.enter()
    }

    /// Remembers the first failure.
    fn outcome<T>(&self, result: Result<T, String>) -> Result<T> {
        result.map_err(|why| {
            Error::failed(self.failure.get_or_init(|| format!("cuda:{}: {why}", self.gpu.index)))
        })
    }

    /// Remembers it, if it is one.
    fn outcome_of<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(Error::Failed(why)) => self.outcome(Err(why)),
            other => other,
        }
    }

    fn new_event(&mut self, flags: CUevent_flags) -> Result<Event> {
        self.enter_outside_capture("an event was asked for")?;
        let mut event = null_mut();
        // SAFETY: writes one value.
        let code = unsafe { (self.driver.cuEventCreate)(&mut event, flags as u32) };
        self.outcome(self.driver.check("cuEventCreate", code))?;
        self.events.push((event, false));
        Ok(Event(self.events.len() - 1))
    }

    /// Counts one launch, where it happens or is noted.
    fn count(&mut self, launched: &str) {
        launched.clone_into(&mut self.last);
        *self.capture.as_mut().map_or(&mut self.launches, |(_, noted)| noted) += 1;
    }

    /// Device address of part of the arena.
    fn place(&self, span: Span) -> Result<CUdeviceptr> {
        let outside = || Error::refused(format!("{span:?} is outside of the arena"));
        let (base, arena) = self.arena.as_ref().ok_or_else(outside)?;
        let end = span.offset.checked_add(span.bytes).ok_or_else(outside)?;
        if end > arena.bytes() { Err(outside()) } else { Ok(base + span.offset as u64) }
    }
}

impl Drop for Cuda {
    /// Waits for the work at hand, then frees what it used in the reverse of the order in which it was made; products,
    /// kernels and the context go after that. After a failure the driver refuses all of this, and frees it with the process.
    fn drop(&mut self) {
        let driver = self.driver;
        let _ = self.context.enter(); // refused after a failure, like the rest
        // SAFETY: each handle was made by its counterpart and is used here for the last time; nothing runs any
        // more, for the context has been waited for.
        unsafe {
            if let Some((stream, _)) = self.capture {
                let mut graph = null_mut();
                (driver.cuStreamEndCapture)(self.streams[stream.0], &mut graph);
                if !graph.is_null() {
                    (driver.cuGraphDestroy)(graph);
                }
            }
            (driver.cuCtxSynchronize)();
            for (graph, _) in self.graphs.drain(..) {
                (driver.cuGraphExecDestroy)(graph);
            }
            for (event, _) in self.events.drain(..) {
                (driver.cuEventDestroy_v2)(event);
            }
            for stream in self.streams.drain(..) {
                (driver.cuStreamDestroy_v2)(stream);
            }
            for (memory, _) in self.pinned.drain(..) {
                (driver.cuMemFreeHost)(memory.as_ptr().cast());
            }
            if let Some((base, _)) = self.arena.take() {
                (driver.cuMemFree_v2)(base);
            }
        }
    }
}
