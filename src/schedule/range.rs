//! Which numbers are accepted and how that is said, by keys of a configuration, arguments of schedules, and those that
//! other frameworks gave theirs.

/// Some of the finite numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// One of them, for messages.
    pub words: &'static str,
    fits: fn(f64) -> bool,
}

impl Range {
    const fn new(words: &'static str, fits: fn(f64) -> bool) -> Self {
        Self { words, fits }
    }

    /// Whether `x` is finite and one of them.
    pub fn has(self, x: f64) -> bool {
        x.is_finite() && (self.fits)(x)
    }
}

pub(crate) const AT_LEAST_0: Range = Range::new("a finite number of at least 0", |x| x >= 0.0);
pub(crate) const ABOVE_0: Range = Range::new("a finite number above 0", |x| x > 0.0);
pub(crate) const AT_LEAST_1: Range = Range::new("a finite number of at least 1", |x| x >= 1.0);
pub(crate) const BELOW_0: Range = Range::new("a finite number below 0", |x| x < 0.0);
pub(crate) const SHARE: Range = Range::new("a finite number from 0 to 1", |x| (0.0..=1.0).contains(&x));
pub(crate) const BELOW_1: Range =
    Range::new("a finite number of at least 0 and below 1", |x| (0.0..1.0).contains(&x));
pub(crate) const INSIDE_1: Range = Range::new("a finite number above 0 and below 1", |x| x > 0.0 && x < 1.0);
pub(crate) const UP_TO_1: Range =
    Range::new("a finite number above 0 and at most 1", |x| x > 0.0 && x <= 1.0);

// Whole numbers.
pub(crate) const FROM_0: Range = Range::new("a whole number of at least 0", |x| x >= 0.0 && x.fract() == 0.0);
pub(crate) const FROM_1: Range = Range::new("a whole number of at least 1", |x| x >= 1.0 && x.fract() == 0.0);
pub(crate) const FROM_2: Range = Range::new("a whole number of at least 2", |x| x >= 2.0 && x.fract() == 0.0);
/// The product of two of them fits in 64 bits.
pub(crate) const SIZE: Range = Range::new("a whole number of at least 1 and below 2^31", |x| {
    (1.0..2f64.powi(31)).contains(&x) && x.fract() == 0.0
});
pub(crate) const U32: Range = Range::new("a whole number from 0 to 2^32 - 1", |x| {
    (0.0..2f64.powi(32)).contains(&x) && x.fract() == 0.0
});
pub(crate) const U32_FROM_1: Range = Range::new("a whole number of at least 1 and below 2^32", |x| {
    (1.0..2f64.powi(32)).contains(&x) && x.fract() == 0.0
});
/// Of periods: more are a mistake, and each takes memory.
pub(crate) const UP_TO_A_MILLION: Range =
    Range::new("a whole number from 1 to 1,000,000", |x| (1.0..=1e6).contains(&x) && x.fract() == 0.0);
