//! rewarm: continual pre-training of GPT-NeoX (Pythia) language models.
pub mod data;
pub mod error;
pub use error::{Error, Result};
