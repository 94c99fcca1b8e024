//! The documents of a batch, and how attention divides a sequence along them.
use crate::ops::Documents;
use std::ops::Range;

/// Documents that are attended to in one go, masked from each other, have so many rows together: as many as a tile of
/// queries, below which a document of its own would not be worth its products.
const TOGETHER: usize = 64;

/// A copy of what the batch said.
#[derive(Debug, Default)]
pub struct KeptDocuments {
    starts: Vec<i32>,
    isolate: bool,
    reset: bool,
}

impl KeptDocuments {
    /// Those of the next operations.
    pub fn keep(&mut self, documents: Documents) {
        self.starts.clear();
        self.starts.extend_from_slice(documents.starts);
        (self.isolate, self.reset) = (documents.isolate, documents.reset);
    }

    /// Of all rows.
    pub fn of_batch(&self) -> Documents<'_> {
        Documents { starts: &self.starts, isolate: self.isolate, reset: self.reset }
    }
}

/// Rows of a sequence that attend to each other and to nobody else: one document, or several short ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment<'a> {
    /// Rows of the sequence.
    pub rows: Range<usize>,
    /// Of these rows.
    documents: Documents<'a>,
    /// Whether there are several, which are masked from each other.
    several: bool,
}

impl Segment<'_> {
    /// The first row of the segment that its row `t` sees.
    #[inline(always)]
    pub fn first_seen(&self, t: usize) -> usize {
        if self.several { self.documents.starts[t] as usize - self.rows.start } else { 0 }
    }

    /// The position by whose angle row `t` of the segment is rotated.
    pub fn position(&self, t: usize) -> usize {
        self.documents.position(t, self.rows.start + t)
    }
}

/// A sequence of `time` rows in segments, a function of where its documents start.
pub fn segments(documents: Documents<'_>, time: usize) -> impl Iterator<Item = Segment<'_>> {
    let end_of_document = move |start: usize| {
        let next = |t: &usize| documents.starts[*t] != documents.starts[start];
        if documents.isolate { (start + 1..time).find(next).unwrap_or(time) } else { time }
    };
    let mut start = 0;
    std::iter::from_fn(move || {
        let first = start;
        if first == time {
            return None;
        }
        let mut end = end_of_document(first);
        let alone = end;
        while end < time && end - first < TOGETHER {
            match end_of_document(end) {
                next if next - first <= TOGETHER => end = next,
                _ => break,
            }
        }
        start = end;
        let rows = first..end;
        Some(Segment { documents: documents.part(rows.clone()), rows, several: end > alone })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of documents of these lengths.
    fn segments_of(lengths: &[usize]) -> Vec<(Range<usize>, bool)> {
        let mut starts = Vec::new();
        for &length in lengths {
            let start = starts.len() as i32;
            starts.extend(std::iter::repeat_n(start, length));
        }
        let documents = Documents { starts: &starts, isolate: true, reset: true };
        let all: Vec<_> = segments(documents, starts.len()).collect();
        for segment in &all {
            for t in 0..segment.rows.len() {
                let row = segment.rows.start + t;
                assert_eq!(segment.rows.start + segment.first_seen(t), starts[row] as usize, "{lengths:?}");
                assert_eq!(segment.position(t), row - starts[row] as usize, "{lengths:?}");
            }
        }
        all.into_iter().map(|s| (s.rows, s.several)).collect()
    }

    #[test]
    fn long_documents_are_alone_and_short_ones_together() {
        assert_eq!(segments_of(&[1]), [(0..1, false)]);
        assert_eq!(segments_of(&[200]), [(0..200, false)]);
        assert_eq!(segments_of(&[200, 1, 63, 1]), [(0..200, false), (200..264, true), (264..265, false)]);
        assert_eq!(segments_of(&[32, 33, 31]), [(0..32, false), (32..96, true)]);
        assert_eq!(segments_of(&[1; 130]), [(0..64, true), (64..128, true), (128..130, true)]);
        assert_eq!(segments_of(&[63, 1, 64]), [(0..64, true), (64..128, false)]);
    }

    #[test]
    fn a_sequence_that_is_not_divided_is_one_segment() {
        let whole: Vec<_> = segments(Documents::NONE, 70).collect();
        assert_eq!(whole.len(), 1);
        assert_eq!((whole[0].rows.clone(), whole[0].first_seen(69), whole[0].position(69)), (0..70, 0, 69));
        // Positions may begin anew where attention does not.
        let starts = [0, 0, 2, 2, 2];
        let documents = Documents { starts: &starts, isolate: false, reset: true };
        let whole: Vec<_> = segments(documents, 5).collect();
        assert_eq!((whole.len(), whole[0].first_seen(4), whole[0].position(4)), (1, 0, 2));
    }
}
