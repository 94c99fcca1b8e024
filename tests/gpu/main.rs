//! The gpu backend on the emulated device, against the cpu backend and against itself.
mod bits;
mod drive;
mod memory;
mod recompute;
#[path = "../reference/mod.rs"]
mod reference;
mod rig;
mod rounded;
mod step;
mod training;
