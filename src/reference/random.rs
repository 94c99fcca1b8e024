//! Random inputs: splitmix64 (Steele et al. 2014) and the Box-Muller transform; and the kernels' random numbers.
use super::Float;

/// A stream of numbers that depends on its seed alone.
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number from N(0, 1).
    pub fn normal(&mut self) -> f64 {
        let mut uniform = || ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }

    /// `n` values of N(mean, σ²).
    pub fn normals<T: Float>(&mut self, n: usize, mean: f64, sigma: f64) -> Vec<T> {
        (0..n).map(|_| T::of(mean + sigma * self.normal())).collect()
    }

    /// `n` values in `0..vocab`, as tokens.
    pub fn tokens(&mut self, n: usize, vocab: usize) -> Vec<i32> {
        (0..n).map(|_| self.below(vocab) as i32).collect()
    }
}

/// Philox4x32-10 of a key and a counter, low half first, the rounds as the paper writes them (Salmon et al. 2011).
pub fn philox(key: u64, counter: [u64; 2]) -> [u32; 4] {
    let halves = |x: u64| [x as u32, (x >> 32) as u32];
    let ([c0, c1], [c2, c3]) = (halves(counter[0]), halves(counter[1]));
    let (mut c, mut k) = ([c0, c1, c2, c3], halves(key));
    for _ in 0..10 {
        let [a0, a1] = halves(0xd251_1f53 * u64::from(c[0]));
        let [b0, b1] = halves(0xcd9e_8d57 * u64::from(c[2]));
        c = [b1 ^ c[1] ^ k[0], b0, a1 ^ c[3] ^ k[1], a0];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c
}
