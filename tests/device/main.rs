//! The emulated device behind the trait that the `gpu` backend uses: that it is as asynchronous as a GPU, and as
//! strict. `cargo test --test device`.
mod capture;
mod errors;
mod events;
mod hazards;
mod memory;
mod product;
mod rig;
