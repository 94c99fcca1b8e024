//! The rows: one operation each, its inputs and what it must leave.
pub mod adamw_bf16;
pub mod attention;
pub mod direct;
pub mod gelu;
pub mod linear;
pub mod loss;
pub mod norm;
pub mod rotary;
pub mod tokens;
pub mod update;

use super::judge::{Activations, Expected};
use super::rig::{On, RowRun};
use crate::Result;

/// One operation on one shape. Its inputs depend on its fields alone.
pub trait Case: Sync {
    /// Its name in the vocabulary, or that of a kernel which has none there.
    fn op(&self) -> &'static str;
    /// Sizes, for the reader.
    fn shape(&self) -> String;
    /// Too slow for an emulated device.
    fn large(&self) -> bool {
        false
    }
    /// Not every device can run it: one that refuses has not failed.
    fn optional(&self) -> bool {
        false
    }
    /// A kernel that no operation of the vocabulary launches, or one that a processor computes no differently.
    fn kernel_alone(&self) -> bool {
        self.optional()
    }
    /// Runs the case on `on` and returns its outputs.
    fn run(&self, on: On) -> Result<RowRun>;
    /// What it must leave by the reference, where activations are kept in this.
    fn expect(&self, storage: Activations) -> Vec<Expected>;
}
