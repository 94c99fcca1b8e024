//! `vdpbf16ps` of AVX-512 BF16: two products of bf16 added to an f32 at a time.
use super::panels::Sums;

/// Whether this processor has the instruction.
pub fn is_here() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether it is faster than the same product of widened factors. Measured on Emerald Rapids: half as fast (Intel's
/// processors start one in two cycles). On AMD's, which do not share that limit, it has not been measured here.
pub fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let vendor = std::arch::x86_64::__cpuid(0);
        is_here()
            && [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `sums = a·b`, or `sums += a·b`, of a panel of 32 rows in four groups of `[pairs][8]` and one of `[pairs][32]`.
#[cfg(target_arch = "x86_64")]
pub fn multiply(a: &[u32], b: &[u32], sums: &mut Sums, accumulate: bool) {
    assert!(is_here(), "a processor with AVX-512 BF16");
    // SAFETY: it has both features.
    unsafe { x86::multiply(a, b, sums, accumulate) }
}

/// No other processor has it.
#[cfg(not(target_arch = "x86_64"))]
pub fn multiply(_: &[u32], _: &[u32], _: &mut Sums, _: bool) {
    unreachable!("chosen on x86-64 alone");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::backend::cpu::product::panels::{A_ROWS, B_COLS, LANES, Sums};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn multiply(a: &[u32], b: &[u32], sums: &mut Sums, accumulate: bool) {
        let group = a.len() / A_ROWS * LANES;
        for (i, a) in a.chunks_exact(group).enumerate() {
            let mut total = [[_mm512_setzero_ps(); 2]; LANES];
            if accumulate {
                for (row, total) in total.iter_mut().enumerate() {
                    *total = halves(&sums[(LANES * i + row) * B_COLS..]);
                }
            }
            for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<B_COLS>().0) {
                // SAFETY: 32 pairs are two vectors.
                let b = unsafe { [0, 16].map(|j| pairs(_mm512_loadu_si512(b[j..].as_ptr().cast()))) };
                for (a, total) in a.iter().zip(&mut total) {
                    let a = pairs(_mm512_set1_epi32(*a as i32));
                    *total = [_mm512_dpbf16_ps(total[0], a, b[0]), _mm512_dpbf16_ps(total[1], a, b[1])];
                }
            }
            for (row, total) in total.iter().enumerate() {
                let to = &mut sums[(LANES * i + row) * B_COLS..][..B_COLS];
                // SAFETY: 32 sums are two vectors.
                unsafe {
                    _mm512_storeu_ps(to.as_mut_ptr(), total[0]);
                    _mm512_storeu_ps(to[16..].as_mut_ptr(), total[1]);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn halves(row: &[f32]) -> [__m512; 2] {
        let row = &row[..B_COLS];
        // SAFETY: 32 sums are two vectors.
        unsafe { [_mm512_loadu_ps(row.as_ptr()), _mm512_loadu_ps(row[16..].as_ptr())] }
    }

    #[target_feature(enable = "avx512f")]
    fn pairs(bits: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits of any value.
        unsafe { std::mem::transmute(bits) }
    }
}
