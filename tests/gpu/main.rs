//! The gpu backend on the emulated device, against the cpu backend and against itself.
mod bits;
mod chunk;
mod decode;
mod documents;
mod drive;
mod ema;
mod epilogues;
mod frozen;
mod memory;
mod precision;
mod recompute;
mod rig;
mod scheduled;
mod sources;
mod state;
mod step;
mod training;
mod weights;

use rewarm::reference;
