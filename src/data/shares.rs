//! Which source each sample of a run comes from: a pure function of the shares and the sample's number.
//!
//! Source `i` is due `due_i(s)` samples among the first `s`: the sum of its shares, sample by sample. Its sample `j` has a
//! window: from the sample in which `due_i` passes `j` to the one in which it reaches `j + 1`. Every sample goes to the
//! source whose window is open and closes first. Shares are fractions that keep to all windows, so whole samples can
//! (a matching in a bipartite graph), and whoever closes first does (earliest deadline first). Hence at every `s`, also
//! where shares change, `|taken_i(s) − due_i(s)| < 1`: what Tijdeman 1980 ("The chairman assignment problem", Discrete
//! Mathematics 32) shows to be possible, and what Baruah et al. 1996 call proportionate fairness.
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The largest number of parts that shares written as fractions are looked for in; see [`unit_of`].
const EXACT_UNIT_MAX: u64 = 1 << 17;
/// Parts of a sample where none fit: the rounding adds up to one sample after 2^40.
const FINE_UNIT: u64 = 1 << 40;
/// The window of a sample that is not due as long as shares stay.
const NEVER: u64 = u64::MAX;

/// What part of the samples each source has, over a run, from an origin on.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// Parts of a sample: the parts of all sources add up to it.
    unit: u64,
    /// In order; the last one never ends.
    stretches: Vec<Stretch>,
    /// Where the first stretch starts.
    origin: Dealt,
}

/// Samples with the same shares.
#[derive(Clone, Debug, PartialEq)]
struct Stretch {
    first: u64,
    /// Of a sample, by source.
    parts: Vec<u64>,
    /// Parts due to each source before `first`.
    due: Vec<u128>,
}

/// How many samples were dealt out, and how many of them each source has given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealt {
    /// Samples of the run.
    pub sample: u64,
    /// Samples by source; their sum is `sample`.
    pub taken: Vec<u64>,
    /// Samples of its order that each source has passed over beside those; empty where none has passed over any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<u64>,
}

/// A position in a run, and what the next choice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    dealt: Dealt,
    /// Of the next sample of each source.
    windows: Vec<Window>,
}

/// First and last sample of the run, the last one excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    opens: u64,
    closes: u64,
}

/// Where a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// Number of the source.
    pub source: usize,
    /// Sample of the source.
    pub sample: u64,
}

impl Dealt {
    /// Nothing, to so many sources.
    pub fn nothing(sources: usize) -> Self {
        Self { sample: 0, taken: vec![0; sources], passed: Vec::new() }
    }

    /// The sample of its order at which a source stands.
    pub fn position(&self, source: usize) -> u64 {
        self.taken[source] + self.passed.get(source).copied().unwrap_or(0)
    }
}

impl Shares {
    /// From `origin` on, what lies before being settled. `changes` are the first samples of stretches and the weights of
    /// all sources there, in order; weights are divided by their sum. Refused where they are negative, not finite, or
    /// all zero.
    pub fn new(origin: Dealt, changes: &[(u64, Vec<f64>)]) -> Result<Self> {
        let sources = origin.taken.len();
        assert!(changes.first().is_some_and(|c| c.0 == origin.sample), "shares are known from the origin on");
        assert!(changes.windows(2).all(|c| c[0].0 < c[1].0), "stretches are in order and not empty");
        let mut shares = Vec::with_capacity(changes.len());
        for (first, weights) in changes {
            assert_eq!(weights.len(), sources, "every source has a weight");
            let sum: f64 = weights.iter().sum();
            if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || !sum.is_finite() || sum <= 0.0 {
                return Err(Error::refused(format!(
                    "the weights of the sources are {weights:?} from sample {first} on; each must be finite and at \
                     least 0, and one positive"
                )));
            }
            shares.push(weights.iter().map(|weight| weight / sum).collect::<Vec<_>>());
        }
        let unit = unit_of(&shares);
        let mut due: Vec<u128> = origin.taken.iter().map(|n| u128::from(*n) * u128::from(unit)).collect();
        let mut stretches: Vec<Stretch> = Vec::with_capacity(changes.len());
        for ((first, _), shares) in changes.iter().zip(&shares) {
            if let Some(before) = stretches.last() {
                due = before.due_at(*first);
            }
            stretches.push(Stretch { first: *first, parts: parts_of(shares, unit), due: due.clone() });
        }
        Ok(Self { unit, stretches, origin })
    }

    /// Number of sources that share the samples.
    pub fn sources(&self) -> usize {
        self.origin.taken.len()
    }

    /// What each source had given where these shares begin.
    pub fn origin(&self) -> &Dealt {
        &self.origin
    }

    /// Samples due to each source among the first `sample` of the run, which may not lie before the origin.
    pub fn due(&self, sample: u64) -> Vec<f64> {
        let after = self.stretches.partition_point(|stretch| stretch.first <= sample).max(1);
        let due = self.stretches[after - 1].due_at(sample);
        due.into_iter().map(|parts| parts as f64 / self.unit as f64).collect()
    }

    /// The position after the first `sample` samples of the run, which may not lie before the origin, where no source passes
    /// over any.
    ///
    /// Where shares never change the deal repeats every `unit` samples, which is a short way for shares written in few
    /// digits. Otherwise all samples since the origin are dealt out again.
    pub fn seek(&self, sample: u64) -> Cursor {
        assert!(sample >= self.origin.sample, "what lies before the origin is settled");
        let mut start = self.origin.clone();
        if let [stretch] = &self.stretches[..] {
            let periods = sample.saturating_sub(start.sample) / self.unit;
            start.sample += periods * self.unit;
            start.taken.iter_mut().zip(&stretch.parts).for_each(|(taken, parts)| *taken += periods * parts);
        }
        let mut cursor = self.at(start);
        while cursor.dealt.sample < sample {
            self.next(&mut cursor);
        }
        cursor
    }

    /// The position at which this was dealt out.
    pub fn at(&self, dealt: Dealt) -> Cursor {
        let windows = (0..dealt.taken.len()).map(|source| self.window(source, dealt.taken[source])).collect();
        Cursor { dealt, windows }
    }

    /// Whose turn the next sample is.
    pub fn next(&self, cursor: &mut Cursor) -> Turn {
        let Cursor { dealt, windows } = cursor;
        let open = windows.iter().enumerate().filter(|(_, window)| window.opens <= dealt.sample);
        let (source, _) = open
            .min_by_key(|(_, window)| window.closes)
            .expect("after a sample more is due than was taken before it: one window is open");
        let turn = Turn { source, sample: dealt.taken[source] };
        dealt.taken[source] += 1;
        dealt.sample += 1;
        windows[source] = self.window(source, dealt.taken[source]);
        turn
    }

    /// When sample `j` of a source has its turn.
    fn window(&self, source: usize, j: u64) -> Window {
        let [start, end] = [j, j + 1].map(|n| u128::from(n) * u128::from(self.unit));
        // The stretch in which due passes `start`, the one in which it reaches `end`; the last one may do neither.
        let passes = self.stretches.partition_point(|s| s.due[source] <= start).max(1) - 1;
        let reaches = self.stretches.partition_point(|s| s.due[source] < end).max(1) - 1;
        let samples = |at: usize, goal: u128, round: fn(u128, u128) -> u128| {
            let stretch = &self.stretches[at];
            match u128::from(stretch.parts[source]) {
                0 => NEVER,
                each => {
                    let after = round(goal.saturating_sub(stretch.due[source]), each);
                    u64::try_from(after).map_or(NEVER, |after| stretch.first.saturating_add(after))
                }
            }
        };
        Window { opens: samples(passes, start, |a, b| a / b), closes: samples(reaches, end, u128::div_ceil) }
    }
}

impl Cursor {
    /// What was dealt out before it.
    pub fn dealt(&self) -> &Dealt {
        &self.dealt
    }

    /// Notes that a source passed over samples of its order.
    pub(super) fn pass(&mut self, source: usize, samples: u64) {
        let Dealt { taken, passed, .. } = &mut self.dealt;
        passed.resize(taken.len(), 0);
        passed[source] += samples;
    }
}

impl Stretch {
    fn due_at(&self, sample: u64) -> Vec<u128> {
        let samples = u128::from(sample.saturating_sub(self.first));
        self.due.iter().zip(&self.parts).map(|(due, parts)| due + samples * u128::from(*parts)).collect()
    }
}

/// The fewest parts of a sample in which all shares are whole, to the last digits of f64: 20 for 0.95 and 0.05. What has
/// no such number up to 2^17 is rounded to 2^-40.
fn unit_of(shares: &[Vec<f64>]) -> u64 {
    let fits = |unit: f64| {
        let mut shares = shares.iter().flatten().map(|share| share * unit);
        shares.all(|parts| (parts - parts.round()).abs() <= 4.0 * f64::EPSILON * unit)
    };
    (1..=EXACT_UNIT_MAX).find(|unit| fits(*unit as f64)).unwrap_or(FINE_UNIT)
}

/// Whole parts that add up to `unit`; what has no share has no parts.
fn parts_of(shares: &[f64], unit: u64) -> Vec<u64> {
    let (mut sum, mut before) = (0.0, 0);
    let last = shares.iter().rposition(|share| *share > 0.0);
    let part = |(i, share): (usize, &f64)| {
        sum += share;
        let until =
            if last.is_some_and(|last| i >= last) { unit } else { (sum * unit as f64).round() as u64 };
        let parts = until.min(unit) - before;
        before += parts;
        parts
    };
    shares.iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fixed(weights: &[f64]) -> Shares {
        Shares::new(start(weights.len()), &[(0, weights.to_vec())]).unwrap()
    }

    fn start(sources: usize) -> Dealt {
        Dealt::nothing(sources)
    }

    fn turns(shares: &Shares, samples: u64) -> Vec<Turn> {
        let mut cursor = shares.seek(0);
        (0..samples).map(|_| shares.next(&mut cursor)).collect()
    }

    fn sources(shares: &Shares, samples: u64) -> String {
        turns(shares, samples).iter().map(|turn| char::from(b'a' + turn.source as u8)).collect()
    }

    #[test]
    fn the_order_is_a_promise() {
        // A change would break every run that is resumed.
        assert_eq!(sources(&fixed(&[1.0]), 4), "aaaa");
        assert_eq!(sources(&fixed(&[0.75, 0.25]), 12), ORDER_THREE_TO_ONE);
        assert_eq!(sources(&fixed(&[0.5, 0.3, 0.2]), 20), ORDER_OF_THREE);
        let changes = [(0, vec![1.0, 0.0]), (5, vec![0.5, 0.5]), (11, vec![0.1, 0.9])];
        assert_eq!(sources(&Shares::new(start(2), &changes).unwrap(), 20), ORDER_WITH_CHANGES);
    }

    const ORDER_THREE_TO_ONE: &str = "aaabaaabaaab";
    const ORDER_OF_THREE: &str = "abacababacabacababac";
    const ORDER_WITH_CHANGES: &str = "aaaaaabababbbbbbbbba";

    #[test]
    fn shares_are_whole_parts_where_they_can_be() {
        let unit = |weights: &[f64]| fixed(weights).unit;
        assert_eq!(unit(&[1.0]), 1);
        assert_eq!(unit(&[0.95, 0.05]), 20);
        assert_eq!(unit(&[1.0, 1.0, 1.0]), 3);
        // SlimPajama in percent: two digits are enough.
        assert_eq!(unit(&[67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0]), 200);
        assert_eq!(unit(&[0.5f64.sqrt(), 1.0]), FINE_UNIT);
        let parts = fixed(&[0.0, 0.5f64.sqrt(), 1.0, 0.0]).stretches[0].parts.clone();
        assert_eq!((parts[0], parts[3], parts.iter().sum()), (0, 0, FINE_UNIT));
    }

    #[test]
    fn weights_without_meaning_are_refused() {
        for weights in [[0.0, 0.0], [-0.5, 1.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0], [f64::MAX, f64::MAX]]
        {
            let error = Shares::new(start(2), &[(0, vec![0.5, 0.5]), (7, weights.to_vec())]).unwrap_err();
            assert!(error.to_string().contains("from sample 7 on"), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn fixed_shares_are_found_far_out_at_once() {
        let shares = fixed(&[67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0]);
        let mut cursor = shares.seek(1 << 50);
        assert_eq!(cursor.dealt().taken.iter().sum::<u64>(), 1 << 50);
        for (taken, due) in cursor.dealt().taken.iter().zip(shares.due(1 << 50)) {
            assert!((*taken as f64 - due).abs() < 1.0, "{taken} {due}");
        }
        shares.next(&mut cursor);
        assert_eq!(cursor, shares.seek((1 << 50) + 1));
    }

    /// Weights of 1 to 8 sources: few digits, many, or none at all.
    fn weights(sources: usize) -> impl Strategy<Value = Vec<f64>> {
        let one = prop_oneof![Just(0.0), (1u32..20).prop_map(f64::from), 0.0..1.0, 0.0..1e-3];
        prop::collection::vec(one, sources).prop_filter("one is positive", |w| w.iter().sum::<f64>() > 0.0)
    }

    /// An origin behind some samples, and stretches of any length.
    fn any_shares() -> impl Strategy<Value = Shares> {
        (1usize..8, 1usize..6).prop_flat_map(|(sources, changes)| {
            let stretch = (1u64..200, weights(sources));
            let taken = prop::collection::vec(0u64..1000, sources);
            (taken, prop::collection::vec(stretch, changes)).prop_map(|(taken, stretches)| {
                let origin = Dealt { sample: taken.iter().sum(), taken, passed: Vec::new() };
                let mut first = origin.sample;
                let starts = stretches.iter().map(|(length, weights)| {
                    first += length;
                    (first - length, weights.clone())
                });
                Shares::new(origin, &starts.collect::<Vec<_>>()).unwrap()
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// At every prefix less than one sample from what is due, and every sample of a source once and in order.
        #[test]
        fn exact_at_every_prefix(shares in any_shares()) {
            let mut cursor = shares.at(shares.origin.clone());
            let mut next = shares.origin.taken.clone();
            for s in shares.origin.sample..shares.origin.sample + 1200 {
                let turn = shares.next(&mut cursor);
                prop_assert_eq!(turn.sample, next[turn.source]);
                next[turn.source] += 1;
                prop_assert_eq!(&cursor.dealt().taken, &next);
                let due = shares.stretches.iter().rfind(|t| t.first <= s + 1).unwrap().due_at(s + 1);
                for (taken, due) in next.iter().zip(due) {
                    let ahead = i128::from(*taken) * i128::from(shares.unit) - due as i128;
                    prop_assert!(ahead.unsigned_abs() < u128::from(shares.unit), "{} {}", s, ahead);
                }
            }
        }

        /// What is due is what the weights say, to a rounding.
        #[test]
        fn due_is_the_sum_of_shares(weights in weights(5), more in weights(5), change in 1u64..500, end in 1u64..500) {
            let shares = Shares::new(start(5), &[(0, weights.clone()), (change, more.clone())]).unwrap();
            let of = |w: &[f64], i: usize| w[i] / w.iter().sum::<f64>();
            for (i, due) in shares.due(end).into_iter().enumerate() {
                let (before, after) = (end.min(change) as f64, end.saturating_sub(change) as f64);
                let expected = before * of(&weights, i) + after * of(&more, i);
                prop_assert!((due - expected).abs() < 1e-8, "{} {}", due, expected);
            }
        }

        /// Looking a position up and walking to it are the same.
        #[test]
        fn seeking_is_walking(shares in any_shares(), steps in 0u64..1500) {
            let mut cursor = shares.at(shares.origin.clone());
            for _ in 0..steps {
                shares.next(&mut cursor);
            }
            prop_assert_eq!(&shares.seek(shares.origin.sample + steps), &cursor);
            prop_assert_eq!(&shares.at(cursor.dealt().clone()), &cursor);
        }
    }
}
