//! The two precisions, and erf in f64.
use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// What the reference computes in. Products and sums are rounded one by one: no fused multiply-add.
pub trait Float:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + Sum
{
    /// Rounded to this precision.
    fn of(x: f64) -> Self;
    /// The same number in f64.
    fn to_f64(self) -> f64;
    /// The square root, rounded to the type.
    fn sqrt(self) -> Self;
    /// `eˣ`, rounded to the type.
    fn exp(self) -> Self;
    /// The natural logarithm, rounded to the type.
    fn ln(self) -> Self;
    /// The hyperbolic tangent, rounded to the type.
    fn tanh(self) -> Self;

    /// Error function, rounded once from f64.
    fn erf(self) -> Self {
        Self::of(erf(self.to_f64()))
    }
}

macro_rules! float {
    ($t:ty) => {
        impl Float for $t {
            fn of(x: f64) -> Self {
                x as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn tanh(self) -> Self {
                self.tanh()
            }
        }
    };
}
float!(f32);
float!(f64);

/// Abramowitz & Stegun 7.1.6 below 3 (a series of positive terms), 7.1.14 (continued fraction of erfc) beyond.
pub fn erf(x: f64) -> f64 {
    let z = x.abs();
    let root_pi = std::f64::consts::PI.sqrt();
    let value = if z < 3.0 {
        let (mut term, mut sum, mut n) = (z, z, 0);
        while term > sum * 1e-18 {
            n += 1;
            term *= 2.0 * z * z / (2 * n + 1) as f64;
            sum += term;
        }
        2.0 / root_pi * (-z * z).exp() * sum
    } else {
        let fraction = (1..100).rev().fold(0.0, |f, k| k as f64 / 2.0 / (z + f));
        1.0 - (-z * z).exp() / (root_pi * (z + fraction))
    };
    value.copysign(x)
}
