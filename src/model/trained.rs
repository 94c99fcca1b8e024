//! Which tensors are trained: the products that make only the gradients of others are left out.
use super::ParamTable;
use crate::ops::{AdamParam, Matrix, Vector};
use std::collections::BTreeSet;

/// Where the trained tensors begin. They lie in the order in which the forward pass uses them; a tied output matrix is
/// the embedding.
#[derive(Clone, Debug)]
pub struct Trained(BTreeSet<usize>);

impl Trained {
    /// Every tensor of the table is trained.
    pub fn all(table: &ParamTable) -> Self {
        Self(table.params.iter().map(|p| p.place.offset).collect())
    }

    /// Those that are not frozen.
    pub fn of(params: &[AdamParam]) -> Self {
        Self(params.iter().filter(|p| !p.is_frozen()).map(|p| p.place.offset).collect())
    }

    /// Whether a matrix is, or a tensor that is some columns of it, or one of these biases.
    pub fn any(&self, w: Matrix, bias: [Option<Vector>; 2]) -> bool {
        let mut columns = self.0.range(w.offset..w.offset + w.cols);
        columns.next().is_some() || bias.into_iter().flatten().any(|b| self.0.contains(&b.offset))
    }

    /// Whether this tensor is, or one that the forward pass uses before it: whether its gradient is wanted on the way.
    pub fn up_to(&self, last: Vector) -> bool {
        self.0.first().is_some_and(|first| *first <= last.offset)
    }
}
