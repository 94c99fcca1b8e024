//! Samples of a source that are never read, though its order has them.
use std::ops::Range;

use super::order::{Order, Piece};

/// What of a source is left out: some samples of its order, and in every epoch those with a token of some documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// In order, apart from each other, not empty; so are the positions.
    samples: Vec<Range<u64>>,
    /// Of tokens of the side.
    positions: Vec<Range<u64>>,
}

impl LeftOut {
    /// Ranges in any order, which may overlap.
    pub fn new(samples: Vec<Range<u64>>, positions: Vec<Range<u64>>) -> Self {
        Self { samples: joined(samples), positions: joined(positions) }
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.positions.is_empty()
    }

    /// Whether the documents leave nothing of an epoch.
    pub fn takes_all(&self, order: &Order) -> bool {
        let samples = 0..order.epoch_tokens().div_ceil(order.seq_len() as u64);
        let in_every_epoch = Self { samples: Vec::new(), positions: self.positions.clone() };
        in_every_epoch.count(order, samples.clone()) == samples.end
    }

    /// How many of these samples of the order are left out.
    pub fn count(&self, order: &Order, samples: Range<u64>) -> u64 {
        let mut ranges = self.samples.clone();
        if !self.positions.is_empty() && !samples.is_empty() {
            let (first, last) = order.epochs_of(&samples);
            for epoch in first..=last {
                ranges
                    .extend(self.positions.iter().flat_map(|tokens| order.samples_of(epoch, tokens.clone())));
            }
        }
        let within =
            |range: &Range<u64>| range.end.min(samples.end).saturating_sub(range.start.max(samples.start));
        joined(ranges).iter().map(within).sum()
    }

    /// The first sample from `sample` on that is read. Something of the order is, or this does not end.
    pub fn next(&self, order: &Order, mut sample: u64) -> u64 {
        loop {
            if let Some(range) = around(&self.samples, sample) {
                sample = range.end;
            } else if !self.positions.is_empty()
                && order.pieces(sample).iter().any(|piece| self.has_of(piece))
            {
                sample += 1;
            } else {
                return sample;
            }
        }
    }

    /// Whether a token of a piece is left out.
    fn has_of(&self, Piece { start, targets, .. }: &Piece) -> bool {
        let before = self.positions.partition_point(|range| range.end <= *start);
        self.positions.get(before).is_some_and(|range| range.start <= start + targets)
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
        // Windows 2 and 3, and window 11: from one token of a window to the first of the next, that one included.
        let left_out = LeftOut::new(vec![3..9, 30..45], vec![11..20, 56..60]);
        let mut kept = Vec::new();
        while kept.last().is_none_or(|last| *last < 100) {
            kept.push(left_out.next(&order, kept.last().map_or(0, |last| last + 1)));
        }
        for (start, end) in [(0, 100), (0, 0), (4, 8), (17, 63), (39, 41), (60, 80)] {
            let read = kept.iter().filter(|sample| (start..end).contains(*sample)).count() as u64;
            assert_eq!(left_out.count(&order, start..end), end - start - read, "{start}..{end}");
        }
        assert_eq!(left_out.count(&order, 60..80), 3);
        assert!(!left_out.takes_all(&order));
        assert!(LeftOut::new(Vec::new(), std::iter::once(0..101).collect()).takes_all(&order));
    }

    /// Where samples join windows, and the first of them begins within one.
    #[test]
    fn samples_that_join_windows_are_counted_as_they_are_passed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.bin"), [7u8; 2 * 101]).unwrap();
        let corpus = Corpus::open(&[format!("raw-u16:{}", dir.path().join("a.bin").display())]).unwrap();
        let mut order =
            Order::new(Arc::new(corpus), Side::All, Split::NONE, 5, 1).unwrap().windowed(12).unwrap();
        order.shift(3);
        let tokens = [11..14, 40..41, 96..99];
        let left_out = LeftOut::new(vec![3..9, 60..61], tokens.to_vec());
        let touched = |sample: u64| {
            let of = |piece: &Piece| piece.start..=piece.start + piece.targets;
            order
                .pieces(sample)
                .iter()
                .flat_map(of)
                .any(|token| tokens.iter().any(|range| range.contains(&token)))
        };
        let (mut next, mut kept) = (0, Vec::new());
        while next < 300 {
            kept.push(left_out.next(&order, next));
            next = kept[kept.len() - 1] + 1;
        }
        let read = |s: &u64| !touched(*s) && !(3..9).contains(s) && *s != 60;
        kept.pop();
        assert_eq!(kept, (0..kept[kept.len() - 1] + 1).filter(read).collect::<Vec<_>>());
        for (start, end) in [(0, 100), (0, 0), (0, 1), (17, 63), (58, 62), (200, 260)] {
            let read = (start..end).filter(read).count() as u64;
            assert_eq!(left_out.count(&order, start..end), end - start - read, "{start}..{end}");
        }
    }

    #[test]
    fn ranges_are_joined_and_found() {
        let ranges = joined(vec![7..9, 3..3, 0..2, 8..12, 2..4]);
        assert_eq!(ranges, [0..4, 7..12]);
        let held: Vec<u64> = (0..15).filter(|x| around(&ranges, *x).is_some()).collect();
        assert_eq!(held, [0, 1, 2, 3, 7, 8, 9, 10, 11]);
    }
}
