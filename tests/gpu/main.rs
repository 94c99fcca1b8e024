//! The gpu backend on the emulated device, against the cpu backend and against itself.
mod bits;
mod decode;
mod drive;
mod memory;
mod recompute;
mod rig;
mod rounded;
mod scheduled;
mod step;
mod training;

use rewarm::reference;
