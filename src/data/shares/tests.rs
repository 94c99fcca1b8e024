//! The order is a promise, shares are exact at every prefix, and a source that is empty leaves its own to the others.
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
    for weights in [[0.0, 0.0], [-0.5, 1.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0], [f64::MAX, f64::MAX]] {
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
            let origin = Dealt { sample: taken.iter().sum(), taken, ..Dealt::default() };
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

    /// No source gives more than it may. Where it has given that and more would be due to it, what is due is counted anew
    /// among the others.
    #[test]
    fn a_source_that_is_empty_leaves_its_share(
        shares in any_shares(),
        more in prop::collection::vec(prop::option::of(0u64..300), 8),
    ) {
        let origin = shares.origin.clone();
        let limit = |(taken, more): (&u64, Option<u64>)| more.map(|more| taken + more);
        let limits: Vec<_> = origin.taken.iter().zip(more).map(limit).collect();
        let end = origin.sample + 1200;
        let limited = shares.clone().limited(&limits, end).unwrap();
        let (mut cursor, mut empty) = (limited.at(origin.clone()), vec![false; limits.len()]);
        let mut due: Vec<f64> = origin.taken.iter().map(|taken| *taken as f64).collect();
        let parts = std::iter::successors(limited.then.as_deref(), |part| part.then.as_deref());
        let recounts: Vec<u64> = parts.map(|part| part.origin.sample).collect();
        for s in origin.sample..limited.exhausted().unwrap_or(end).min(end) {
            let taken = cursor.dealt().taken.clone();
            let stretch = shares.stretches.iter().rfind(|t| t.first <= s).unwrap();
            let left = |empty: &[bool], i: usize| if empty[i] { 0.0 } else { stretch.parts[i] as f64 };
            let sum = |empty: &[bool]| -> f64 { (0..limits.len()).map(|i| left(empty, i)).sum() };
            let ends = |empty: &[bool], due: &[f64], i: usize| {
                let next = due[i] + left(empty, i) / sum(empty);
                // At a tie a rounding decides whether more is due here or one sample on; the shares say which it was.
                let more = |limit: u64| match next - limit as f64 {
                    tie if tie.abs() < 1e-8 => recounts.contains(&s),
                    more => more > 0.0,
                };
                !empty[i] && limits[i].is_some_and(|limit| taken[i] >= limit && more(limit))
            };
            while (0..limits.len()).any(|i| ends(&empty, &due, i)) {
                for (i, taken) in taken.iter().enumerate() {
                    empty[i] = empty[i] || limits[i].is_some_and(|limit| *taken >= limit);
                }
                due = taken.iter().map(|taken| *taken as f64).collect();
            }
            let (left, sum) = (|i| left(&empty, i), sum(&empty));
            prop_assert!(sum > 0.0, "{} {:?}", s, empty);
            limited.next(&mut cursor);
            if s % 97 == 0 {
                prop_assert_eq!(&limited.seek(s + 1), &cursor);
                prop_assert_eq!(&limited.at(cursor.dealt().clone()), &cursor);
            }
            for (i, taken) in cursor.dealt().taken.iter().enumerate() {
                prop_assert!(limits[i].is_none_or(|limit| *taken <= limit), "{} {}", s, i);
                due[i] += left(i) / sum;
                prop_assert!((*taken as f64 - due[i]).abs() < 1.0 + 1e-6, "{} {} {}", s, taken, due[i]);
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

/// The bar: two to eight sources of weights from 0.001 to 0.999 that change in the middle, in one plan and in one after the
/// other, each from what was dealt out before it.
#[test]
fn a_hundred_thousand_samples_are_exact_at_every_prefix() {
    let mut state = 1u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % end
    };
    for sources in 2..=8 {
        let mut origin = start(sources);
        while origin.sample < 100_000 {
            let first = origin.sample;
            let mut weights = || (0..sources).map(|_| (1 + below(999)) as f64 / 1000.0).collect::<Vec<_>>();
            let changes = [
                (first, weights()),
                (first + 7001, weights()),
                (first + 7002, weights()),
                (first + 19_001, weights()),
            ];
            let shares = Shares::new(origin.clone(), &changes).unwrap();
            let mut cursor = shares.at(origin.clone());
            let mut due: Vec<f64> = origin.taken.iter().map(|taken| *taken as f64).collect();
            for s in first..first + 33_334 {
                shares.next(&mut cursor);
                let now = &changes.iter().rfind(|change| change.0 <= s).unwrap().1;
                let sum: f64 = now.iter().sum();
                for ((due, weight), taken) in due.iter_mut().zip(now).zip(&cursor.dealt().taken) {
                    *due += weight / sum;
                    assert!(
                        (*taken as f64 - *due).abs() < 1.0 + 1e-6,
                        "{sources} sources, sample {s}: {taken} {due}"
                    );
                }
            }
            origin = cursor.dealt().clone();
        }
    }
}

/// From one length of samples to another every source stays at its token.
#[test]
fn where_sources_stand_is_the_same_in_samples_of_any_length() {
    let at = [(1000, 990), (37, 0), (0, 0), (64, 64)];
    for seq_len in [1, 7, 8, 64, 5000] {
        let dealt = Dealt::standing(&at, seq_len, 3);
        let again: Vec<(u64, u64)> =
            (0..4).map(|i| (dealt.token(i, seq_len), dealt.given(i, seq_len))).collect();
        assert_eq!(again, at);
        assert_eq!(dealt.sample, dealt.taken.iter().sum::<u64>() + 3);
    }
    let plain = Dealt { sample: 12, taken: vec![5, 7], ..Dealt::default() };
    assert_eq!(Dealt::standing(&[(40, 40), (56, 56)], 8, 0), plain);
}
