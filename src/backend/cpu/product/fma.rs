//! Factors widened to f32, a term after the other: what any processor can do, with equal bits on all of them.
use super::super::math::dispatch;
use super::panels::{A_ROWS, B_COLS, LANES, Sums};
use pulp::{Simd, WithSimd};

/// `sums = a·b`, or `sums += a·b`, of a panel of 32 rows in four groups of `[units][8]` and one of `[units][32]`.
pub fn multiply(a: &[u32], b: &[u32], sums: &mut Sums, accumulate: bool) {
    dispatch(Panel { a: bytemuck::cast_slice(a), b: bytemuck::cast_slice(b), sums, accumulate });
}

struct Panel<'a> {
    a: &'a [f32],
    b: &'a [f32],
    sums: &'a mut Sums,
    accumulate: bool,
}

impl WithSimd for Panel<'_> {
    type Output = ();

    /// In blocks whose sums fit into the registers: 8 rows of two vectors, or 4 where there are but 16 registers.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, sums, accumulate } = self;
        let group = a.len() / A_ROWS * LANES;
        for (i, a) in a.chunks_exact(group).enumerate() {
            for column in (0..B_COLS).step_by(2 * S::F32_LANES) {
                if S::REGISTER_COUNT >= 32 {
                    block::<S, 8>(simd, a, b, sums, (LANES * i, 0, column), accumulate);
                } else {
                    block::<S, 4>(simd, a, b, sums, (LANES * i, 0, column), accumulate);
                    block::<S, 4>(simd, a, b, sums, (LANES * i, 4, column), accumulate);
                }
            }
        }
    }
}

/// Rows `from..from + M` of the group at `first`, two vectors wide.
#[inline(always)]
fn block<S: Simd, const M: usize>(
    simd: S,
    a: &[f32],
    b: &[f32],
    sums: &mut Sums,
    (first, from, column): (usize, usize, usize),
    accumulate: bool,
) {
    let mut total = [[simd.splat_f32s(0.0); 2]; M];
    let width = 2 * S::F32_LANES;
    if accumulate {
        for (i, total) in total.iter_mut().enumerate() {
            let (row, _) = S::as_simd_f32s(&sums[(first + from + i) * B_COLS + column..][..width]);
            *total = [row[0], row[1]];
        }
    }
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<B_COLS>().0) {
        let (b, _) = S::as_simd_f32s(&b[column..column + width]);
        for i in 0..M {
            let x = simd.splat_f32s(a[from + i]);
            total[i] = [simd.mul_add_f32s(x, b[0], total[i][0]), simd.mul_add_f32s(x, b[1], total[i][1])];
        }
    }
    for (i, total) in total.iter().enumerate() {
        let (row, _) = S::as_mut_simd_f32s(&mut sums[(first + from + i) * B_COLS + column..][..width]);
        row.copy_from_slice(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of 32 × 32 sums of 48 terms, added to what is there.
    fn bits(run: fn(Panel)) -> Vec<u32> {
        let numbers = |seed: usize, len: usize| -> Vec<f32> {
            (0..len).map(|i| ((i + seed) * 7919 % 4093) as f32 / 4093.0 - 0.5).collect()
        };
        let (a, b, mut c) = (numbers(1, 48 * A_ROWS), numbers(2, 48 * B_COLS), numbers(3, A_ROWS * B_COLS));
        run(Panel { a: &a, b: &b, sums: c.first_chunk_mut().unwrap(), accumulate: true });
        c.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn bits_are_those_of_every_instruction_set() {
        let one_by_one = bits(|panel| pulp::Scalar.vectorize(panel));
        let mut others: Vec<fn(Panel)> =
            vec![|panel| pulp::Scalar128b.vectorize(panel), |panel| dispatch(panel)];
        // AVX2, which `dispatch` passes over on a machine with AVX-512.
        #[cfg(target_arch = "x86_64")]
        if pulp::x86::V3::try_new().is_some() {
            others.push(|panel| Simd::vectorize(pulp::x86::V3::try_new().unwrap(), panel));
        }
        for (i, other) in others.into_iter().enumerate() {
            assert!(bits(other) == one_by_one, "instruction set {i}");
        }
    }
}
