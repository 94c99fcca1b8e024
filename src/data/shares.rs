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
    /// What holds from its origin on, where a source has given all that it may.
    then: Option<Box<Shares>>,
    /// The sample before which all of them have.
    exhausted: Option<u64>,
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
    /// Samples by source; their sum with `elsewhere` is `sample`.
    pub taken: Vec<u64>,
    /// Samples of its order that each source has passed over beside those; empty where none has passed over any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<u64>,
    /// Tokens of its order before sample 0 of each source; empty where there are none. They are from phases whose samples had
    /// another length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shift: Vec<u64>,
    /// Tokens that each source has given in such phases beside `taken` samples, fewer than one has; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<u64>,
    /// Samples given by sources that are no longer there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
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
        Self { taken: vec![0; sources], ..Self::default() }
    }

    /// The same where it was given to sources that stand at these tokens of their orders and have given so many of them, in
    /// samples of `seq_len`; `elsewhere` are samples of others.
    pub fn standing(at: &[(u64, u64)], seq_len: u64, elsewhere: u64) -> Self {
        let by_source = |of: fn(u64, u64, u64) -> u64| -> Vec<u64> {
            at.iter().map(|(position, given)| of(*position, *given, seq_len)).collect()
        };
        let some = |list: Vec<u64>| if list.iter().all(|count| *count == 0) { Vec::new() } else { list };
        let taken = by_source(|_, given, seq_len| given / seq_len);
        Self {
            sample: taken.iter().sum::<u64>() + elsewhere,
            taken,
            passed: some(by_source(|position, given, seq_len| {
                (position / seq_len).saturating_sub(given / seq_len)
            })),
            shift: some(by_source(|position, _, seq_len| position % seq_len)),
            rest: some(by_source(|_, given, seq_len| given % seq_len)),
            elsewhere,
        }
    }

    /// The sample of its order at which a source stands.
    pub fn position(&self, source: usize) -> u64 {
        self.taken[source] + self.passed.get(source).copied().unwrap_or(0)
    }

    /// Tokens of its order before sample 0 of a source.
    pub fn shift(&self, source: usize) -> u64 {
        self.shift.get(source).copied().unwrap_or(0)
    }

    /// The token of its order at which a source stands, in samples of `seq_len`.
    pub fn token(&self, source: usize, seq_len: u64) -> u64 {
        self.shift(source).saturating_add(self.position(source).saturating_mul(seq_len))
    }

    /// Tokens that a source has given.
    pub fn given(&self, source: usize, seq_len: u64) -> u64 {
        self.rest.get(source).copied().unwrap_or(0).saturating_add(self.taken[source].saturating_mul(seq_len))
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
        Ok(Self { unit, stretches, origin, then: None, exhausted: None })
    }

    /// The same, but that a source which has given as many samples as it may leaves its share to the others, in proportion
    /// to theirs, from where one more would be due to it. What comes after sample `until` is not looked for: every sample
    /// before an end is dealt out here.
    pub fn limited(mut self, limits: &[Option<u64>], until: u64) -> Result<Self> {
        let more = |source: usize| {
            let limit = limits[source]?;
            let given = self.origin.taken[source] >= limit;
            let end = if given { self.origin.sample } else { self.window(source, limit).opens };
            (end < until).then_some((end, source, limit))
        };
        let Some((end, source, limit)) = (0..self.sources()).filter_map(more).min() else { return Ok(self) };
        // Its last sample, if it was not given before, is due there before all others.
        let end = if self.seek(end).dealt.taken[source] < limit { end + 1 } else { end };
        let dealt = self.seek(end).dealt;
        let is_empty = |source: usize| limits[source].is_some_and(|limit| dealt.taken[source] >= limit);
        let current = self.stretches.partition_point(|stretch| stretch.first <= end).max(1) - 1;
        let left = |stretch: &Stretch| -> (u64, Vec<f64>) {
            let parts = stretch.parts.iter().enumerate();
            let left = parts.map(|(source, parts)| if is_empty(source) { 0.0 } else { *parts as f64 });
            (stretch.first.max(end), left.collect())
        };
        let changes: Vec<_> = self.stretches[current..].iter().map(left).collect();
        let nothing = changes.iter().position(|(_, left)| left.iter().all(|parts| *parts == 0.0));
        self.exhausted = nothing.map(|i| changes[i].0);
        let changes = &changes[..nothing.unwrap_or(changes.len())];
        if !changes.is_empty() {
            let limits: Vec<_> = (0..limits.len()).map(|i| limits[i].filter(|_| !is_empty(i))).collect();
            let then = Self::new(dealt, changes)?.limited(&limits, until)?;
            self.exhausted = [self.exhausted, then.exhausted].into_iter().flatten().min();
            self.then = Some(Box::new(then));
        }
        Ok(self)
    }

    /// The sample before which all sources have given all that they may, where they come to that.
    pub fn exhausted(&self) -> Option<u64> {
        self.exhausted
    }

    /// What holds at a sample, where it is not these shares.
    fn then(&self, sample: u64) -> Option<&Self> {
        self.then.as_deref().filter(|then| sample >= then.origin.sample)
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
        if let Some(then) = self.then(sample) {
            return then.due(sample);
        }
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
        if let Some(then) = self.then(sample) {
            return then.seek(sample);
        }
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
        if let Some(then) = self.then(dealt.sample) {
            return then.at(dealt);
        }
        let windows = (0..dealt.taken.len()).map(|source| self.window(source, dealt.taken[source])).collect();
        Cursor { dealt, windows }
    }

    /// Whose turn the next sample is.
    pub fn next(&self, cursor: &mut Cursor) -> Turn {
        if let Some(then) = self.then(cursor.dealt.sample) {
            return then.next(cursor);
        }
        let Cursor { dealt, windows } = cursor;
        let open = windows.iter().enumerate().filter(|(_, window)| window.opens <= dealt.sample);
        let (source, _) = open
            .min_by_key(|(_, window)| window.closes)
            .expect("after a sample more is due than was taken before it: one window is open");
        let turn = Turn { source, sample: dealt.taken[source] };
        dealt.taken[source] += 1;
        dealt.sample += 1;
        if self.then(dealt.sample).is_some() {
            // From here on the windows are those of other shares.
            *cursor = self.at(dealt.clone());
        } else {
            windows[source] = self.window(source, dealt.taken[source]);
        }
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
mod tests;
