//! How tests give a single operation its inputs, what they decide instead of the device, and what they ask afterwards.
//! Calls that touch memory wait.
use super::Gpu;
use crate::device::Span;
use crate::ops::{Act, Stat};
use crate::{Error, Result};
use half::bf16;

impl Gpu {
    /// Overwrites as many rows of a tensor as `values [rows, cols]` has, each value rounded to bf16.
    pub fn write_act(&mut self, act: Act, values: &[f32]) -> Result<()> {
        let span = self.rows(act, values.len() / act.cols);
        let mut all = vec![bf16::ZERO; span.bytes / 2];
        // What lies between the rows stays.
        self.read(span, &mut all)?;
        for (to, from) in all.chunks_mut(act.ld).zip(values.chunks_exact(act.cols)) {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to = bf16::from_f32(from));
        }
        self.write(span, &all)
    }

    /// From the first element of so many rows to the last.
    pub(super) fn rows(&self, act: Act, rows: usize) -> Span {
        let elements = rows.saturating_sub(1) * act.ld + if rows > 0 { act.cols } else { 0 };
        self.layout.acts.part(2 * act.offset, 2 * elements)
    }

    /// The same of per-row values.
    pub fn write_stat(&mut self, stat: Stat, values: &[f32]) -> Result<()> {
        self.write(self.layout.stats.part(4 * stat.offset, 4 * values.len()), values)
    }

    /// Overwrites the flat buffer of gradients.
    pub fn write_gradients(&mut self, values: &[f32]) -> Result<()> {
        self.write(self.layout.g, values)
    }

    /// From now on all gradients of biases that products can sum are summed by them, or none; refused later where the
    /// device has no such product.
    pub fn sum_biases_in_products(&mut self, all: bool) {
        self.sum_in_products = Some(all);
    }

    /// Kernels are chosen as on a device whose blocks have so much shared memory; refused where these have less.
    pub fn assume_shared_bytes(&mut self, bytes: usize) -> Result<()> {
        let most = self.device.shared_bytes();
        if bytes > most {
            let why =
                format!("needs {bytes} bytes of shared memory a block, {} has {most}", self.device.name());
            return Err(Error::refused(why));
        }
        self.shared_bytes = bytes;
        Ok(())
    }

    /// Waits for everything; an error where something wrote behind a tensor.
    pub fn check_red_zones(&mut self) -> Result<()> {
        self.checked()?;
        self.device.check_red_zones()
    }

    /// Names of the kernels launched so far.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.keys().map(String::as_str)
    }
}
