//! Weights and moments, in one of two forms: f32, with copies for products where those read bf16; or bf16, with f32 master
//! weights of norms and biases only.
use super::buffers::zeros;
use super::element::{Element, narrow, widen};
use crate::Result;
use crate::backend::masters::Masters;
use crate::model::ParamTable;
use crate::ops::{Matrix, Part, Sink, Vector};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

/// Elements that are converted at a time.
const PIECE: usize = 1 << 16;

/// The flat buffers of a model but for its gradients.
pub struct Parameters {
    /// Elements of a flat buffer.
    pub len: usize,
    /// The weights in f32: all, at the places of the flat buffers, or those of norms and biases, where `masters` says.
    pub w32: Vec<f32>,
    /// The weights that products read in bf16, at the places of the flat buffers: roundings of `w32`, or, of matrices
    /// without master weights, the weights. Empty where products read `w32`.
    pub w16: Vec<bf16>,
    /// Which weights are in `w32`, and where.
    pub masters: Masters,
    /// Whether `w32` was written since it was rounded.
    stale: bool,
    /// First and second moments.
    pub moments: Moments,
}

/// First and second moments, at the places of the flat buffers; empty unless training.
pub enum Moments {
    /// In f32; then all weights are, too.
    Wide([Vec<f32>; 2]),
    /// In bf16, as are the weights of matrices.
    Narrow([Vec<bf16>; 2]),
}

/// Bytes of the weights and of the moments that [`Parameters::new`] allocates.
pub fn bytes<E: Element>(table: &ParamTable, trains: bool) -> [usize; 2] {
    let masters = masters::<E>(table);
    let copies = if E::ROUNDS { table.total } else { 0 };
    let moment = if masters.are_all() { size_of::<f32>() } else { size_of::<bf16>() };
    let moments = if trains { 2 * table.total } else { 0 };
    [masters.len * size_of::<f32>() + copies * size_of::<bf16>(), moments * moment]
}

fn masters<E: Element>(table: &ParamTable) -> Masters {
    if E::ROUNDS { Masters::new(table) } else { Masters::all(table) }
}

impl Parameters {
    /// All zero, in the form that the precision of the table and the element of activations ask for.
    pub fn new<E: Element>(table: &ParamTable, trains: bool) -> Self {
        let (masters, len) = (masters::<E>(table), table.total);
        let moments = if trains { len } else { 0 };
        Self {
            len,
            w32: zeros(masters.len),
            w16: zeros(if E::ROUNDS { len } else { 0 }),
            stale: false,
            moments: if masters.are_all() {
                Moments::Wide([(); 2].map(|()| zeros(moments)))
            } else {
                Moments::Narrow([(); 2].map(|()| zeros(moments)))
            },
            masters,
        }
    }

    /// The weights of a norm or a bias.
    pub fn vector(&self, v: Vector) -> &[f32] {
        let at = self.masters.of(v.offset).expect("norms and biases have master weights");
        &self.w32[at..at + v.len]
    }

    /// The weights as products read them.
    pub fn matrices<E: Element>(&self) -> &[E] {
        E::weights(&self.w32, &self.w16)
    }

    /// Rounds master weights anew where they were written from outside. Nobody reads the copies of norms and biases, so
    /// there is nothing to do where only those have masters.
    pub fn refresh_copies(&mut self) {
        if std::mem::take(&mut self.stale) && self.masters.are_all() {
            let chunks = self.w32.par_chunks(PIECE).zip(self.w16.par_chunks_mut(PIECE));
            chunks.for_each(|(w32, w16)| narrow(w32, w16));
        }
    }

    /// Elements of a part.
    pub fn part_len(&self, part: Part) -> usize {
        match (part, &self.moments) {
            (Part::Weights, _) => self.len,
            (Part::First | Part::Second, Moments::Wide([m, _])) => m.len(),
            (Part::First | Part::Second, Moments::Narrow([m, _])) => m.len(),
            (Part::Average, _) => 0,
        }
    }

    /// A part that is f32, each element at its place.
    pub fn wide(&self, part: Part) -> Option<&[f32]> {
        let Moments::Wide([m, v]) = &self.moments else { return None };
        Some(match part {
            Part::Weights => &self.w32,
            Part::First => m,
            Part::Second => v,
            Part::Average => &[],
        })
    }

    /// The same to be written.
    pub fn wide_mut(&mut self, part: Part) -> Option<&mut [f32]> {
        let Moments::Wide([m, v]) = &mut self.moments else { return None };
        self.stale |= part == Part::Weights;
        Some(match part {
            Part::Weights => &mut self.w32,
            Part::First => m,
            Part::Second => v,
            Part::Average => &mut [],
        })
    }

    /// Hands a tensor of a part that is bf16 to `sink` in row-major order.
    pub fn lend_narrow(&self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        let mut values = vec![0.0; PIECE.min(place.elements())];
        for stretch in place.stretches(0, place.elements()) {
            for first in stretch.clone().step_by(PIECE) {
                let piece = first..stretch.end.min(first + PIECE);
                let values = &mut values[..piece.len()];
                self.read_narrow(part, piece, values);
                sink(values)?;
            }
        }
        Ok(())
    }

    fn read_narrow(&self, part: Part, stretch: Range<usize>, values: &mut [f32]) {
        match (part, &self.moments) {
            (Part::Weights, _) => {
                let start = stretch.start;
                for (cut, master) in self.masters.cut(stretch) {
                    let values = &mut values[cut.start - start..cut.end - start];
                    match master {
                        Some(at) => values.copy_from_slice(&self.w32[at..at + cut.len()]),
                        None => widen(&self.w16[cut], values),
                    }
                }
            }
            (Part::First, Moments::Narrow([m, _])) => widen(&m[stretch], values),
            (Part::Second, Moments::Narrow([_, v])) => widen(&v[stretch], values),
            _ => unreachable!("{part:?} is not kept in bf16"),
        }
    }

    /// Rounds `values` to nearest, to their places in a part that is bf16, from row-major index `first` of a tensor on.
    pub fn write_narrow(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) {
        let mut left = values;
        for stretch in place.stretches(first, values.len()) {
            let (now, later) = left.split_at(stretch.len());
            left = later;
            match (part, &mut self.moments) {
                (Part::Weights, _) => {
                    let start = stretch.start;
                    for (cut, master) in self.masters.cut(stretch) {
                        let now = &now[cut.start - start..cut.end - start];
                        match master {
                            Some(at) => self.w32[at..at + cut.len()].copy_from_slice(now),
                            None => narrow(now, &mut self.w16[cut]),
                        }
                    }
                }
                (Part::First, Moments::Narrow([m, _])) => narrow(now, &mut m[stretch]),
                (Part::Second, Moments::Narrow([_, v])) => narrow(now, &mut v[stretch]),
                _ => unreachable!("{part:?} is not kept in bf16"),
            }
        }
    }
}
