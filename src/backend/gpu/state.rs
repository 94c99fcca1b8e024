//! The flat buffers of a run, which the host reads and writes piece by piece through pinned memory; each call waits.
use super::held::{PIECE, Staging};
use super::{Gpu, long};
use crate::Result;
use crate::device::{Arg, Rows, Span};
use crate::ops::{Matrix, Part, Sink, State};
use half::bf16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::ops::Range;

/// Elements of a piece.
const ELEMENTS: usize = PIECE / size_of::<f32>();
/// Elements at multiples of which `cast_f32_bf16` may begin; tensors do.
const ALIGN: usize = 64;

/// Rows on the device, in the order of the flat buffers.
struct Held {
    rows: Rows,
    /// Whether they are f32, else bf16.
    wide: bool,
}

impl Held {
    /// Elements of a span.
    fn of(span: Span, elements: Matrix, wide: bool) -> Self {
        let size = if wide { 4 } else { 2 };
        let first = span.part(size * elements.offset, size * elements.cols);
        Self { rows: Rows { first, count: elements.rows, pitch: size * elements.ld }, wide }
    }

    fn len(&self) -> usize {
        self.rows.bytes() / if self.wide { 4 } else { 2 }
    }
}

impl State for Gpu {
    fn state_len(&self, part: Part) -> usize {
        let kept = match part {
            Part::Weights => true,
            Part::First | Part::Second => self.layout.m.bytes > 0,
            Part::Average => self.ema.is_some(),
        };
        if kept { self.total } else { 0 }
    }

    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        self.checked()?;
        let mut widened = Vec::new();
        for first in (0..place.elements()).step_by(ELEMENTS) {
            let held = self.held(part, place, first, ELEMENTS.min(place.elements() - first));
            let bytes = self.download_all(&held)?;
            if held.iter().all(|held| held.wide) {
                sink(bytemuck::cast_slice(bytes))?;
            } else {
                widen(bytes, &held, &mut widened);
                sink(&widened)?;
            }
        }
        Ok(())
    }

    fn write_state(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) -> Result<()> {
        for (piece, values) in values.chunks(ELEMENTS).enumerate() {
            let first = first + piece * ELEMENTS;
            let held = self.held(part, place, first, values.len());
            self.upload_all(&held, values)?;
            if part == Part::Weights {
                let blocks = place.blocks(first, values.len()).map(Matrix::extent);
                self.round_weights(blocks.reduce(|all, last| all.start..last.end).unwrap_or(0..0))?;
            }
        }
        Ok(())
    }
}

impl Gpu {
    /// The moving average begins as the weights.
    pub(super) fn copy_weights_to_average(&mut self) -> Result<()> {
        for first in (0..self.total).step_by(ELEMENTS) {
            let place = Matrix::row(first, ELEMENTS.min(self.total - first));
            let mut values = Vec::with_capacity(place.cols);
            self.read_state(Part::Weights, place, &mut |piece| {
                values.extend_from_slice(piece);
                Ok(())
            })?;
            self.write_state(Part::Average, place, 0, &values)?;
        }
        Ok(())
    }

    /// Where `len` values of a tensor lie, from row-major index `first` on.
    fn held(&self, part: Part, place: Matrix, first: usize, len: usize) -> Vec<Held> {
        let layout = &self.layout;
        let wide_moments = layout.precision.has_f32_state();
        let average = || layout.ema.expect("whoever keeps an average has memory for it");
        let mut held = Vec::new();
        for block in place.blocks(first, len) {
            match part {
                Part::Weights => {
                    held.extend(layout.masters.cut(block.extent()).into_iter().map(|(weights, master)| {
                        // Of several rows, which are a matrix, all weights have master weights or none.
                        let cols = if block.rows == 1 { weights.len() } else { block.cols };
                        let of = |offset| Matrix { offset, cols, ..block };
                        match master {
                            Some(at) => Held::of(layout.w32, of(at), true),
                            None => Held::of(layout.w16, of(weights.start), false),
                        }
                    }))
                }
                Part::First => held.push(Held::of(layout.m, block, wide_moments)),
                Part::Second => held.push(Held::of(layout.v, block, wide_moments)),
                Part::Average => held.push(Held::of(average(), block, true)),
            }
        }
        held
    }

    /// Copies them one behind the other into pinned memory.
    fn download_all(&mut self, held: &[Held]) -> Result<&[u8]> {
        let Staging { pinned, done } = self.staging;
        let mut at = 0;
        for held in held {
            self.device.download_rows(self.compute, held.rows, pinned, at)?;
            at += held.rows.bytes();
        }
        self.device.record(done, self.compute)?;
        self.device.synchronize(done)?;
        Ok(&self.device.host(pinned)[..at])
    }

    /// Overwrites them with `values`.
    fn upload_all(&mut self, held: &[Held], values: &[f32]) -> Result<()> {
        let Staging { pinned, done } = self.staging;
        let (mut at, mut left) = (0, values);
        for held in held {
            let (now, later) = left.split_at(held.len());
            let bytes = &mut self.device.host(pinned)[at..][..held.rows.bytes()];
            if held.wide {
                bytes.copy_from_slice(bytemuck::cast_slice(now));
            } else {
                let bits: &mut [u16] = bytemuck::cast_slice_mut(bytes);
                bits.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(now);
            }
            self.device.upload_rows(self.compute, pinned, at, held.rows)?;
            at += held.rows.bytes();
            left = later;
        }
        self.device.record(done, self.compute)?;
        self.device.synchronize(done)
    }

    /// Puts what was made of weights in order after these were written: the bf16 copies of those with master weights,
    /// and the sums of biases. A few neighbours are rounded again, to the same bits.
    fn round_weights(&mut self, written: Range<usize>) -> Result<()> {
        let end = written.end.next_multiple_of(ALIGN).min(self.total);
        for (weights, master) in self.layout.masters.cut(written.start / ALIGN * ALIGN..end) {
            let Some(master) = master else { continue };
            let [from, to] =
                [self.at(self.layout.w32, 4, master), self.at(self.layout.w16, 2, weights.start)];
            let args = vec![Arg::address(from), Arg::address(to), long(weights.len())];
            self.launch("cast_f32_bf16", [weights.len().div_ceil(4096), 1, 1], 256, 0, args);
        }
        let mut biases = self.layout.bias_pairs.iter().flatten();
        if biases.any(|bias| bias.offset < written.end && written.start < bias.offset + bias.len) {
            self.sum_biases();
        }
        self.checked()
    }
}

/// The values of what lies in `bytes`.
fn widen(bytes: &[u8], held: &[Held], values: &mut Vec<f32>) {
    values.clear();
    let mut at = 0;
    for held in held {
        let (bytes, from) = (&bytes[at..][..held.rows.bytes()], values.len());
        values.resize(from + held.len(), 0.0);
        let target = &mut values[from..];
        if held.wide {
            bytemuck::cast_slice_mut(target).copy_from_slice(bytes);
        } else {
            let bits: &[u16] = bytemuck::cast_slice(bytes);
            bits.reinterpret_cast::<bf16>().convert_to_f32_slice(target);
        }
        at += bytes.len();
    }
}
