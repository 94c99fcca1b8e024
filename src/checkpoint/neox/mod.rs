//! Checkpoints of GPT-NeoX, which DeepSpeed writes: weights by layer and by rank of model parallelism, and the optimizer's
//! masters and moments in flat groups that are cut into a piece for each rank of data parallelism.
//!
//! Two layouts are read, that of DeeperSpeed 0.3.15, which trained Pythia, and that of GPT-NeoX 2, both of ZeRO stage 0 or 1.
mod find;
mod flat;
mod groups;
mod merge;
mod names;
mod open;
mod rank;
mod sizes;

pub use open::{Neox, Reached};
