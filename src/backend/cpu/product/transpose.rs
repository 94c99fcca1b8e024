//! The transpose of a block of 16 × 16 units, which turns a factor that is stored along the inner dimension.

/// A block of units.
pub type Block = [[u32; 16]; 16];

/// Rows become columns.
pub fn transpose(block: &mut Block) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has it.
        return unsafe { x86::transpose_block(block) };
    }
    plain(block);
}

fn plain(block: &mut Block) {
    let from = *block;
    for (i, row) in block.iter_mut().enumerate() {
        *row = std::array::from_fn(|j| from[j][i]);
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    use crate::backend::cpu::product::transpose::Block;
    use std::arch::x86_64::*;

    /// In four rounds: neighbours of 32 bits, of 64, of 128 and of 256 change places.
    #[target_feature(enable = "avx512f")]
    pub fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
        // Within each 128 bits: of rows i and i + 1, then of pairs of rows.
        let mut t = r;
        for i in (0..16).step_by(2) {
            t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
            t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        }
        let mut q = t;
        for i in (0..16).step_by(4) {
            q[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
            q[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
            q[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
            q[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
        }
        // q[4·a + c] holds columns c, c + 4, c + 8, c + 12 of rows 4·a to 4·a + 3, one in each 128 bits.
        let mut columns = r;
        for c in 0..4 {
            let low = _mm512_shuffle_i32x4(q[c], q[4 + c], 0b10_00_10_00);
            let high = _mm512_shuffle_i32x4(q[c], q[4 + c], 0b11_01_11_01);
            let low_next = _mm512_shuffle_i32x4(q[8 + c], q[12 + c], 0b10_00_10_00);
            let high_next = _mm512_shuffle_i32x4(q[8 + c], q[12 + c], 0b11_01_11_01);
            columns[c] = _mm512_shuffle_i32x4(low, low_next, 0b10_00_10_00);
            columns[c + 8] = _mm512_shuffle_i32x4(low, low_next, 0b11_01_11_01);
            columns[c + 4] = _mm512_shuffle_i32x4(high, high_next, 0b10_00_10_00);
            columns[c + 12] = _mm512_shuffle_i32x4(high, high_next, 0b11_01_11_01);
        }
        columns
    }

    /// The same in memory.
    #[target_feature(enable = "avx512f")]
    pub fn transpose_block(block: &mut Block) {
        // SAFETY: each row is 512 bits, here and below.
        let rows = std::array::from_fn(|i| unsafe { _mm512_loadu_si512(block[i].as_ptr().cast()) });
        for (row, values) in block.iter_mut().zip(transpose(rows)) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), values) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for turn in [transpose, plain] {
            let mut block: Block = std::array::from_fn(|i| std::array::from_fn(|j| (100 * i + j) as u32));
            turn(&mut block);
            for (i, row) in block.iter().enumerate() {
                assert_eq!(*row, std::array::from_fn(|j| (100 * j + i) as u32));
            }
        }
    }
}
