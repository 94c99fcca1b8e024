//! exp, erf and tanh as polynomials that the compiler vectorises, and the run-time choice of instruction set.
//!
//! Every function is a fixed sequence of IEEE operations (`mul_add` is one rounding everywhere), so its bits
//! do not depend on the vector width; sums use a fixed number of lanes for the same reason.
use std::sync::LazyLock;

/// Runs `f` compiled for the widest vectors of this machine (AVX-512, AVX2 + FMA, NEON, else the baseline).
#[inline(always)]
pub fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);
    ARCH.dispatch(f)
}

/// Lanes of every sum: a full AVX-512 register, four of NEON.
const LANES: usize = 16;

/// `eˣ` to 1 ulp or so; below -87.3 it stays at the smallest normal number. NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons rather than max/min, which would swallow a NaN.
    let x = if x < -87.3 { -87.3 } else { x };
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
    f32::from_bits(y.to_bits().wrapping_add(exponent))
}

/// `erf(x)` as an odd rational function, to a few ulp (the coefficients of Eigen's and XLA's f32 erf).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let x2 = x * x;
    let mut p = -2.726_142_3e-10f32;
    p = p.mul_add(x2, 2.770_681_4e-8);
    p = p.mul_add(x2, -2.101_024e-6);
    p = p.mul_add(x2, -5.692_506_4e-5);
    p = p.mul_add(x2, -7.349_906_3e-4);
    p = p.mul_add(x2, -2.954_6e-3);
    p = p.mul_add(x2, -1.609_603_3e-2);
    let mut q = -1.456_607_2e-5f32;
    q = q.mul_add(x2, -2.133_740_6e-4);
    q = q.mul_add(x2, -1.682_827e-3);
    q = q.mul_add(x2, -7.373_329e-3);
    q = q.mul_add(x2, -1.426_473_9e-2);
    x * p / q
}

/// `tanh(x)` from one exponential.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Near 0 the difference below cancels; the odd series takes over there.
    let x2 = x * x;
    let small = x * (x2.mul_add(x2.mul_add(0.133_333_33, -0.333_333_33), 1.0));
    let large = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if x2 < 0.01 { small } else { large }
}

/// Value and derivative of the erf form of GELU.
#[inline(always)]
pub fn gelu_erf(x: f32) -> (f32, f32) {
    let cdf = 0.5f32.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), 0.5);
    // 1/√(2π)
    let density = 0.398_942_3 * exp(-0.5 * x * x);
    (x * cdf, x.mul_add(density, cdf))
}

/// Value and derivative of the tanh form of GELU.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> (f32, f32) {
    // √(2/π)
    const A: f32 = 0.797_884_6;
    const B: f32 = 0.044_715;
    let x2 = x * x;
    let t = tanh(A * x * x2.mul_add(B, 1.0));
    let half = 0.5f32.mul_add(t, 0.5);
    let slope = A * x2.mul_add(3.0 * B, 1.0);
    (x * half, (0.5 * x * slope).mul_add(1.0 - t * t, half))
}

/// Folds the lanes of a sum, always in the same order.
#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
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

    /// Abramowitz & Stegun 7.1.5 / 7.1.14: series near 0, continued fraction beyond.
    fn erf_f64(x: f64) -> f64 {
        if x.abs() < 3.0 {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / n as f64;
                sum += term / (2 * n + 1) as f64;
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let z = x.abs();
            let fraction = (1..60).rev().fold(0.0, |f, k| (k as f64 / 2.0) / (z + f));
            x.signum() * (1.0 - (-z * z).exp() / (std::f64::consts::PI.sqrt() * (z + fraction)))
        }
    }

    #[test]
    fn polynomials_are_as_accurate_as_they_say() {
        let (_, ulps) = errors(-87.0..88.0, exp, f64::exp);
        assert!(ulps <= 2.0, "exp: {ulps} ulp");
        let (_, ulps) = errors(-3.9..3.9, erf, erf_f64);
        assert!(ulps <= 8.0, "erf: {ulps} ulp");
        let (absolute, _) = errors(-10.0..10.0, tanh, f64::tanh);
        assert!(absolute <= 3e-7, "tanh: {absolute}");
    }

    #[test]
    fn nan_is_not_swallowed() {
        assert!(exp(f32::NAN).is_nan() && erf(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
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
