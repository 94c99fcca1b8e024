//! Tensors in files, any piece of which any thread can read: nobody holds a whole model to move it.
use crate::Result;
use crate::model::{Param, ParamTable};
use crate::ops::{Part, Sink, State, draw_in_order};

/// Fills values with those of a tensor from a row-major index on.
pub type Tensors<'a> = dyn Fn(&Param, usize, &mut [f32]) -> Result<()> + Sync + 'a;

/// Reads every tensor of `table` into a part of `into`. Elements between the tensors are left alone.
pub fn load_tensors(tensors: &Tensors, table: &ParamTable, into: &mut dyn State, part: Part) -> Result<()> {
    let held = into.state_len(part);
    assert!(held >= table.total, "{part:?} holds {held} of {} elements", table.total);
    table.params.iter().try_for_each(|param| {
        into.fill_state(part, param.place, &|first, values| tensors(param, first, values))
    })
}

/// Hands one tensor to `sink` in order.
pub(super) fn lend_tensor(tensors: &Tensors, param: &Param, sink: Sink<'_>) -> Result<()> {
    let source = |first: usize, values: &mut [f32]| tensors(param, first, values);
    draw_in_order(&source, param.place.elements(), |_, values| sink(values))
}
