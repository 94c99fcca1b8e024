//! The gpu backend on the emulated device, against the cpu backend and against itself.
mod rig;
mod rounded;
mod step;

use rewarm::reference;
