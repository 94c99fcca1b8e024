//! The flat buffers, lent as they are where they are f32, and piece by piece where they are bf16.
use super::Processor;
use super::multiply::Multiply;
use crate::Result;
use crate::ops::{Matrix, Part, Sink, Source, State, draw_in_order};

impl<E> Processor<E> {
    /// A part that is f32, each element at its place.
    fn wide(&self, part: Part) -> Option<&[f32]> {
        match (part, &self.ema) {
            (Part::Average, Some((ema, _))) => Some(ema),
            _ => self.parameters.wide(part),
        }
    }

    fn wide_mut(&mut self, part: Part) -> Option<&mut [f32]> {
        match (part, &mut self.ema) {
            (Part::Average, Some((ema, _))) => Some(ema),
            _ => self.parameters.wide_mut(part),
        }
    }
}

impl<E: Multiply> State for Processor<E> {
    fn state_len(&self, part: Part) -> usize {
        match (part, &self.ema) {
            (Part::Average, Some((ema, _))) => ema.len(),
            _ => self.parameters.part_len(part),
        }
    }

    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        match self.wide(part) {
            Some(flat) => place.lend(flat, sink),
            None => self.parameters.lend_narrow(part, place, sink),
        }
    }

    fn write_state(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) -> Result<()> {
        match self.wide_mut(part) {
            Some(flat) => place.scatter(first, values, flat),
            None => self.parameters.write_narrow(part, place, first, values),
        }
        Ok(())
    }

    fn fill_state(&mut self, part: Part, place: Matrix, source: Source<'_>) -> Result<()> {
        match self.wide_mut(part) {
            Some(flat) => place.draw(source, flat),
            None => draw_in_order(source, place.elements(), |first, values| {
                self.parameters.write_narrow(part, place, first, values);
                Ok(())
            }),
        }
    }
}
