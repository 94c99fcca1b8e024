//! How every section refuses.
use crate::{Error, Result};

pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::refused(message))
}
