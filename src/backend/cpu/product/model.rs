//! What the instructions compute, by their pages in Intel's manual (Software Developer's Manual, volume 2): the order of
//! the sums and where they round. Both take a subnormal operand for zero, write zero for a subnormal result, round to
//! nearest even and look at no mode of the processor.
use super::panels::{A_ROWS, B_COLS, LANES, Left, Sums};

/// A subnormal number is zero.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// `sum + a·b`, rounded once.
fn add_product(sum: f32, a: u16, b: u16) -> f32 {
    let wide = |x: u16| flush(f32::from_bits(u32::from(x) << 16));
    flush(wide(a).mul_add(wide(b), flush(sum)))
}

/// Low and high half: the even and the odd term.
fn terms(pair: u32) -> [u16; 2] {
    [pair as u16, (pair >> 16) as u16]
}

/// VDPBF16PS on one sum: the odd term is added first.
fn vdpbf16ps(sum: f32, a: u32, b: u32) -> f32 {
    let ([a0, a1], [b0, b1]) = (terms(a), terms(b));
    add_product(add_product(sum, a1, b1), a0, b0)
}

/// TDPBF16PS on one sum of a tile: the even and the odd terms have sums of their own, which begin at 0, and are added
/// to each other, and the two to the sum.
fn tdpbf16ps(sum: f32, a: &[u32; 16], b: &[u32; 16]) -> f32 {
    let (mut even, mut odd) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let ([a0, a1], [b0, b1]) = (terms(*a), terms(*b));
        even = add_product(even, a0, b0);
        odd = add_product(odd, a1, b1);
    }
    flush(flush(sum) + flush(even + odd))
}

/// Panels as [`super::dot::multiply`] reads them.
pub fn dot(a: &[u32], b: &[u32], sums: &mut Sums, accumulate: bool) {
    let group = a.len() / A_ROWS * LANES;
    for i in 0..A_ROWS {
        let a = &a[i / LANES * group..][..group];
        for (j, sum) in sums[i * B_COLS..][..B_COLS].iter_mut().enumerate() {
            let start = if accumulate { *sum } else { 0.0 };
            let pairs = a.chunks_exact(LANES).zip(b.chunks_exact(B_COLS));
            *sum = pairs.fold(start, |sum, (a, b)| vdpbf16ps(sum, a[i % LANES], b[j]));
        }
    }
}

/// Factors as [`super::amx::multiply`] reads them.
pub fn amx(a: Left, b: &[u32], sums: &mut Sums, accumulate: bool) {
    for i in 0..A_ROWS {
        // The 16 pairs of row `i` in a block.
        let pairs = |block: usize| -> [u32; 16] {
            match a {
                Left::Panel(a) => {
                    let half = &a[i / 16 * (a.len() / 2)..][256 * block..];
                    std::array::from_fn(|k| half[i % 16 * 16 + k])
                }
                Left::Rows(a) => {
                    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&a.row(i)[32 * block..][..32]))
                }
            }
        };
        for (j, sum) in sums[i * B_COLS..][..B_COLS].iter_mut().enumerate() {
            let mut total = if accumulate { *sum } else { 0.0 };
            for (block, b) in b.chunks_exact(16 * B_COLS).enumerate() {
                total = tdpbf16ps(total, &pairs(block), &std::array::from_fn(|k| b[k * B_COLS + j]));
            }
            *sum = total;
        }
    }
}
