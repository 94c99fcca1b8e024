//! The tensors of a model, put together from those of its ranks where they are read.
use super::names::Merge;
use super::rank::{Rank, RankParam};
use crate::checkpoint::tensors::lend_tensor;
use crate::model::{Param, ParamTable};
use crate::ops::{Matrix, Part, Sink, State};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// A whole model and its moments, in files of ranks.
pub(super) struct Merged<'a> {
    table: &'a ParamTable,
    /// By the names of Hugging Face: the pieces, in the order of the ranks of model parallelism.
    pieces: BTreeMap<String, Vec<(&'a Rank, &'a RankParam)>>,
    parallel_residual: bool,
}

impl<'a> Merged<'a> {
    /// Refused where tensors of the model are missing or more than those are there, or have other shapes.
    pub(super) fn new(
        ranks: &'a [Rank],
        model_ranks: usize,
        table: &'a ParamTable,
        parallel_residual: bool,
        dir: &Path,
    ) -> Result<Self> {
        let mut pieces: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for rank in ranks {
            for param in &rank.params {
                pieces.entry(param.name.hugging_face()).or_default().push((rank, param));
            }
        }
        let merged = Self { table, pieces, parallel_residual };
        let bad = |what: String| {
            Error::refused(format!("{}: {what}; the model is another, or files are missing", dir.display()))
        };
        if let Some(name) = merged.pieces.keys().find(|name| table.find(name).is_none()) {
            return Err(bad(format!("it has a tensor {name}, which the model has not")));
        }
        for param in &table.params {
            let own = merged.pieces.get(&param.name).map_or(&[][..], Vec::as_slice);
            if own.len() != model_ranks {
                return Err(bad(format!(
                    "{} is there {} times on {model_ranks} ranks",
                    param.name,
                    own.len()
                )));
            }
            let share = merged.share(param, model_ranks);
            if let Some((_, other)) = own.iter().find(|(_, piece)| piece.shape != share) {
                return Err(bad(format!(
                    "{} is {:?} on a rank, where {share:?} is expected",
                    param.name, other.shape
                )));
            }
        }
        Ok(merged)
    }

    /// The shape that one of so many ranks has of a tensor.
    fn share(&self, param: &Param, ranks: usize) -> Vec<usize> {
        let mut shape = param.shape.clone();
        match Merge::of_weights(&param.name, self.parallel_residual) {
            Merge::Rows => shape[0] /= ranks,
            Merge::Columns => shape[1] /= ranks,
            Merge::Sum | Merge::Mean => {}
        }
        shape
    }

    fn fill(&self, part: Part, param: &Param, first: usize, values: &mut [f32]) -> Result<()> {
        let pieces = &self.pieces[&param.name];
        let merge = Merge::of_weights(&param.name, self.parallel_residual);
        let merge = if part == Part::Weights { merge } else { merge.of_moments() };
        // Elements of a rank that lie one behind the other in the whole, too.
        let stretch = match merge {
            Merge::Rows => param.place.elements() / pieces.len(),
            Merge::Columns => param.shape[1] / pieces.len(),
            Merge::Sum | Merge::Mean => return self.fill_sum(part, merge, pieces, first, values),
        };
        let mut done = 0;
        while done < values.len() {
            let at = first + done;
            let (number, inside) = (at / stretch, at % stretch);
            let (rank, piece) = pieces[number % pieces.len()];
            let count = (stretch - inside).min(values.len() - done);
            let from = number / pieces.len() * stretch + inside;
            rank.fill(part, piece, from, &mut values[done..done + count])?;
            done += count;
        }
        Ok(())
    }

    /// In f64: of ranks that hold the same, the mean is that.
    fn fill_sum(
        &self,
        part: Part,
        merge: Merge,
        pieces: &[(&Rank, &RankParam)],
        first: usize,
        values: &mut [f32],
    ) -> Result<()> {
        let mut sums = vec![0.0; values.len()];
        for (rank, piece) in pieces {
            rank.fill(part, piece, first, values)?;
            sums.iter_mut().zip(&*values).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let count = if merge == Merge::Sum { 1 } else { pieces.len() };
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = (sum / count as f64) as f32);
        Ok(())
    }
}

impl State for Merged<'_> {
    fn state_len(&self, part: Part) -> usize {
        if part == Part::Average { 0 } else { self.table.total }
    }

    fn read_state(&mut self, part: Part, place: Matrix, sink: Sink<'_>) -> Result<()> {
        let param = self.table.params.iter().find(|param| param.place.offset == place.offset);
        let param = param.expect("a checkpoint is written tensor by tensor");
        lend_tensor(&|param, first, values: &mut [f32]| self.fill(part, param, first, values), param, sink)
    }

    fn write_state(&mut self, _: Part, _: Matrix, _: usize, _: &[f32]) -> Result<()> {
        Err(Error::failed("files of another program are read, never written"))
    }
}
