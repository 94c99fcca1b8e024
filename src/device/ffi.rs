//! The C structures of `kernels/emu.h`, and its two functions.
use std::ffi::{c_char, c_int, c_void};

#[repr(C)]
pub struct KernelEntry {
    pub name: *const c_char,
    pub threads_max: u32,
    pub args_total: u32,
    pub arg_sizes: *const u8,
    pub arg_kinds: *const u8,
    invoke: *const c_void,
    function: *const c_void,
    pub next: *const KernelEntry,
}

#[repr(C)]
pub struct Launch {
    pub grid: [u32; 3],
    pub threads: u32,
    pub smem_bytes: u32,
    pub schedule: u32,
    pub timing: u32,
    pub order: u32,
    pub os_threads: u32,
    pub counting: u32,
    pub seed: u64,
    pub args: *mut *mut c_void,
    pub memory: *mut u8,
    pub memory_bytes: u64,
    pub units: u64,
    pub valid: *const u16,
    pub disabled_file: *const c_char,
    pub disabled_line: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Site {
    pub file: *const c_char,
    pub what: *const c_char,
    pub line: u32,
}

#[repr(C)]
pub struct Report {
    /// Read, written, sectors read, sectors written, FLOPs, shared requests, bank conflicts.
    pub counts: [u64; 7],
    pub sites: [Site; 256],
    pub sites_total: u32,
    pub line: u32,
    pub thread: u32,
    pub block: [u32; 3],
    pub file: *const c_char,
    pub message: [c_char; 768],
}

unsafe extern "C" {
    /// Defined by the table of all kernels, so that the linker keeps them.
    pub fn emu_keep();
    pub fn emu_kernels() -> *const KernelEntry;
    pub fn emu_launch(kernel: *const KernelEntry, launch: *const Launch, report: *mut Report) -> c_int;
}
