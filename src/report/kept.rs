//! Which points of a long curve are kept for a page: few, and all of its extremes.

/// Points of a curve at most.
pub const KEPT_MAX: usize = 4_000;

/// Numbers of the points that are kept, in order: all where there are at most `most`, else of each of `most / 4` stretches the
/// first, the last, the lowest and the highest. Values that are not finite are points like others.
pub fn kept(values: &[f64], most: usize) -> Vec<usize> {
    if values.len() <= most {
        return (0..values.len()).collect();
    }
    let stretches = (most / 4).max(1);
    let mut found = Vec::with_capacity(4 * stretches);
    for stretch in 0..stretches {
        let (start, end) = (stretch * values.len() / stretches, (stretch + 1) * values.len() / stretches);
        let by = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
        let (Some(low), Some(high)) = ((start..end).min_by(by), (start..end).max_by(by)) else { continue };
        let mut of_stretch = [start, low, high, end - 1];
        of_stretch.sort_unstable();
        found.extend(of_stretch);
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_stay() {
        let mut values: Vec<f64> = (0..100_000).map(|i| (i as f64 / 700.0).sin()).collect();
        (values[31_234], values[77_777]) = (50.0, -50.0);
        let found = kept(&values, KEPT_MAX);
        assert!(
            found.len() <= KEPT_MAX && found.is_sorted() && found.windows(2).all(|pair| pair[0] < pair[1])
        );
        for i in [0, 31_234, 77_777, 99_999] {
            assert!(found.contains(&i), "{i}");
        }
        // Each stretch of 100 points keeps its range.
        for stretch in 0..1000 {
            let range = 100 * stretch..100 * (stretch + 1);
            let of = |found: &mut dyn Iterator<Item = f64>| {
                found.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)))
            };
            let all = of(&mut range.clone().map(|i| values[i]));
            assert_eq!(of(&mut found.iter().filter(|i| range.contains(i)).map(|i| values[*i])), all);
        }
        assert_eq!(kept(&values[..7], 4_000), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((kept(&[], 8), kept(&[f64::NAN; 100], 8).len()), (vec![], 4));
    }
}
