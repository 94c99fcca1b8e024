//! exp and the two forms of GELU as polynomials that the compiler vectorises, and the run-time choice of instruction set.
//!
//! Every function is a fixed sequence of IEEE operations (`mul_add` is one rounding everywhere), so its bits
//! do not depend on the vector width; sums use a fixed number of lanes for the same reason.
//!
//! What would be subnormal is 0 wherever a tail ends in one ([`exp`], [`normal_or_zero`]): many processors need a hundred
//! times longer for an operation that takes or gives such a number, and a run whose scores have grown apart has nothing
//! else in its tails. Their mode that does the same to all arithmetic is not Rust's to change.
use std::sync::LazyLock;

/// Runs `f` compiled for the widest vectors of this machine (AVX-512, AVX2 + FMA, NEON, else the baseline).
#[inline(always)]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    dispatch(f)
}

/// The same for code that is written in vectors of any width.
#[inline(always)]
pub fn dispatch<F: pulp::WithSimd>(f: F) -> F::Output {
    static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);
    ARCH.dispatch(f)
}

/// Lanes of every sum: a full AVX-512 register, four of NEON.
pub const LANES: usize = 16;

/// `x`, or 0 where it is subnormal. NaN stays NaN.
#[inline(always)]
pub fn normal_or_zero(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// `eˣ` to 1 ulp or so; 0 below -87.3, so that it is never subnormal. NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons rather than max/min, which would swallow a NaN.
    let tail = x < -87.3;
    let x = if tail { -87.3 } else { x };
    let x = if x > 88.7 { 88.7 } else { x };
    // 1.5·2²³: adding it rounds to an integer and leaves that integer in the low mantissa bits.
    const MAGIC: f32 = 12_582_912.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 in two parts (Cody & Waite), so that r keeps all its bits.
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_2e-4f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 5e-1);
    let y = p.mul_add(r * r, r) + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) << 23;
    if tail { 0.0 } else { f32::from_bits(y.to_bits().wrapping_add(exponent)) }
}

/// The normal distribution function `½(1 + erf(x/√2))`, given `e = exp(-x²/2)`. Relative to its value it is good to a
/// few ulp and the rounding of x² in `e`, so the tail goes to 0 as it should: `½ + ½·erf` in f32 stops at 3e-8, which
/// times a large x is not small. Near-minimax polynomials, 1.3e-8 (absolute) and 2.8e-8 (relative).
#[inline(always)]
fn normal_cdf(x: f32, e: f32) -> f32 {
    let x2 = x * x;
    let mut p = -7.660_538e-6f32;
    p = p.mul_add(x2, 1.135_023e-4);
    p = p.mul_add(x2, -1.186_344e-3);
    p = p.mul_add(x2, 9.973_329e-3);
    p = p.mul_add(x2, -6.649_036e-2);
    p = p.mul_add(x2, 3.989_423e-1);
    let middle = p.mul_add(x, 0.5);
    // The tail over `e`, Mills' ratio, is smooth in 1/(|x| + 3).
    let u = 1.0 / (x.abs() + 3.0);
    let mut q = 289.320_28f32;
    q = q.mul_add(u, -294.895_3);
    q = q.mul_add(u, 71.778_51);
    q = q.mul_add(u, 2.638_908_4);
    q = q.mul_add(u, 8.003_404);
    q = q.mul_add(u, 3.147_806_4);
    q = q.mul_add(u, 1.198_114_9);
    q = q.mul_add(u, 0.398_926_17);
    let tail = e * (q * u);
    let outer = if x < 0.0 { tail } else { 1.0 - tail };
    if x2 < 1.0 { middle } else { outer }
}

/// Value and derivative of the erf form of GELU.
#[inline(always)]
pub fn gelu_erf(x: f32) -> (f32, f32) {
    let e = exp(-0.5 * x * x);
    let cdf = normal_cdf(x, e);
    // 1/√(2π)
    (normal_or_zero(x * cdf), normal_or_zero(x.mul_add(0.398_942_3 * e, cdf)))
}

/// Value and derivative of the tanh form of GELU: `½(1 + tanh u) = σ(2u)`, which loses nothing where tanh is near ±1,
/// and `½(1 - tanh² u) = 2σ(2u)σ(-2u)`.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> (f32, f32) {
    // 2·√(2/π)
    const A: f32 = 1.595_769;
    const B: f32 = 0.044_715;
    let x2 = x * x;
    // As far as σ is a normal number.
    let y = -A * x * x2.mul_add(B, 1.0);
    let tail = y > 87.3;
    let e = exp(if tail { 87.3 } else { y });
    let half = if tail { 0.0 } else { 1.0 / (1.0 + e) };
    let slope = A * x2.mul_add(3.0 * B, 1.0);
    (x * half, normal_or_zero((x * slope).mul_add(half * (e * half), half)))
}

/// Folds the lanes of a sum, always in the same order.
#[inline(always)]
pub fn fold(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ f(aᵢ, bᵢ)` in fixed lanes; the slices have equal length.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks_a, tail_a) = a.as_chunks::<LANES>();
    let (blocks_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in blocks_a.iter().zip(blocks_b) {
        for i in 0..LANES {
            lanes[i] = f(lanes[i], x[i], y[i]);
        }
    }
    for (i, (x, y)) in tail_a.iter().zip(tail_b).enumerate() {
        lanes[i] = f(lanes[i], *x, *y);
    }
    fold(lanes)
}

/// `Σ f(aᵢ)` in fixed lanes, `f` adding to its first argument.
#[inline(always)]
pub fn sum(a: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    sum2(a, a, |acc, x, _| f(acc, x))
}

/// Largest element; NaN if there is one, so that it cannot hide.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, tail) = a.as_chunks::<LANES>();
    // `!(x <= m)` takes x when it is larger and when it is NaN; a NaN in `m` is then overwritten, so NaN is
    // kept by the sum of the row's exponentials instead.
    let larger = |m: f32, x: f32| if m > x { m } else { x };
    for x in blocks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], x[i]);
        }
    }
    for (i, x) in tail.iter().enumerate() {
        lanes[i] = larger(lanes[i], *x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// `aᵢ = exp(aᵢ - shift)` in place; returns the sum.
#[inline(always)]
pub fn exp_sum(a: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, tail) = a.as_chunks_mut::<LANES>();
    for x in blocks {
        for i in 0..LANES {
            x[i] = exp(x[i] - shift);
            lanes[i] += x[i];
        }
    }
    for (i, x) in tail.iter_mut().enumerate() {
        *x = exp(*x - shift);
        lanes[i] += *x;
    }
    fold(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error of `f` against f64 over `range`, absolute and in ulps of the exact value.
    fn errors(range: std::ops::Range<f32>, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> (f64, f64) {
        let n = 200_000;
        let mut worst = (0.0f64, 0.0f64);
        for i in 0..=n {
            let x = range.start + (range.end - range.start) * (i as f32 / n as f32);
            let r = exact(x as f64);
            let e = (vectorize(
                #[inline(always)]
                || f(x),
            ) as f64
                - r)
                .abs();
            let ulp = (r.abs() * 2f64.powi(-23)).max(1e-45);
            worst = (worst.0.max(e), worst.1.max(e / ulp));
        }
        worst
    }

    /// ½·erfc(-x/√2) by Abramowitz & Stegun 7.1.6 / 7.1.14: series near 0, continued fraction beyond.
    fn normal_cdf_f64(x: f64) -> f64 {
        let z = x.abs() / std::f64::consts::SQRT_2;
        let scale = (-z * z).exp() / std::f64::consts::PI.sqrt();
        let tail = if z < 2.0 {
            let (mut term, mut sum) = (z, z);
            for n in 1..100 {
                term *= 2.0 * z * z / (2 * n + 1) as f64;
                sum += term;
            }
            0.5 - scale * sum
        } else {
            0.5 * scale / (z + (1..200).rev().fold(0.0, |f, k| k as f64 / 2.0 / (z + f)))
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    #[test]
    fn polynomials_are_as_accurate_as_they_say() {
        let (_, ulps) = errors(-87.0..88.0, exp, f64::exp);
        assert!(ulps <= 2.0, "exp: {ulps} ulp");
        // The exponent -x²/2 is off by half an ulp of itself: x²/4 ulp of the result.
        let cdf = |x: f32| normal_cdf(x, exp(-0.5 * x * x));
        for (range, bound) in [(-13.0..-5.5, 47.0), (-5.5..-1.0, 12.0), (-1.0..13.0, 4.0)] {
            let (_, ulps) = errors(range.clone(), cdf, normal_cdf_f64);
            assert!(ulps <= bound, "normal_cdf in {range:?}: {ulps} ulp");
        }
    }

    #[test]
    fn far_tails_of_gelu_are_zero_and_the_identity() {
        for gelu in [gelu_erf, gelu_tanh] {
            for x in [20.0, 1e3] {
                assert_eq!(gelu(-x), (0.0, 0.0));
                assert_eq!(gelu(x), (x, 1.0));
            }
        }
    }

    /// Of the smallest normal number and its neighbours, and down the tail of every function.
    #[test]
    fn nothing_is_subnormal() {
        let least = f32::MIN_POSITIVE;
        for (x, expected) in [(least, least), (least.next_down(), 0.0), (1e-45, 0.0), (0.0, 0.0)] {
            assert_eq!((normal_or_zero(x), normal_or_zero(-x)), (expected, -expected));
        }
        assert!(normal_or_zero(f32::NAN).is_nan() && normal_or_zero(f32::INFINITY) == f32::INFINITY);
        assert!(exp(-87.3) >= least && exp((-87.3f32).next_down()) == 0.0 && exp(f32::NEG_INFINITY) == 0.0);
        for i in 0..400_000 {
            let x = -20.0 + i as f32 * 1e-4;
            let (erf, tanh) = (gelu_erf(x), gelu_tanh(x));
            let all = [exp(5.0 * x), erf.0, erf.1, tanh.0, tanh.1];
            assert!(!all.iter().any(|y| y.is_subnormal()), "{x}: {all:?}");
        }
    }

    #[test]
    fn nan_is_not_swallowed() {
        assert!(exp(f32::NAN).is_nan());
        assert!(gelu_erf(f32::NAN).0.is_nan() && gelu_tanh(f32::NAN).0.is_nan());
        let mut row = vec![1.0f32; 40];
        row[17] = f32::NAN;
        let shift = max(&row);
        assert!(exp_sum(&mut row, shift).is_nan());
    }

    #[test]
    fn derivatives_match_finite_differences() {
        for gelu in [gelu_erf, gelu_tanh] {
            for i in -60..=60 {
                let x = i as f32 * 0.1;
                let h = 1e-2f32;
                let slope = (gelu(x + h).0 - gelu(x - h).0) / (2.0 * h);
                assert!((slope - gelu(x).1).abs() < 1e-4, "x = {x}: {slope} against {}", gelu(x).1);
            }
        }
    }
}
