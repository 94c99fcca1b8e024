//! Whole blocks by AVX-512: what nearly all of a factor consists of.
use super::super::gemm::Operand;
use half::bf16;

/// How a block of 16 lines of 16 units lies in a panel of so many units.
#[derive(Clone, Copy)]
pub enum Layout {
    /// A half of a panel of `[units][32]`.
    Units,
    /// Two groups of `[units][8]`.
    Groups(usize),
    /// `[16 lines][16 units]`.
    Rows,
}

/// Rearranges 16 lines from `line` on of 16 units of `unit` elements from element `start` on, to the start of
/// `out`. False where the processor cannot;
/// nothing is written then.
pub fn pack_block(
    factor: Operand<'_, bf16>,
    (line, start): (usize, usize),
    unit: usize,
    layout: Layout,
    out: &mut [u32],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has it.
        unsafe { x86::pack_block(factor, (line, start), unit, layout, out) };
        return true;
    }
    let _ = (factor, line, start, unit, layout, out);
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::backend::cpu::gemm::Operand;
    use crate::backend::cpu::product::panels::{B_COLS, LANES};
    use crate::backend::cpu::product::transpose::x86::transpose;
    use crate::backend::cpu::product::whole::Layout;
    use half::bf16;
    use std::arch::x86_64::{
        __m512i, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_castsi512_si256, _mm512_cvtepu16_epi32,
        _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_or_si512, _mm512_slli_epi32,
        _mm512_storeu_si512,
    };

    #[target_feature(enable = "avx512f")]
    pub fn pack_block(
        factor: Operand<'_, bf16>,
        (line, start): (usize, usize),
        unit: usize,
        layout: Layout,
        out: &mut [u32],
    ) {
        let (mut block, is_rows) = match factor {
            Operand::N(rows) => {
                let rows = rows.part(line..line + 16, start..start + 16 * unit);
                let along = |i: usize| match unit {
                    1 => high(rows.row(i)),
                    // SAFETY: 32 elements are 512 bits.
                    _ => unsafe { _mm512_loadu_si512(rows.row(i).as_ptr().cast()) },
                };
                (std::array::from_fn(along), true)
            }
            Operand::T(rows) => {
                let rows = rows.part(start..start + 16 * unit, line..line + 16);
                let across = |i: usize| match unit {
                    1 => high(rows.row(i)),
                    _ => _mm512_or_si512(low(rows.row(2 * i)), high(rows.row(2 * i + 1))),
                };
                (std::array::from_fn(across), false)
            }
        };
        if is_rows != matches!(layout, Layout::Rows) {
            block = transpose(block);
        }
        match layout {
            Layout::Rows => {
                for (row, to) in block.iter().zip(out.as_chunks_mut::<16>().0) {
                    store(*row, to);
                }
            }
            Layout::Units => {
                for (unit, to) in block.iter().zip(out.chunks_mut(B_COLS)) {
                    store(*unit, to.first_chunk_mut().expect("a half of a panel"));
                }
            }
            Layout::Groups(units) => {
                let (low, high) = out.split_at_mut(units * LANES);
                let groups = low.as_chunks_mut::<LANES>().0.iter_mut().zip(high.as_chunks_mut::<LANES>().0);
                for (unit, (low, high)) in block.iter().zip(groups) {
                    let halves = [_mm512_castsi512_si256(*unit), _mm512_extracti64x4_epi64::<1>(*unit)];
                    for (half, to) in halves.into_iter().zip([low, high]) {
                        // SAFETY: 8 units are 256 bits.
                        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), half) };
                    }
                }
            }
        }
    }

    /// 16 elements, each in the low half of a unit: the even ones of pairs.
    #[target_feature(enable = "avx512f")]
    fn low(elements: &[bf16]) -> __m512i {
        let elements: &[bf16; 16] = elements.try_into().expect("16 elements");
        // SAFETY: they are 256 bits.
        _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(elements.as_ptr().cast()) })
    }

    /// The same in the high half: the odd ones of pairs, or one alone as f32.
    #[target_feature(enable = "avx512f")]
    fn high(elements: &[bf16]) -> __m512i {
        _mm512_slli_epi32::<16>(low(elements))
    }

    #[target_feature(enable = "avx512f")]
    fn store(units: __m512i, to: &mut [u32; 16]) {
        // SAFETY: 16 units are 512 bits.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), units) };
    }
}
