//! From a name to a device.
use super::{Cuda, Device, DeviceName, EmulatedDevice, EmulatedSettings, Mode, probe_cuda};
use crate::Result;

/// The device of this name; none for the processor. [`DeviceName::Auto`] is resolved first. Refused with what is
/// missing and what to do about it.
pub fn open(name: DeviceName) -> Result<Option<Box<dyn Device>>> {
    match resolve(name) {
        DeviceName::Cuda(index) => Cuda::open(index).map(Some),
        DeviceName::Emulated => {
            let os_threads = rayon::current_num_threads() as u32;
            let mode = Mode { os_threads, ..Mode::default() };
            let settings = EmulatedSettings { mode, ..EmulatedSettings::default() };
            Ok(Some(Box::new(EmulatedDevice::new(settings)?)))
        }
        _ => Ok(None),
    }
}

/// What `auto` stands for here: the first GPU that the kernels of this build run on, else the processor.
pub fn resolve(name: DeviceName) -> DeviceName {
    if name != DeviceName::Auto {
        return name;
    }
    let cuda = probe_cuda();
    let complete = cuda.cublaslt.is_some() && cuda.toolkit.is_some();
    match cuda.unusable.iter().position(|why| complete && why.is_none()) {
        Some(index) => DeviceName::Cuda(index),
        None => DeviceName::Cpu,
    }
}
