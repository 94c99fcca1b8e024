//! A flat group of parameters, put together again from the pieces that its ranks saved.
use crate::Result;
use crate::checkpoint::torch::{Tensor, TorchFile};

/// Pieces one behind the other.
#[derive(Default)]
pub(super) struct Flat {
    pieces: Vec<Piece>,
    len: usize,
}

struct Piece {
    /// The number of its file.
    file: usize,
    tensor: Tensor,
    start: usize,
}

impl Flat {
    pub(super) fn push(&mut self, file: usize, tensor: &Tensor) {
        // A last piece may be nothing but padding, which was taken off.
        if tensor.elements() > 0 {
            self.pieces.push(Piece { file, tensor: tensor.clone(), start: self.len });
            self.len += tensor.elements();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Fills `values` with the elements from `at` on, all of which are there.
    pub(super) fn fill(&self, files: &[TorchFile], mut at: usize, mut values: &mut [f32]) -> Result<()> {
        let mut number = self.pieces.partition_point(|piece| piece.start <= at) - 1;
        while !values.is_empty() {
            let Piece { file, tensor, start } = &self.pieces[number];
            let count = (start + tensor.elements() - at).min(values.len());
            let (now, later) = values.split_at_mut(count);
            files[*file].fill(tensor, at - start, now)?;
            (values, at, number) = (later, at + count, number + 1);
        }
        Ok(())
    }
}
