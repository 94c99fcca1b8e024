//! What operations read of a batch of sequences beside activations.
use std::ops::Range;

/// The tokens of a batch `[B, T]`, and what goes with each.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Input tokens, below the size of the vocabulary.
    pub tokens: &'a [i32],
    /// The tokens that follow; a negative one is ignored by the loss. None where nothing is predicted.
    pub targets: &'a [i32],
    /// Gradients are those of the sum of the losses times this.
    pub scale: f32,
    /// The weight of each target in the gradient, beside the scale: 0 masks it (its loss is 0), and with a negative one its
    /// loss is that of not predicting it ([`crate::ops::Op::CrossEntropy`]). Empty where each is 1.
    pub weights: &'a [f32],
    /// The documents that the tokens are of.
    pub documents: Documents<'a>,
}

impl<'a> Inputs<'a> {
    /// Every sequence is one document.
    pub fn new(tokens: &'a [i32], targets: &'a [i32], scale: f32) -> Self {
        Self { tokens, targets, scale, weights: &[], documents: Documents::NONE }
    }
}

/// Where the documents of sequences begin, and who looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Documents<'a> {
    /// For each token `[B, T]`, the row of its sequence in which its document begins: that of row 0 is 0. Empty where
    /// nobody looks.
    pub starts: &'a [i32],
    /// Whether attention stays inside of a document.
    pub isolate: bool,
    /// Whether positions count from the start of the document, not from that of the sequence.
    pub reset: bool,
}

impl Documents<'_> {
    /// Every sequence is one document.
    pub const NONE: Self = Self { starts: &[], isolate: false, reset: false };

    /// Those of some rows.
    pub fn part(self, rows: Range<usize>) -> Self {
        let starts = if self.starts.is_empty() { self.starts } else { &self.starts[rows] };
        Self { starts, ..self }
    }

    /// The position of row `row` of the batch, which is row `t` of its sequence.
    pub fn position(self, row: usize, t: usize) -> usize {
        if self.reset { t - self.starts[row] as usize } else { t }
    }
}
