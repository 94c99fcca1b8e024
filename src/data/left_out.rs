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
    use super::*;

    #[test]
    fn ranges_are_joined_and_found() {
        let ranges = joined(vec![7..9, 3..3, 0..2, 8..12, 2..4]);
        assert_eq!(ranges, [0..4, 7..12]);
        let held: Vec<u64> = (0..15).filter(|x| around(&ranges, *x).is_some()).collect();
        assert_eq!(held, [0, 1, 2, 3, 7, 8, 9, 10, 11]);
    }
}
