//! The oracle: a naive GPT-NeoX, generic over f64 (the judge) and f32 (what a plain implementation in the
//! product's precision would lose). Loops over `Vec`s, nothing fused, blocked or parallel. It shares with the rest
//! of this crate only the configuration and the names and places of parameters, and is itself checked against
//! finite differences and PyTorch in `tests/parity`. Tests and `rewarm selftest` judge by it; nothing trains with it.
//!
//! Tensors are row-major slices; a comment or the argument's name gives the shape, in the letters of
//! [`crate::model`]: `R = B·T` rows, `C` channels, `H` heads, `D` head size, `F` feed-forward, `V` vocabulary.
pub mod attention;
pub mod float;
pub mod measure;
pub mod model;
pub mod ops;
pub mod optimizer;
pub mod random;

pub use float::Float;

/// The same numbers in another precision; to f32 each is rounded once.
pub fn cast<A: Float, B: Float>(x: &[A]) -> Vec<B> {
    x.iter().map(|x| B::of(x.to_f64())).collect()
}
