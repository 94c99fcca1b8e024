//! Random numbers that are a function of a key and a place.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

/// Values that have a stream of random numbers.
pub(crate) const BLOCK: usize = 1 << 14;

/// `len` of N(0, σ²).
pub(crate) fn normal(len: usize, sigma: f64, key: u64) -> Vec<f32> {
    let mut values = vec![0.0; len];
    draw_normal(&mut values, 0, sigma, key);
    values
}

/// N(0, σ²) by Box and Muller from block `first` on, in blocks with streams of their own so that they can be drawn in
/// parallel.
pub(crate) fn draw_normal(values: &mut [f32], first: usize, sigma: f64, key: u64) {
    values.par_chunks_mut(BLOCK).enumerate().for_each(|(block, values)| {
        let mut rng = ChaCha8Rng::seed_from_u64(key);
        rng.set_stream((first + block) as u64);
        // 53 random bits, in (0, 1].
        let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        for pair in values.chunks_mut(2) {
            let radius = sigma * (-2.0 * uniform().ln()).sqrt();
            let (sin, cos) = (std::f64::consts::TAU * uniform()).sin_cos();
            pair[0] = (radius * cos) as f32;
            if let Some(second) = pair.get_mut(1) {
                *second = (radius * sin) as f32;
            }
        }
    });
}

/// The same from element `first` on, wherever in a block that is.
pub(crate) fn draw_normal_from(values: &mut [f32], first: usize, sigma: f64, key: u64) {
    let (block, skipped) = (first / BLOCK, first % BLOCK);
    if skipped == 0 {
        return draw_normal(values, block, sigma, key);
    }
    let (head, rest) = values.split_at_mut(values.len().min(BLOCK - skipped));
    let mut begun = vec![0.0; skipped + head.len()];
    draw_normal(&mut begun, block, sigma, key);
    head.copy_from_slice(&begun[skipped..]);
    draw_normal(rest, block + 1, sigma, key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_the_same_wherever_it_begins() {
        let all = normal(3 * BLOCK + 7, 0.5, 9);
        for (first, len) in
            [(0, 5), (1, 4), (BLOCK - 1, 1), (BLOCK - 3, BLOCK + 9), (BLOCK, 3), (17, 3 * BLOCK - 10)]
        {
            let mut piece = vec![0.0; len];
            draw_normal_from(&mut piece, first, 0.5, 9);
            assert_eq!(piece, all[first..first + len], "{len} from {first}");
        }
    }
}
