//! Checkpoints: whole or absent, proven by hashes, opened by transformers as they are.
//!
//! A run directory holds `step-<10 digits>/` directories ([`save`], [`find_newest`], [`load`]) and a lock
//! ([`RunLock`]). [`HfModel`] and [`export`] exchange weights with Hugging Face directories.
mod blocks;
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
mod names;
mod neox;
mod output;
mod rewind;
mod rotate;
pub mod safetensors;
mod save;
mod start;
mod tensors;
pub mod torch;
mod weight_files;

pub use crate::files::{Disk, Storage};
pub use blocks::HASH_PIECE;
pub use companions::{Companions, NamedFile};
pub use dtype::Dtype;
pub use export::{Export, MAX_SHARD_BYTES, check_new, export};
pub use foreign::describe;
pub use hf_config::{config_json, read_config, with_history};
pub use huggingface::HfModel;
pub use load::{Found, Rejected, find_newest, list_steps, load, open_tensors, verify};
pub use lock::{LOCK, RunLock};
pub use manifest::{FORMAT, Fingerprints, Manifest, RunState};
pub use names::{EMA, LOG, MANIFEST, MODEL, OPTIMIZER, step_name};
pub use neox::{Neox, Reached};
pub use output::FileRecord;
pub use rewind::{Rewound, rewind};
pub use rotate::{Keep, clean};
pub use safetensors::TensorRecord;
pub use save::{Saved, Snapshot, save};
pub use start::create_run_dir;
pub use tensors::{Tensors, load_tensors};
