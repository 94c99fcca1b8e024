//! rewarm: continual pre-training of GPT-NeoX (Pythia) language models.
pub mod config;
pub mod error;
pub mod model;
pub mod schedule;
pub use error::{Error, Result};
