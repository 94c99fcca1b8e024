//! What a run saves and loads: flat buffers, wherever they lie, read and written piece by piece.
use super::handles::{Matrix, Sink, Source};
use super::source::draw_in_order;
use crate::Result;

/// One of the flat buffers, all laid out by the parameter table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The weights: masters in f32, or, where none are kept, bf16.
    Weights,
    /// First moments; none unless training.
    First,
    /// Second moments; none unless training.
    Second,
    /// The moving average of the weights, where one is kept.
    Average,
}

impl Part {
    /// All parts, in the order in which a checkpoint writes them.
    pub const ALL: [Self; 4] = [Self::Weights, Self::First, Self::Second, Self::Average];

    /// What one element of it is.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weight",
            Self::First => "first moment",
            Self::Second => "second moment",
            Self::Average => "average",
        }
    }
}

/// Whoever holds the flat buffers. A device copies through staging memory of a fixed size, the host lends what it has.
/// Everything that was issued before has happened to what is read, and whoever reads tensor after tensor holds the
/// only reference: nothing changes meanwhile.
pub trait State {
    /// Elements of a part; 0 where there is none.
    fn state_len(&self, part: Part) -> usize;
    /// Hands the values at `place` to `sink` in row-major order, in pieces of its own choosing.
    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()>;
    /// Overwrites the values at `place` from row-major index `first` on. Where the state is kept in bf16, it rounds to
    /// nearest.
    fn write_state(&mut self, part: Part, place: Matrix, first: usize, values: &[f32]) -> Result<()>;

    /// Overwrites all values at `place` with those of `source`.
    fn fill_state(&mut self, part: Part, place: Matrix, source: Source<'_>) -> Result<()> {
        draw_in_order(source, place.elements(), |first, values| self.write_state(part, place, first, values))
    }

    /// A copy of all of it on the host, for models that are small beside its memory.
    fn state(&mut self) -> Result<HostState> {
        let mut copy = HostState::default();
        for part in Part::ALL {
            let whole = Matrix::row(0, self.state_len(part));
            let target = copy.part_mut(part);
            target.reserve_exact(whole.cols);
            self.read_state(part, whole, &mut |values| {
                target.extend_from_slice(values);
                Ok(())
            })?;
        }
        Ok(copy)
    }

    /// Overwrites a part from its start.
    fn write_part(&mut self, part: Part, values: &[f32]) -> Result<()> {
        self.write_state(part, Matrix::row(0, values.len()), 0, values)
    }
}

/// The state on the host. A part that there is not is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// The weights, [`Part::Weights`], in f32.
    pub w: Vec<f32>,
    /// The first moments, [`Part::First`]; empty unless training.
    pub m: Vec<f32>,
    /// The second moments, [`Part::Second`]; empty unless training.
    pub v: Vec<f32>,
    /// The moving average, [`Part::Average`]; empty where none is kept.
    pub ema: Vec<f32>,
}

impl HostState {
    /// A state of weights without moments and without an average.
    pub fn of_weights(w: Vec<f32>) -> Self {
        Self { w, ..Self::default() }
    }

    fn part(&self, part: Part) -> &[f32] {
        match part {
            Part::Weights => &self.w,
            Part::First => &self.m,
            Part::Second => &self.v,
            Part::Average => &self.ema,
        }
    }

    fn part_mut(&mut self, part: Part) -> &mut Vec<f32> {
        match part {
            Part::Weights => &mut self.w,
            Part::First => &mut self.m,
            Part::Second => &mut self.v,
            Part::Average => &mut self.ema,
        }
    }
}

impl State for HostState {
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
}
