//! What every section refuses alike.
use crate::{Error, Result};

/// Counts of sequences and tokens stay below this, so that their products fit in 64 bits.
pub(super) const COUNT_LIMIT: usize = 1 << 31;

pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::refused(message))
}
