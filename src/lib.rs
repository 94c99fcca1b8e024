//! rewarm: continual pre-training of GPT-NeoX (Pythia) language models.
pub mod error;
pub mod model;
pub use error::{Error, Result};
