//! rewarm: continual pre-training of GPT-NeoX (Pythia) language models.
pub mod backend;
pub mod error;
pub mod model;
pub mod ops;
pub mod optim;
pub mod train;
pub use error::{Error, Result};
