//! The flat buffers, lent as they are.
use super::Processor;
use super::multiply::Multiply;
use crate::Result;
use crate::ops::{Matrix, Part, Sink, Source, State};

impl<E: Multiply> Processor<E> {
    fn part(&self, part: Part) -> &[f32] {
        match part {
            Part::Weights => &self.w,
            Part::First => &self.m,
            Part::Second => &self.v,
            Part::Average => self.ema.as_ref().map_or(&[], |(ema, _)| ema),
        }
    }

    fn part_mut(&mut self, part: Part) -> &mut [f32] {
        self.stale |= part == Part::Weights;
        match part {
            Part::Weights => &mut self.w,
            Part::First => &mut self.m,
            Part::Second => &mut self.v,
            Part::Average => self.ema.as_mut().map_or(&mut [], |(ema, _)| ema),
        }
    }
}

impl<E: Multiply> State for Processor<E> {
    fn state_len(&self, part: Part) -> usize {
        self.part(part).len()
    }

    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        place.lend(self.part(part), sink)
    }

    fn write_state(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) -> Result<()> {
        place.scatter(first, values, self.part_mut(part));
        Ok(())
    }

    fn fill_state(&mut self, part: Part, place: Matrix, source: Source<'_>) -> Result<()> {
        place.draw(source, self.part_mut(part))
    }
}
