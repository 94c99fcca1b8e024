//! Which weights have f32 master weights, and where: all of them, or, where weights are kept in bf16, those of norms and
//! biases.
use crate::model::{ParamTable, Precision};

/// A tensor with master weights.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// First element in the flat buffers.
    offset: usize,
    /// First element among the master weights.
    master: usize,
    len: usize,
}

/// Places of the master weights.
#[derive(Clone, Debug)]
pub struct Masters {
    /// Elements.
    pub len: usize,
    /// By offset; `None`: all weights have them, at the places of the flat buffers.
    parts: Option<Vec<Part>>,
}

impl Masters {
    /// Those of a model.
    pub fn new(table: &ParamTable) -> Self {
        if table.precision == Precision::Mixed {
            return Self { len: table.total, parts: None };
        }
        let (mut parts, mut len) = (Vec::new(), 0);
        for p in table.params.iter().filter(|p| p.has_master()) {
            parts.push(Part { offset: p.place.offset, master: len, len: p.shape[0] });
            len = (len + p.shape[0]).next_multiple_of(64); // aligned as in the flat buffers
        }
        parts.sort_by_key(|part| part.offset);
        Self { len, parts: Some(parts) }
    }

    /// Where the master weights of the tensor at this offset of the flat buffers begin, where it has any.
    pub fn of(&self, offset: usize) -> Option<usize> {
        let Some(parts) = &self.parts else { return Some(offset) };
        parts.binary_search_by_key(&offset, |part| part.offset).ok().map(|i| parts[i].master)
    }

    /// Picks them out of a flat buffer.
    pub fn gather(&self, flat: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        for p in self.parts.iter().flatten() {
            values[p.master..][..p.len].copy_from_slice(&flat[p.offset..][..p.len]);
        }
        values
    }

    /// Puts them back.
    pub fn scatter(&self, values: &[f32], flat: &mut [f32]) {
        for p in self.parts.iter().flatten() {
            flat[p.offset..][..p.len].copy_from_slice(&values[p.master..][..p.len]);
        }
    }
}
