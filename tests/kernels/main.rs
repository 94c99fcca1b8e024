//! Every kernel of `kernels/`, on the emulated device: one module per kernel family. `cargo test --test kernels`.

mod adamw;
mod attention;
mod bias_grad;
mod bias_sum;
mod book;
mod cast;
mod copy_rows;
mod cross_entropy;
mod ema;
mod embedding;
mod emulator;
mod gelu;
mod global_norm;
mod layernorm;
mod layernorm_bwd;
mod measure;
mod philox;
mod residual_add;
mod rig;
mod rotary;
#[cfg(sanitized)]
mod sanitize;
mod selfcheck;
mod strided;

use rewarm::reference;
