//! Fragments of matrices as the figures of the PTX ISA draw them ("Matrix Fragments for mma.m16n8k16", "ldmatrix").
use half::bf16;

/// Which lane holds each element of an 8 × 8 part of A, C or an `ldmatrix` matrix; two neighbours share a register.
pub const ROW_FIGURE: [[usize; 8]; 8] = [
    [0, 0, 1, 1, 2, 2, 3, 3],
    [4, 4, 5, 5, 6, 6, 7, 7],
    [8, 8, 9, 9, 10, 10, 11, 11],
    [12, 12, 13, 13, 14, 14, 15, 15],
    [16, 16, 17, 17, 18, 18, 19, 19],
    [20, 20, 21, 21, 22, 22, 23, 23],
    [24, 24, 25, 25, 26, 26, 27, 27],
    [28, 28, 29, 29, 30, 30, 31, 31],
];
/// The same for an 8 × 8 part of B (rows k, columns n), and for a transposed `ldmatrix`.
const COLUMN_FIGURE: [[usize; 8]; 8] = [
    [0, 4, 8, 12, 16, 20, 24, 28],
    [0, 4, 8, 12, 16, 20, 24, 28],
    [1, 5, 9, 13, 17, 21, 25, 29],
    [1, 5, 9, 13, 17, 21, 25, 29],
    [2, 6, 10, 14, 18, 22, 26, 30],
    [2, 6, 10, 14, 18, 22, 26, 30],
    [3, 7, 11, 15, 19, 23, 27, 31],
    [3, 7, 11, 15, 19, 23, 27, 31],
];
/// First row and column of the part that holds elements (0, 1), (2, 3), (4, 5), (6, 7) of the fragment.
pub const A_PARTS: [(usize, usize); 4] = [(0, 0), (8, 0), (0, 8), (8, 8)];
/// The same of B.
pub const B_PARTS: [(usize, usize); 2] = [(0, 0), (8, 0)];
/// The same of C and D.
pub const C_PARTS: [(usize, usize); 2] = [(0, 0), (8, 0)];
/// Four matrices one below the other.
pub const STACKED: [(usize, usize); 4] = [(0, 0), (8, 0), (16, 0), (24, 0)];

/// The bits of `x` rounded to bf16, in the low half.
pub fn bits(x: f32) -> u32 {
    u32::from(bf16::from_f32(x).to_bits())
}

/// Registers of all lanes, two bf16 each, of a matrix given by element.
pub fn pack(parts: &[(usize, usize)], by_row: bool, at: impl Fn(usize, usize) -> f32) -> Vec<u32> {
    let mut registers = vec![0u32; 32 * parts.len()];
    for (r, &(row, col)) in parts.iter().enumerate() {
        for i in 0..8 {
            for j in 0..8 {
                let (lane, half) =
                    if by_row { (ROW_FIGURE[i][j], j % 2) } else { (COLUMN_FIGURE[i][j], i % 2) };
                registers[lane * parts.len() + r] |= bits(at(row + i, col + j)) << (16 * half);
            }
        }
    }
    registers
}
