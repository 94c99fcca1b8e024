//! What is checked before a call, launches, and what a failed wait says.
use super::Cuda;
use crate::device::{Launch, Pinned, Rows, Stream};
use crate::{Error, Result};
use cudarc::driver::sys::CUmemorytype::{CU_MEMORYTYPE_DEVICE, CU_MEMORYTYPE_HOST};
use cudarc::driver::sys::{CUDA_MEMCPY2D, CUstream};
use std::ffi::c_void;
use std::ptr::null_mut;

impl Cuda {
    pub(super) fn queue(&self, on: Stream) -> CUstream {
        self.streams[on.0]
    }

    /// `bytes` from byte `at` of pinned memory on.
    pub(super) fn host_part(&self, pinned: Pinned, at: usize, bytes: usize) -> Result<*mut c_void> {
        let (memory, len) = self.pinned[pinned.0];
        if at.checked_add(bytes).is_none_or(|end| end > len) {
            return Err(Error::refused(format!("{bytes} bytes at {at} of {len} bytes of pinned memory")));
        }
        // SAFETY: within the allocation, as just checked.
        Ok(unsafe { memory.as_ptr().add(at) }.cast())
    }

    /// Copies between rows of the arena and pinned memory from byte `at` on, where they lie one behind the other.
    pub(super) fn copy_rows(
        &self,
        on: Stream,
        rows: Rows,
        (pinned, at): (Pinned, usize),
        to_device: bool,
    ) -> Result<()> {
        self.enter()?;
        let device = self.place(rows.extent()?)?;
        let host = self.host_part(pinned, at, rows.bytes())?;
        let sides = [(CU_MEMORYTYPE_HOST, rows.first.bytes), (CU_MEMORYTYPE_DEVICE, rows.pitch)];
        let [from, to] = if to_device { sides } else { [sides[1], sides[0]] };
        let copy = CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: from.0,
            srcHost: host,
            srcDevice: device,
            srcArray: null_mut(),
            srcPitch: from.1,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: to.0,
            dstHost: host,
            dstDevice: device,
            dstArray: null_mut(),
            dstPitch: to.1,
            WidthInBytes: rows.first.bytes,
            Height: rows.count,
        };
        // SAFETY: both sides are inside of allocations that live until this value is dropped, and of the two addresses
        // of each the driver looks at the one of its type. It reads `copy` before it returns.
        let code = unsafe { (self.driver.cuMemcpy2DAsync_v2)(&copy, self.queue(on)) };
        self.outcome(self.driver.check("cuMemcpy2DAsync", code))
    }

    /// What a waiting call says after a failure: the failure is that of work it waited for.
    pub(super) fn waited(&self, call: &str, code: u32) -> Result<()> {
        let last = if self.last.is_empty() { "nothing" } else { &self.last };
        let checked = self.driver.check(call, code);
        self.outcome(checked.map_err(|why| {
            format!(
                "{why}, in work that was waited for; launched last: {last} (CUDA_LAUNCH_BLOCKING=1 or \
                 compute-sanitizer name the kernel)"
            )
        }))
    }

    /// One launch, uncounted.
    pub(super) fn start_kernel(&self, stream: CUstream, launch: &Launch) -> Result<()> {
        self.launchable(launch)?;
        let Launch { kernel, grid, threads, shared_bytes, args } = launch;
        let function = self.kernels.borrow_mut().prepare(kernel, *shared_bytes);
        let function = self.outcome_of(function)?;
        let mut arguments = self.arguments.borrow_mut();
        arguments.clear();
        arguments.extend(args.iter().map(|arg| arg.pointer()));
        // SAFETY: as many pointers as the kernel has arguments, each to as many bytes as the argument has, as just
        // checked; the driver copies them before it returns. What the kernel does with addresses is its own.
        let code = unsafe {
            (self.driver.cuLaunchKernel)(
                function,
                grid[0],
                grid[1],
                grid[2],
                *threads,
                1,
                1,
                *shared_bytes as u32,
                stream,
                arguments.as_mut_ptr(),
                null_mut(),
            )
        };
        let what = || format!("{}: cuLaunchKernel of {grid:?} blocks of {threads} threads", kernel.name);
        self.outcome(if code == 0 { Ok(()) } else { self.driver.check(&what(), code) })
    }

    fn launchable(&self, launch: &Launch) -> Result<()> {
        let Launch { kernel, grid, threads, shared_bytes, args } = launch;
        let (name, most, limit) = (kernel.name, kernel.threads_max, self.gpu.shared_bytes);
        if *shared_bytes > limit {
            let gpu = self.gpu.title();
            return Err(Error::refused(format!(
                "{name}: {shared_bytes} bytes of shared memory, {gpu} has {limit}"
            )));
        }
        if *threads == 0 || !threads.is_multiple_of(32) || *threads > most {
            return Err(Error::refused(format!(
                "{name}: blocks of {threads} threads, expected whole warps of at most {most}"
            )));
        }
        if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65_535 || grid[2] > 65_535 {
            return Err(Error::refused(format!("{name}: no GPU launches a grid of {grid:?} blocks")));
        }
        kernel.check(args)
    }
}
