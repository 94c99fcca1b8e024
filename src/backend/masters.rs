//! Which weights have f32 master weights, and where: all of them, or, where weights are kept in bf16, those of norms and
//! biases.
use crate::model::ParamTable;
use std::ops::Range;

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
    /// Number of elements.
    pub len: usize,
    /// By offset; `None`: all weights have them, at the places of the flat buffers.
    parts: Option<Vec<Part>>,
}

impl Masters {
    /// Those of a model.
    pub fn new(table: &ParamTable) -> Self {
        if table.precision.has_f32_state() {
            return Self::all(table);
        }
        let (mut parts, mut len) = (Vec::new(), 0);
        for p in table.params.iter().filter(|p| p.has_master()) {
            parts.push(Part { offset: p.place.offset, master: len, len: p.shape[0] });
            len = (len + p.shape[0]).next_multiple_of(64); // aligned as in the flat buffers
        }
        parts.sort_by_key(|part| part.offset);
        Self { len, parts: Some(parts) }
    }

    /// Those of a model all of whose weights have them, whatever its precision.
    pub fn all(table: &ParamTable) -> Self {
        Self { len: table.total, parts: None }
    }

    /// Whether all weights have them, at the places of the flat buffers.
    pub fn are_all(&self) -> bool {
        self.parts.is_none()
    }

    /// Where the master weights of the tensor at this offset of the flat buffers begin, where it has any.
    pub fn of(&self, offset: usize) -> Option<usize> {
        let Some(parts) = &self.parts else { return Some(offset) };
        parts.binary_search_by_key(&offset, |part| part.offset).ok().map(|i| parts[i].master)
    }

    /// A stretch of the flat buffers, cut where master weights begin and end: each with the place of its master
    /// weights, where it has any.
    pub fn cut(&self, stretch: Range<usize>) -> Vec<(Range<usize>, Option<usize>)> {
        let Some(parts) = &self.parts else { return vec![(stretch.clone(), Some(stretch.start))] };
        let (mut cuts, mut at) = (Vec::new(), stretch.start);
        let first = parts.partition_point(|part| part.offset + part.len <= stretch.start);
        for part in parts[first..].iter().take_while(|part| part.offset < stretch.end) {
            if at < part.offset {
                cuts.push((at..part.offset, None));
                at = part.offset;
            }
            let end = (part.offset + part.len).min(stretch.end);
            cuts.push((at..end, Some(part.master + at - part.offset)));
            at = end;
        }
        if at < stretch.end {
            cuts.push((at..stretch.end, None));
        }
        cuts
    }
}
