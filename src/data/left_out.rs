//! Samples of a source that are never read, though its order has them.
use std::ops::Range;

use super::order::Order;

/// What of a source is left out: some samples of its order, and some windows in every epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// In order, apart from each other, not empty; so are the windows.
    samples: Vec<Range<u64>>,
    windows: Vec<Range<u64>>,
}

impl LeftOut {
    /// Ranges in any order, which may overlap.
    pub fn new(samples: Vec<Range<u64>>, windows: Vec<Range<u64>>) -> Self {
        Self { samples: joined(samples), windows: joined(windows) }
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.windows.is_empty()
    }

    /// Windows that no epoch reads.
    pub fn windows(&self) -> u64 {
        self.windows.iter().map(|range| range.end - range.start).sum()
    }

    /// How many of these samples of the order are left out.
    pub fn count(&self, order: &Order, samples: Range<u64>) -> u64 {
        let within =
            |range: &Range<u64>| range.end.min(samples.end).saturating_sub(range.start.max(samples.start));
        let mut count: u64 = self.samples.iter().map(within).sum();
        if self.windows.is_empty() || samples.is_empty() {
            return count;
        }
        for epoch in samples.start / order.windows()..=(samples.end - 1) / order.windows() {
            let of_epoch =
                self.windows.iter().cloned().flatten().map(|window| order.sample_of(epoch, window));
            let more = of_epoch.filter(|s| samples.contains(s) && around(&self.samples, *s).is_none());
            count += more.count() as u64;
        }
        count
    }

    /// The first sample from `sample` on that is read. Some windows of the order are, or this does not end.
    pub fn next(&self, order: &Order, mut sample: u64) -> u64 {
        loop {
            if let Some(range) = around(&self.samples, sample) {
                sample = range.end;
            } else if !self.windows.is_empty() && around(&self.windows, order.window_of(sample).1).is_some() {
                sample += 1;
            } else {
                return sample;
            }
        }
    }
}

/// The range that holds `x`.
fn around(ranges: &[Range<u64>], x: u64) -> Option<&Range<u64>> {
    let behind = ranges.partition_point(|range| range.start <= x);
    behind.checked_sub(1).map(|i| &ranges[i]).filter(|range| range.contains(&x))
}

fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::super::{Corpus, Side, Split};
    use super::*;
    use std::sync::Arc;

    /// What is counted is what is passed over.
    #[test]
    fn samples_are_counted_as_they_are_passed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.bin"), [7u8; 2 * 101]).unwrap();
        let corpus = Corpus::open(&[format!("raw-u16:{}", dir.path().join("a.bin").display())]).unwrap();
        let order = Order::new(Arc::new(corpus), Side::All, Split::NONE, 5, 1).unwrap();
        assert_eq!(order.windows(), 20);
        let left_out = LeftOut::new(vec![3..9, 30..45], vec![2..4, 11..12]);
        let mut kept = Vec::new();
        while kept.last().is_none_or(|last| *last < 100) {
            kept.push(left_out.next(&order, kept.last().map_or(0, |last| last + 1)));
        }
        for (start, end) in [(0, 100), (0, 0), (4, 8), (17, 63), (39, 41), (60, 80)] {
            let read = kept.iter().filter(|sample| (start..end).contains(*sample)).count() as u64;
            assert_eq!(left_out.count(&order, start..end), end - start - read, "{start}..{end}");
        }
        assert_eq!(left_out.count(&order, 60..80), 3);
    }

    #[test]
    fn ranges_are_joined_and_found() {
        let ranges = joined(vec![7..9, 3..3, 0..2, 8..12, 2..4]);
        assert_eq!(ranges, [0..4, 7..12]);
        let held: Vec<u64> = (0..15).filter(|x| around(&ranges, *x).is_some()).collect();
        assert_eq!(held, [0, 1, 2, 3, 7, 8, 9, 10, 11]);
    }
}
