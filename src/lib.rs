//! rewarm: continual pre-training of GPT-NeoX (Pythia) language models.
pub mod checkpoint;
pub mod error;
pub mod model;
pub use error::{Error, Result};
