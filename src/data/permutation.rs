//! A keyed permutation of `0..n` computed point by point: a Feistel network with cycle walking.
use xxhash_rust::xxh3::xxh3_64_with_seed;

const ROUNDS: usize = 8;

/// A bijection on `0..n`. Two keys give unrelated bijections; the same key always gives the same one.
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    /// Bits of each half; the network permutes `0..4^half_bits`, the smallest such domain that holds `0..n`.
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..n` with the key (seed, fingerprint, epoch).
    pub fn new(n: u64, seed: u64, fingerprint: u128, epoch: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let mut message = [0; 25];
        message[..16].copy_from_slice(&fingerprint.to_le_bytes());
        message[16..24].copy_from_slice(&epoch.to_le_bytes());
        let keys = std::array::from_fn(|round| {
            message[24] = round as u8;
            xxh3_64_with_seed(&message, seed)
        });
        Self { n, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Where `i` goes. Requires `i < n`, and gives a value below `n`.
    ///
    /// A point that leaves `0..n` is sent through the network again. It comes back, because the network is a
    /// bijection and the cycle of `i` contains `i`; it takes less than 4 passes on average, because 4^half_bits < 4n
    /// (n ≥ 2).
    pub fn apply(&self, i: u64) -> u64 {
        debug_assert!(i < self.n, "{i} is outside the permuted range 0..{}", self.n);
        let mut x = self.network(i);
        while x >= self.n {
            x = self.network(x);
        }
        x
    }

    /// What goes to `x`. Requires `x < n`, and gives a value below `n`.
    pub fn invert(&self, x: u64) -> u64 {
        debug_assert!(x < self.n, "{x} is outside the permuted range 0..{}", self.n);
        let mut i = self.network_backward(x);
        while i >= self.n {
            i = self.network_backward(i);
        }
        i
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (splitmix(key, right) & mask));
        }
        left << self.half_bits | right
    }

    fn network_backward(&self, x: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys.into_iter().rev() {
            (left, right) = (right ^ (splitmix(key, left) & mask), left);
        }
        left << self.half_bits | right
    }
}

/// Output `i` of the SplitMix64 generator seeded with `key` (Steele, Lea and Flood 2014).
pub(crate) fn splitmix(key: u64, i: u64) -> u64 {
    let mut z = key.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_permutation(n: u64, seed: u64, epoch: u64) -> bool {
        let permutation = Permutation::new(n, seed, 7, epoch);
        let mut seen = vec![false; n as usize];
        (0..n).all(|i| !std::mem::replace(&mut seen[permutation.apply(i) as usize], true))
    }

    #[test]
    fn every_small_size_and_the_powers_of_two() {
        assert!((1..300).chain([1023, 1024, 1025, 65_535, 65_536, 65_537]).all(|n| is_permutation(n, 1, 0)));
    }

    proptest! {
        #[test]
        fn any_size_seed_and_epoch(n in 1u64..20_000, seed: u64, epoch: u64) {
            prop_assert!(is_permutation(n, seed, epoch));
        }

        #[test]
        fn the_inverse_leads_back(n in 1u64.., seed: u64, i: u64) {
            let permutation = Permutation::new(n, seed, 7, 1);
            prop_assert_eq!(permutation.invert(permutation.apply(i % n)), i % n);
        }

        #[test]
        fn huge_sizes_stay_in_range(n in 1u64.., seed: u64, i: u64) {
            prop_assert!(Permutation::new(n, seed, 7, 0).apply(i % n) < n);
        }
    }

    /// Serial correlation and mean displacement of a shuffle: |r| < 4/√n.
    #[test]
    fn looks_shuffled() {
        let n = 10_000u64;
        for epoch in 0..4 {
            let permutation = Permutation::new(n, 3, 7, epoch);
            let middle = (n - 1) as f64 / 2.0;
            let variance = ((n * n - 1) as f64) / 12.0;
            let of = |i: u64| permutation.apply(i) as f64 - middle;
            let serial: f64 = (1..n).map(|i| of(i) * of(i - 1)).sum::<f64>() / variance / n as f64;
            let identity: f64 =
                (0..n).map(|i| of(i) * (i as f64 - middle)).sum::<f64>() / variance / n as f64;
            assert!(serial.abs() < 0.04 && identity.abs() < 0.04, "epoch {epoch}: {serial} {identity}");
        }
    }

    #[test]
    fn splitmix_is_the_published_generator() {
        // First three outputs for the seed 1234567, from the Rosetta Code page "Pseudo-random numbers/Splitmix64".
        let expected = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        assert_eq!(std::array::from_fn(|i| splitmix(1234567, i as u64)), expected);
    }
}
