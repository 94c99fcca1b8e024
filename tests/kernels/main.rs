//! Every kernel of `kernels/`, on the emulated device: one module per kernel family. `cargo test --test kernels`.
#[path = "../reference/mod.rs"]
mod reference;

mod attention;
mod emulator;
mod layernorm;
mod measure;
mod rig;
mod selfcheck;
