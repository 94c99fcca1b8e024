//! Rounding to bf16 by random numbers: up with the probability of the part cut off, so that updates smaller than a step of
//! bf16 are not lost on average. Philox4x32-10 (Salmon et al. 2011, SC'11) makes the numbers, the same for an element and
//! a step as `kernels/adamw.cu`.
use super::math::vectorize;
use half::bf16;

/// Elements that random words are made for at a time.
pub const BLOCK: usize = 512;
/// Groups of four elements, which have one counter, that are computed side by side.
const LANES: usize = 16;
/// The upper byte of the counter says who draws: `STREAM_ADAMW` of `kernels/step.h`.
const STREAM: u64 = 1 << 56;

/// What the random words of a step are a function of, beside the element.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Key of the run.
    pub seed: u64,
    /// Attempted steps before this one.
    pub step: u64,
}

/// Random words of a block, and of the groups of four that it begins and ends inside of.
pub struct Words([[u32; 4]; BLOCK / 4 + LANES]);

impl Default for Words {
    fn default() -> Self {
        Self([[0; 4]; BLOCK / 4 + LANES])
    }
}

impl Words {
    /// One for each of `len` elements, at most [`BLOCK`], from element `first` of the flat buffers on: word `e % 4` of
    /// counter `e / 4`.
    pub fn draw(&mut self, draw: Draw, first: usize, len: usize) -> &[u32] {
        assert!(len <= BLOCK);
        let begin = first % 4;
        let groups = &mut self.0[..(begin + len).div_ceil(4).next_multiple_of(LANES)];
        vectorize(
            #[inline(always)]
            || {
                for (i, lanes) in groups.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    philox(draw, (first / 4 + i * LANES) as u64, lanes);
                }
            },
        );
        &self.0.as_flattened()[begin..][..len]
    }
}

/// The words of [`LANES`] counters from `first` on.
#[inline(always)]
fn philox(draw: Draw, first: u64, words: &mut [[u32; 4]; LANES]) {
    let [low, high] = [|x: u64| x as u32, |x: u64| (x >> 32) as u32];
    let upper = STREAM | draw.step;
    let counter = |i: usize| first + i as u64;
    let mut c0: [u32; LANES] = std::array::from_fn(|i| low(counter(i)));
    let mut c1: [u32; LANES] = std::array::from_fn(|i| high(counter(i)));
    let (mut c2, mut c3) = ([low(upper); LANES], [high(upper); LANES]);
    let mut key = [low(draw.seed), high(draw.seed)];
    for _ in 0..10 {
        for i in 0..LANES {
            let [a, b] = [0xd251_1f53 * u64::from(c0[i]), 0xcd9e_8d57 * u64::from(c2[i])];
            (c0[i], c2[i]) = (high(b) ^ c1[i] ^ key[0], high(a) ^ c3[i] ^ key[1]);
            (c1[i], c3[i]) = (low(b), low(a));
        }
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    for (i, words) in words.iter_mut().enumerate() {
        *words = [c0[i], c1[i], c2[i], c3[i]];
    }
}

/// Rounds by the lower 16 of `bits` of each word. Infinity stays, and so does NaN.
#[inline(always)]
pub fn narrow_by(from: &[f32], words: &[u32], to: &mut [bf16], bits: impl Fn(u32) -> u32) {
    vectorize(
        #[inline(always)]
        || {
            for ((x, word), y) in from.iter().zip(words).zip(to) {
                let rounded = x.to_bits().wrapping_add(bits(*word) & 0xffff) >> 16;
                *y = bf16::from_bits(if x.is_nan() { 0x7fff } else { rounded as u16 });
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::random::philox;

    #[test]
    fn words_are_those_of_the_naive_philox_wherever_a_block_begins() {
        let mut words = Words::default();
        for (seed, step) in [(0, 0), (1234, 7), (u64::MAX, (1 << 56) - 1)] {
            for (first, len) in
                [(0, BLOCK), (64, 1), (3, BLOCK), (1026, 3), (65, 64), (17_179_869_150, BLOCK)]
            {
                let found = words.draw(Draw { seed, step }, first, len);
                let naive = |e: usize| philox(seed, [e as u64 / 4, STREAM | step])[e % 4];
                assert!(
                    found.iter().copied().eq((first..first + len).map(naive)),
                    "{seed} {step} {first} {len}"
                );
            }
        }
    }

    #[test]
    fn as_many_go_up_as_the_part_cut_off_says() {
        let mut words = Words::default();
        let mut rounded = [bf16::ZERO; BLOCK];
        for cut_off in [0u32, 1, 0x4000, 0x8000, 0xffff] {
            let (mut up, mut all) = (0.0, 0.0);
            for step in 0..64 {
                let value = f32::from_bits(0xbf80_0000 + cut_off);
                let drawn = words.draw(Draw { seed: 5, step }, 0, BLOCK);
                narrow_by(&[value; BLOCK], drawn, &mut rounded, |word| word >> 16);
                assert!(rounded.iter().all(|y| [0xbf80, 0xbf81].contains(&y.to_bits())));
                up += rounded.iter().filter(|y| y.to_bits() == 0xbf81).count() as f64;
                all += BLOCK as f64;
            }
            let expected = f64::from(cut_off) / 65_536.0;
            // Four standard deviations, and none where there is no choice.
            let bound = 4.0 * (expected * (1.0 - expected) / all).sqrt();
            assert!((up / all - expected).abs() <= bound, "{cut_off:x}: {up} of {all}");
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let mut rounded = [bf16::ZERO; 5];
        let nan = f32::from_bits(0xffff_ffff);
        narrow_by(
            &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN, nan, 0.0],
            &[u32::MAX; 5],
            &mut rounded,
            |w| w,
        );
        let [inf, minus, one, two, zero] = rounded;
        assert_eq!([inf, minus, zero], [bf16::INFINITY, bf16::NEG_INFINITY, bf16::ZERO]);
        assert!(one.is_nan() && two.is_nan());
    }
}
