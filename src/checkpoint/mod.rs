//! Checkpoints: whole or absent, proven by hashes, opened by transformers as they are.
//!
//! A run directory holds `step-<10 digits>/` directories ([`save`], [`find_newest`], [`load`]) and a lock
//! ([`RunLock`]). [`HfModel`] and [`export`] exchange weights with Hugging Face directories.
mod companions;
mod dtype;
mod export;
mod fields;
mod foreign;
pub mod hf_config;
mod hf_rules;
mod huggingface;
mod load;
mod lock;
mod manifest;
mod output;
mod rotate;
pub mod safetensors;
mod save;
pub mod simulate;
mod space;
mod start;
pub mod storage;

pub use companions::{Companions, NamedFile};
pub use dtype::Dtype;
pub use export::{MAX_SHARD_BYTES, check_new, export, export_to};
pub use foreign::describe;
pub use hf_config::{config_json, read_config};
pub use huggingface::HfModel;
pub use load::{Buffers, Found, LOG, Rejected, find_newest, list_steps, load, load_ema, verify};
pub use lock::{LOCK, RunLock};
pub use manifest::{FORMAT, Fingerprints, MANIFEST, Manifest, RunState};
pub use output::FileRecord;
pub use rotate::clean;
pub use safetensors::TensorRecord;
pub use save::{EMA, MODEL, OPTIMIZER, Saved, Snapshot, save};
pub use start::create_run_dir;
pub use storage::{Disk, Storage};

/// The directory name of a step.
pub fn step_name(step: u64) -> String {
    format!("step-{step:010}")
}
