//! The emulated device: memory with red zones, and launches on fibers.
use super::{Arg, Counters, Kernel, Mode};
use crate::{Error, Result};
use bytemuck::{NoUninit, Pod};
use memmap2::{MmapMut, MmapOptions};
use std::marker::PhantomData;
use std::ops::Range;

mod checks;
mod device;
mod executor;
mod memory;
mod product;
mod queue;
mod seen;
mod settings;

pub use device::EmulatedDevice;
pub use settings::{EmulatedSettings, StreamTiming};

/// Buffers start at multiples of this, with at least as much in front and behind that belongs to nobody.
const UNIT: usize = 256;
/// Address space reserved by a device; pages cost memory once they are used.
const RESERVED: usize = 8 << 30;
/// What fresh memory and red zones hold: NaN in every float type.
const POISON: u8 = 0xFF;

/// `len` elements on a device.
#[derive(Debug)]
pub struct Buffer<T> {
    address: u64,
    offset: usize,
    len: usize,
    kind: PhantomData<T>,
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Buffer<T> {}

impl<T> Buffer<T> {
    /// Number of elements.
    #[allow(clippy::len_without_is_empty, reason = "no buffer is asked whether it is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its address as an argument.
    pub fn arg(&self) -> Arg {
        self.at(0)
    }

    /// The address of element `i` as an argument.
    pub fn at(&self, i: usize) -> Arg {
        Arg::address(self.address(i))
    }

    /// The address of element `i`.
    pub fn address(&self, i: usize) -> u64 {
        self.address + (i * size_of::<T>()) as u64
    }
}

/// A device of this process. Buffers live as long as it does.
pub struct Emulated {
    memory: MmapMut,
    /// Bytes of each unit that belong to a buffer.
    valid: Vec<u16>,
    /// Bytes that belong to no buffer, ascending.
    #[cfg_attr(not(emulated_kernels), allow(dead_code, reason = "nothing launches"))]
    gaps: Vec<Range<usize>>,
}

impl Emulated {
    /// An empty device, or why there is none in this build.
    pub fn new() -> Result<Self> {
        let memory = MmapOptions::new().len(RESERVED).no_reserve_swap().map_anon();
        let memory = memory.map_err(|e| Error::failed(format!("no memory for the emulated device: {e}")))?;
        let mut device = Self::of(memory)?;
        device.extend(UNIT, 0)?;
        Ok(device)
    }

    /// One that has used none of this memory.
    fn of(memory: MmapMut) -> Result<Self> {
        match option_env!("REWARM_NO_EMULATION") {
            Some(why) => Err(Error::failed(format!("no emulated device: {why}"))),
            None => Ok(Self { memory, valid: Vec::new(), gaps: Vec::new() }),
        }
    }

    /// Poisons `bytes` more, of which the first `valid` belong to a buffer, and returns where they begin.
    fn extend(&mut self, bytes: usize, valid: usize) -> Result<usize> {
        let offset = self.valid.len() * UNIT;
        let memory = self.memory.get_mut(offset..offset + bytes);
        memory.ok_or_else(|| Error::failed("the emulated device is out of memory"))?.fill(POISON);
        self.valid.extend((0..bytes / UNIT).map(|u| valid.saturating_sub(u * UNIT).min(UNIT) as u16));
        self.gaps.push(offset + valid..offset + bytes);
        Ok(offset)
    }

    /// `len` elements of poison.
    pub fn alloc<T: Pod>(&mut self, len: usize) -> Result<Buffer<T>> {
        let bytes = len * size_of::<T>();
        let offset = self.extend(bytes.next_multiple_of(UNIT) + UNIT, bytes)?;
        let address = self.memory.as_ptr() as u64 + offset as u64;
        Ok(Buffer { address, offset, len, kind: PhantomData })
    }

    /// A buffer with these values.
    pub fn upload<T: Pod>(&mut self, values: &[T]) -> Result<Buffer<T>> {
        let buffer = self.alloc(values.len())?;
        self.write(&buffer, values);
        Ok(buffer)
    }

    /// Overwrites the buffer from its start.
    pub fn write<T: Pod + NoUninit>(&mut self, buffer: &Buffer<T>, values: &[T]) {
        assert!(values.len() <= buffer.len, "{} values into a buffer of {}", values.len(), buffer.len);
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.memory[buffer.offset..][..bytes.len()].copy_from_slice(bytes);
    }

    /// A copy of the buffer.
    pub fn read<T: Pod>(&self, buffer: &Buffer<T>) -> Vec<T> {
        let mut values = vec![T::zeroed(); buffer.len];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        bytes.copy_from_slice(&self.memory[buffer.offset..][..bytes.len()]);
        values
    }

    /// Whether somebody wrote between the buffers.
    #[cfg(emulated_kernels)]
    fn red_zone_fault(&self) -> Option<String> {
        for gap in &self.gaps {
            let bytes = &self.memory[gap.clone()];
            if bytes.chunks(UNIT).any(|c| *c != [POISON; UNIT][..c.len()]) {
                let at = gap.start + bytes.iter().position(|&b| b != POISON).unwrap_or(0);
                return Some(format!("wrote outside every buffer, at device address {at:#x}"));
            }
        }
        None
    }

    /// Refuses what no GPU of this mode would launch.
    fn check(
        kernel: &Kernel,
        grid: [u32; 3],
        threads: u32,
        smem: usize,
        args: &[Arg],
        mode: &Mode,
    ) -> Result<()> {
        let name = kernel.name;
        let limit = mode.capability.shared_bytes();
        if smem > limit {
            let gpu = mode.capability;
            return Err(Error::refused(format!(
                "{name}: {smem} bytes of shared memory, {gpu:?} has {limit}"
            )));
        }
        if threads == 0 || !threads.is_multiple_of(32) || threads > kernel.threads_max {
            let most = kernel.threads_max;
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

#[cfg(not(emulated_kernels))]
impl Emulated {
    /// The kernels of a build without the emulated device: none.
    pub fn kernels() -> Vec<&'static str> {
        Vec::new()
    }

    /// No build without a C++ compiler has one.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        Err(Error::failed(format!("{name}: {}", env!("REWARM_NO_EMULATION"))))
    }

    /// No build without a C++ compiler can.
    pub fn launch(
        &mut self,
        kernel: &Kernel,
        _: [u32; 3],
        _: u32,
        _: usize,
        _: &[Arg],
        _: &Mode,
    ) -> Result<Counters> {
        Err(Error::failed(format!("{}: {}", kernel.name, env!("REWARM_NO_EMULATION"))))
    }
}

#[cfg(emulated_kernels)]
mod launching {
    use super::super::SyncSite;
    use super::super::ffi;
    use super::*;
    use std::ffi::{CStr, CString, c_char};

    fn text(p: *const c_char) -> &'static str {
        if p.is_null() {
            return "";
        }
        // SAFETY: kernels/emu.h gives string literals of the program.
        unsafe { CStr::from_ptr(p) }.to_str().unwrap_or("?")
    }

    /// Every kernel of `kernels/`.
    fn table() -> Vec<Kernel> {
        // SAFETY: does nothing; the call keeps the objects of all kernels in the program.
        unsafe { ffi::emu_keep() };
        // SAFETY: the head of a list that is complete before main and never changes.
        let mut entry = unsafe { ffi::emu_kernels() };
        let mut kernels = Vec::new();
        // SAFETY: entries are statics of the program.
        while let Some(e) = unsafe { entry.as_ref() } {
            let n = e.args_total as usize;
            // SAFETY: both arrays are statics of `args_total` elements and one more.
            let (sizes, kinds) = unsafe {
                (std::slice::from_raw_parts(e.arg_sizes, n), std::slice::from_raw_parts(e.arg_kinds, n))
            };
            let (name, threads_max) = (text(e.name), e.threads_max);
            kernels.push(Kernel { name, threads_max, sizes, kinds, entry: entry as usize });
            entry = e.next;
        }
        kernels
    }

    impl Emulated {
        /// Names of all kernels of this build.
        pub fn kernels() -> Vec<&'static str> {
            table().iter().map(|kernel| kernel.name).collect()
        }

        /// The kernel of this name.
        pub fn kernel(&self, name: &str) -> Result<Kernel> {
            let kernels = table();
            if let Some(kernel) = kernels.iter().find(|k| k.name == name) {
                return Ok(*kernel);
            }
            let near = kernels.iter().max_by_key(|k| (1000.0 * strsim::jaro(k.name, name)) as u32);
            let hint = near.map_or(String::new(), |k| format!("; did you mean {}?", k.name));
            Err(Error::refused(format!("no kernel is named {name}{hint}")))
        }

        /// Runs a grid of blocks of `threads` threads with `smem` bytes of shared memory each. The error of a
        /// faulty kernel names it, the line, the block and the thread.
        pub fn launch(
            &mut self,
            kernel: &Kernel,
            grid: [u32; 3],
            threads: u32,
            smem: usize,
            args: &[Arg],
            mode: &Mode,
        ) -> Result<Counters> {
            Self::check(kernel, grid, threads, smem, args, mode)?;
            let mut pointers: Vec<_> = args.iter().map(Arg::pointer).collect();
            let disabled = mode.disabled.as_ref().map(|s| CString::new(s.file.as_str()).unwrap_or_default());
            let launch = ffi::Launch {
                grid,
                threads,
                smem_bytes: smem as u32,
                schedule: mode.schedule as u32,
                timing: mode.timing as u32,
                order: mode.order as u32,
                os_threads: mode.os_threads.clamp(1, 64),
                counting: u32::from(mode.count),
                seed: mode.seed,
                args: pointers.as_mut_ptr(),
                memory: self.memory.as_mut_ptr(),
                memory_bytes: self.memory.len() as u64,
                units: self.valid.len() as u64,
                valid: self.valid.as_ptr(),
                disabled_file: disabled.as_ref().map_or(std::ptr::null(), |s| s.as_ptr()),
                disabled_line: mode.disabled.as_ref().map_or(0, |s| s.line),
            };
            // SAFETY: all-zero is a valid value of integers and pointers.
            let mut report: Box<ffi::Report> = Box::new(unsafe { std::mem::zeroed() });
            // SAFETY: the handle comes from the table of this program, arguments were checked against it, and
            // everything pointed to outlives the call. Kernels reach `memory` through checked accesses; `self`
            // is borrowed mutably.
            let failed = unsafe {
                ffi::emu_launch(kernel.entry as *const ffi::KernelEntry, &raw const launch, &raw mut *report)
                    != 0
            };
            if failed {
                let [x, y, z] = report.block;
                let (file, line, thread) = (text(report.file), report.line, report.thread);
                let message = CStr::from_bytes_until_nul(bytemuck::cast_slice(&report.message));
                return Err(Error::failed(format!(
                    "{}: {file}:{line}: block ({x}, {y}, {z}), thread {thread}: {}",
                    kernel.name,
                    message.map_or("?".into(), CStr::to_string_lossy),
                )));
            }
            if let Some(fault) = self.red_zone_fault() {
                return Err(Error::failed(format!("{}: {fault}", kernel.name)));
            }
            Ok(counters(&report))
        }
    }

    fn counters(report: &ffi::Report) -> Counters {
        let [
            bytes_read,
            bytes_written,
            sectors_read,
            sectors_written,
            mma_flops,
            shared_requests,
            bank_conflicts,
        ] = report.counts;
        let sites = &report.sites[..report.sites_total as usize];
        let site =
            |s: &ffi::Site| SyncSite { file: text(s.file).into(), line: s.line, what: text(s.what).into() };
        let mut sites: Vec<_> = sites.iter().map(site).collect();
        sites.sort();
        Counters {
            bytes_read,
            bytes_written,
            sectors_read,
            sectors_written,
            mma_flops,
            shared_requests,
            bank_conflicts,
            sites,
        }
    }
}
