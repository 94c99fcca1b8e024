//! Every kernel of `kernels/`, on the emulated device: one module per kernel family. `cargo test --test kernels`.
#[path = "../reference/mod.rs"]
mod reference;

mod adamw;
mod cross_entropy;
mod emulator;
mod global_norm;
mod layernorm;
mod measure;
mod philox;
mod rig;
mod selfcheck;
