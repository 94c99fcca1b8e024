//! The context of a GPU, which its other users of this process share.
use super::api::Driver;
use cudarc::driver::sys::{CUcontext, CUdevice};
use std::ptr::null_mut;

/// The primary context of a GPU, retained until this is dropped.
pub struct Context {
    driver: &'static Driver,
    device: CUdevice,
    handle: CUcontext,
}

impl Context {
    /// That of the GPU with this number, made the thread's current one.
    ///
    /// # Errors
    /// What the driver says.
    pub fn retain(driver: &'static Driver, index: usize) -> Result<Self, String> {
        let (mut device, mut handle) = (0, null_mut());
        // SAFETY: the driver has been started and the index is in range; each call writes one value.
        unsafe {
            driver.check("cuDeviceGet", (driver.cuDeviceGet)(&mut device, index as i32))?;
            driver
                .check("cuDevicePrimaryCtxRetain", (driver.cuDevicePrimaryCtxRetain)(&mut handle, device))?;
        }
        let this = Self { driver, device, handle };
        this.enter().map(|()| this)
    }

    /// Makes it the thread's current one.
    pub fn enter(&self) -> Result<(), String> {
        // SAFETY: the context is retained until this value is dropped.
        self.driver.check("cuCtxSetCurrent", unsafe { (self.driver.cuCtxSetCurrent)(self.handle) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once; what was made in it is gone.
        unsafe { (self.driver.cuDevicePrimaryCtxRelease_v2)(self.device) };
    }
}
