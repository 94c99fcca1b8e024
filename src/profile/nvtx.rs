//! Ranges for NVIDIA's tools: nsys and ncu show phases, blocks and operations of a profiled step.
//!
//! What NVTX 3's headers do, without them: a tool that starts a program names its library in
//! `NVTX_INJECTION64_PATH`, and that library writes its functions into tables of ours. Nobody there: no ranges.
//! (NVIDIA/NVTX, `c/include/nvtx3/nvtxDetail/nvtxInit.h` and `nvtxTypes.h`.)
use super::step::StepPart;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Of NVTX's modules, numbered from 1 (`NVTX_CB_MODULE_CORE`) on, and of functions in the largest of them, with room.
const MODULES: usize = 6;
const FUNCTIONS: usize = 64;
/// `NVTX_CBID_CORE_RangePushA` and `NVTX_CBID_CORE_RangePop`.
const PUSH: usize = 9;
const POP: usize = 11;
/// `NVTX_ETID_CALLBACKS`.
const CALLBACKS: u32 = 1;

type Slot = AtomicPtr<c_void>;
type GetTable = unsafe extern "C" fn(c_int, *mut *const *const Slot, *mut c_uint) -> c_int;
type GetExport = unsafe extern "C" fn(u32) -> *const c_void;

/// `NvtxExportTableCallbacks`.
#[repr(C)]
struct Callbacks {
    bytes: usize,
    get_module_function_table: GetTable,
}

/// Where the tool writes its functions; what nobody calls is never read.
static SLOTS: [[Slot; FUNCTIONS]; MODULES] =
    [const { [const { AtomicPtr::new(null_mut()) }; FUNCTIONS] }; MODULES];
static CALLBACK_TABLE: Callbacks =
    Callbacks { bytes: size_of::<Callbacks>(), get_module_function_table: table_of };

/// Addresses of a module's slots, as the tool expects them.
struct Table([*const Slot; FUNCTIONS]);
// SAFETY: the pointers are those of statics whose contents are atomic.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Send for Table {}

unsafe extern "C" fn export(id: u32) -> *const c_void {
    if id == CALLBACKS { (&raw const CALLBACK_TABLE).cast() } else { null() }
}

unsafe extern "C" fn table_of(module: c_int, table: *mut *const *const Slot, size: *mut c_uint) -> c_int {
    static TABLES: OnceLock<[Table; MODULES]> = OnceLock::new();
    let tables = TABLES
        .get_or_init(|| std::array::from_fn(|m| Table(SLOTS[m].each_ref().map(|slot| &raw const *slot))));
    let Some(found) = usize::try_from(module - 1).ok().and_then(|m| tables.get(m)) else { return 0 };
    // SAFETY: a tool passes places for both, or null for what it does not want.
    unsafe {
        if let Some(table) = table.as_mut() {
            *table = found.0.as_ptr();
        }
        if let Some(size) = size.as_mut() {
            *size = FUNCTIONS as c_uint;
        }
    }
    1
}

/// Whether a tool listens; asks once.
fn attached() -> bool {
    static ATTACHED: OnceLock<bool> = OnceLock::new();
    *ATTACHED.get_or_init(|| {
        let Some(path) = std::env::var_os("NVTX_INJECTION64_PATH") else { return false };
        // SAFETY: the user's tool asks to be loaded; its entry point has this type by NVTX's interface.
        unsafe {
            let Ok(library) = libloading::Library::new(path) else { return false };
            let listens = library
                .get::<unsafe extern "C" fn(GetExport) -> c_int>(c"InitializeInjectionNvtx2")
                .is_ok_and(|initialize| initialize(export) != 0);
            std::mem::forget(library); // its functions stay in our tables
            listens
        }
    })
}

fn push(name: &str) {
    let function = SLOTS[0][PUSH].load(Ordering::Acquire);
    let Ok(name) = CString::new(name) else { return };
    if !function.is_null() {
        // SAFETY: the tool put `int (const char*)` here.
        unsafe {
            std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char) -> c_int>(function)(name.as_ptr())
        };
    }
}

fn pop() {
    let function = SLOTS[0][POP].load(Ordering::Acquire);
    if !function.is_null() {
        // SAFETY: the tool put `int (void)` here.
        unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(function)() };
    }
}

/// The ranges of this thread that are open: a phase, a block in it, an operation in that.
pub(super) struct Ranges {
    attached: bool,
    phase: Option<StepPart>,
    layer: Option<usize>,
}

impl Ranges {
    pub fn open() -> Self {
        Self { attached: attached(), phase: None, layer: None }
    }

    /// Opens a range for an operation, and those of its part and layer where they begin.
    pub fn enter(&mut self, phase: StepPart, layer: Option<usize>, name: &str, weight: &str) {
        if !self.attached {
            return;
        }
        if self.phase != Some(phase) || self.layer != layer {
            self.leave_layer();
            if self.phase != Some(phase) {
                self.leave_all();
                push(phase.as_ref());
                self.phase = Some(phase);
            }
            if let Some(layer) = layer {
                push(&format!("layer {layer}"));
            }
            self.layer = layer;
        }
        push(format!("{name} {weight}").trim_end());
    }

    /// Closes the range of an operation.
    pub fn leave_operation(&self) {
        if self.attached {
            pop();
        }
    }

    fn leave_layer(&mut self) {
        if self.layer.take().is_some() {
            pop();
        }
    }

    /// Closes all ranges at the end of a step.
    pub fn leave_all(&mut self) {
        self.leave_layer();
        if self.phase.take().is_some() {
            pop();
        }
    }
}
