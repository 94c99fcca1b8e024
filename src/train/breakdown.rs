//! The loss of a step by parts of its targets: those that end a text, and those of each source. It is read off the losses of
//! rows that a step has anyway, in the order of the batch, so the split into micro-batches changes no bit.
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Mean losses of the targets that end a text, and of all others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByEnd {
    /// Of the former.
    pub loss_end_of_text: f64,
    /// Of the latter.
    pub loss_within_text: f64,
}

impl ByEnd {
    /// From sums of losses and of what they count, `[of ends, of all]`; none where there is no end, or nothing else.
    pub(super) fn of(losses: [f64; 2], counts: [f64; 2]) -> Option<Self> {
        let [[end, all], [ends, counted]] = [losses, counts];
        (ends > 0.0 && counted > ends)
            .then(|| Self { loss_end_of_text: end / ends, loss_within_text: (all - end) / (counted - ends) })
    }
}

/// Mean loss of the targets of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceLoss {
    /// Number of the source, as [`super::Micro::sources`] has it.
    pub source: usize,
    /// Mean loss before the update, nats per token, weighted where targets are.
    pub loss: f64,
    /// How much its targets count: their number, or the sum of the sizes of their weights. The mean of the losses of all
    /// sources by this is the loss of the step.
    pub counted: f64,
}

/// Some of the targets of a batch.
#[derive(Default)]
struct Part {
    /// Places in the batch, in order.
    rows: Vec<Range<usize>>,
    /// How much they count.
    counted: f64,
}

impl Part {
    /// `shares` says how much each row of the batch counts.
    fn new(rows: Vec<Range<usize>>, shares: &[f32]) -> Self {
        let counted = sum(&rows, shares);
        Self { rows, counted }
    }
}

fn sum(rows: &[Range<usize>], of: &[f32]) -> f64 {
    rows.iter().flat_map(|rows| &of[rows.clone()]).map(|x| f64::from(*x)).sum()
}

/// The parts of a batch whose losses are reported; known before the step is computed.
pub struct Breakdown {
    ends: Part,
    sources: Vec<Part>,
}

impl Breakdown {
    /// Of a batch whose rows count `shares`, `[B, T]`: its targets, and the one that ends a text, and the source of each
    /// sequence (none are known where that is empty) of so many tokens.
    pub fn new(
        (targets, end): (&[i32], Option<i32>),
        (sources, time): (&[usize], usize),
        shares: &[f32],
    ) -> Self {
        let is_end = |row: &usize| end.is_some_and(|end| targets[*row] == end);
        let ends = (0..targets.len()).filter(is_end).map(|row| row..row + 1).collect();
        let of_source = |source: usize| {
            let sequences = (0..sources.len()).filter(|i| sources[*i] == source);
            Part::new(sequences.map(|i| i * time..(i + 1) * time).collect(), shares)
        };
        let count = sources.iter().max().map_or(0, |last| last + 1);
        Self { ends: Part::new(ends, shares), sources: (0..count).map(of_source).collect() }
    }

    /// The means of the parts of the batch that has these losses, each times the size of its weight; `all` are the sum of
    /// the losses of all rows and how much those count.
    pub fn of(&self, losses: &[f32], all: [f64; 2]) -> (Option<ByEnd>, Vec<SourceLoss>) {
        let ends = sum(&self.ends.rows, losses);
        let by_end = ByEnd::of([ends, all[0]], [self.ends.counted, all[1]]);
        let counting = self.sources.iter().enumerate().filter(|(_, part)| part.counted > 0.0);
        let mean = |(source, part): (usize, &Part)| SourceLoss {
            source,
            loss: sum(&part.rows, losses) / part.counted,
            counted: part.counted,
        };
        (by_end, counting.map(mean).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three sequences of two targets of the sources 2, 0 and 2, of which token 9 ends a text, against sums by hand.
    #[test]
    fn parts_are_told_apart() {
        let (targets, losses) = ([9, 1, 1, 9, -1, 1], [1.0, 2.0, 4.0, 8.0, 0.0, 32.0]);
        let means = |shares: [f32; 6], end: Option<i32>, sources: &[usize]| {
            let weighted: Vec<f32> = losses.iter().zip(shares).map(|(loss, share)| loss * share).collect();
            let total = |of: &[f32]| of.iter().map(|x| f64::from(*x)).sum::<f64>();
            let breakdown = Breakdown::new((&targets, end), (sources, 2), &shares);
            breakdown.of(&weighted, [total(&weighted), total(&shares)])
        };
        let source = |source, loss, counted| SourceLoss { source, loss, counted };
        let plain = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0];
        let ends = ByEnd { loss_end_of_text: 4.5, loss_within_text: 38.0 / 3.0 };
        let by_source = vec![source(0, 6.0, 2.0), source(2, 35.0 / 3.0, 3.0)];
        assert_eq!(means(plain, Some(9), &[2, 0, 2]), (Some(ends), by_source.clone()));
        assert_eq!(means(plain, None, &[2, 0, 2]), (None, by_source));
        assert_eq!(means(plain, None, &[]), (None, Vec::new()));
        // A source of which nothing counts has no loss.
        let weighted = [2.0, 0.5, 0.0, 0.0, 0.0, 1.5];
        assert_eq!(means(weighted, None, &[2, 0, 2]), (None, vec![source(2, 51.0 / 4.0, 4.0)]));
    }
}
