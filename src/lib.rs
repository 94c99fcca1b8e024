//! rewarm: continual pre-training of GPT-NeoX (Pythia) language models.
pub mod backend;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod console;
pub mod data;
pub mod device;
pub mod error;
pub mod generate;
pub mod model;
pub mod ops;
pub mod optim;
pub mod schedule;
pub mod train;
pub use error::{Error, Result};
